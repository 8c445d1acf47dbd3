"""Nouns: by NLTK as in the official script, and what is said without NLTK's data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.amber import GENERATIVE, scored, small_folder, written
from support.small_nltk import small_nltk

from mdpo_core.cli import main

EDGES = GENERATIVE["generative"][1]


def test_nouns_are_lemmas_whose_capitals_stay(tmp_path: Path) -> None:
    small_nltk()  # it takes all words but "sits" for nouns
    data = small_folder(tmp_path / "data", {1})
    result = scored(tmp_path, data, [{"id": 1, "response": "Sky dogs sits"}], task="g", similarity="exact")
    found = json.loads((tmp_path / "rows.jsonl").read_text())
    assert (found["nouns"], found["counted"]) == (["Sky", "dog"], ["dog"])
    assert result["variant"] == "similarity exact"


def test_nouns_by_vocabulary_are_the_listed_words_as_they_stand_and_need_no_nltk(tmp_path: Path) -> None:
    data = small_folder(tmp_path / "data", {1})
    answers = written(tmp_path, "answers.json", [{"id": 1, "response": "Sky, dogs: a dog and\na dog runs."}])
    rows, out = tmp_path / "rows.jsonl", tmp_path / "result.json"
    words = ["--similarity", "exact", "--nouns-by", "vocabulary", "--by-row", str(rows), "--out", str(out)]
    command = ["score", "amber", "--task", "g", "--data", str(data), "--answers", str(answers), *words]
    program = f"import sys\nsys.modules['nltk'] = None\nimport mdpo_core.cli as cli\nsys.exit(cli.main({command}))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
    assert json.loads(rows.read_text())["counted"] == ["dog", "dog"]
    assert json.loads(out.read_text())["variant"] == "similarity exact, nouns_by vocabulary"


def test_nouns_come_from_one_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_folder(tmp_path / "data", {1})
    answers = written(tmp_path, "answers.json", [{"id": 1, "response": "A dog."}])
    nouns = written(tmp_path, "nouns.json", {"1": ["dog"]})
    words = ["--data", str(data), "--answers", str(answers), "--nouns", str(nouns), "--nouns-by", "vocabulary"]
    assert main(["score", "amber", "--similarity", "exact", *words]) == 2
    assert "--nouns FILE already says which words are nouns: leave --nouns-by vocabulary out" in capsys.readouterr().err


def test_missing_data_of_nltk_is_said_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    data = small_folder(tmp_path / "data", {1, 1005})
    answers = written(tmp_path, "answers.json", [{"id": 1, "response": "A dog."}])
    words = ["score", "amber", "--data", str(data), "--answers", str(answers), "--similarity", "exact"]
    program = f"import nltk.data as data, mdpo_core.cli as cli\ndata.path[:] = []\ncli.main({words})"
    without = {**os.environ, "NLTK_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=without)
    names = "punkt_tab averaged_perceptron_tagger_eng wordnet"
    assert f"AMBER needs data of NLTK that is not there: python -m nltk.downloader {names} " in done.stderr


@pytest.mark.long
@pytest.mark.skipif("NLTK_DATA" not in os.environ, reason="NLTK's own data is not shipped; NLTK_DATA names its folder")
def test_nouns_are_those_of_the_official_script(tmp_path: Path) -> None:
    texts = GENERATIVE["extract_nouns"]
    data = small_folder(tmp_path / "data", set(range(1, len(texts) + 1)))
    answers = [{"id": id, "response": each["text"]} for id, each in enumerate(texts, 1)]
    rows, out, table = tmp_path / "rows.jsonl", tmp_path / "edges.json", tmp_path / "table.json"
    table.write_text(json.dumps(EDGES["similarity"]))
    for name, content, words in (
        ("answers.json", answers, ["--similarity", "exact", "--by-row", str(rows)]),
        ("edges_answers.json", EDGES["items"], ["--similarity", f"table:{table}", "--out", str(out)]),
    ):
        file = written(tmp_path, name, content)
        command = ["score", "amber", "--task", "g", "--data", str(data), "--answers", str(file), *words]
        subprocess.run([sys.executable, "-m", "mdpo_core.cli", *command], check=True, capture_output=True)
    assert [json.loads(line)["nouns"] for line in rows.read_text().splitlines()] == [each["nouns"] for each in texts]
    assert json.loads(out.read_text())["metrics"] == EDGES["expected"]["printed"]
