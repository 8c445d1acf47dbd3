"""CHAIR, against the numbers of its official script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mdpo_benchmarks.chair import Chair
from support.builders.coco_files import CHAIR, official, scored, tiny, written
from support.small_nltk import small_nltk

from mdpo_core import Answer
from mdpo_core.cli import main
from mdpo_core.testing import check_benchmark

[CASE] = CHAIR["cases"]
TWO = [{"image_id": 7, "caption": "A man and two buses."}, {"image_id": 8, "caption": "A dog on a bus."}]


def test_numbers_are_those_of_the_official_script(tmp_path: Path) -> None:
    answers = written(tmp_path, "answers.json", CASE["captions"])
    result, rows = scored(tmp_path, "chair", "--answers", answers, "--data", official(tmp_path / "coco"))
    expected = CASE["expected"]
    assert result["metrics"] == pytest.approx({name: expected[name] for name in ("CHAIRs", "CHAIRi")}, abs=1e-9)
    assert result["printed"].split("\t") == [expected["printed_percent"][name] for name in ("CHAIRs", "CHAIRi")]
    assert [{name: row[name] for name in expected["sentences"][0]} for row in rows] == expected["sentences"]


def test_answers_in_the_official_scripts_own_layout_give_the_same_numbers(tmp_path: Path) -> None:
    data = official(tmp_path / "coco")
    by_image = {str(row["image_id"]): row for row in CASE["captions"]}
    answers = written(tmp_path, "answers.json", {"overall": {"SPICE": 0.1}, "imgToEval": by_image})
    result, _ = scored(tmp_path, "chair", "--answers", answers, "--data", data)
    assert result["metrics"]["CHAIRi"] == pytest.approx(CASE["expected"]["CHAIRi"], abs=1e-9)


def test_captions_without_objects_give_0_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = written(tmp_path, "answers.json", [{"image_id": 7, "caption": "All is calm."}])
    data = tiny(tmp_path / "coco", {7: "A man."}, {})
    result, _ = scored(tmp_path, "chair", "--answers", answers, "--data", data)
    assert result["metrics"] == {"CHAIRs": 0, "CHAIRi": 0}
    assert "CHAIRi is 0: no caption names an object, so that it is 0 divided by 0" in capsys.readouterr().out


def test_wordnet_finds_the_bus_that_pattern_loses_and_the_variant_says_so(tmp_path: Path) -> None:
    answers = written(tmp_path, "answers.json", TWO)
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A man"}, {7: [1], 8: [2]})
    found = {}
    for words in ("pattern", "wordnet"):
        result, rows = scored(tmp_path, "chair", "--answers", answers, "--data", data, "--words", words)
        assert result["variant"] == f"word_normalizer: {words}"
        found[words] = [row["generated"] for row in rows]
    assert found == {"pattern": [["person", "bus"], ["dog"]], "wordnet": [["person", "bus"], ["dog", "bus"]]}


def test_plain_finds_the_same_words_without_nltk_and_the_variant_says_so(tmp_path: Path) -> None:
    data = official(tmp_path / "coco")
    answers = written(tmp_path, "answers.json", CASE["captions"])
    found = {}
    for words in ("pattern", "plain"):
        found[words], _ = scored(tmp_path, "chair", "--answers", answers, "--data", data, "--words", words)
    assert found["plain"]["metrics"] == found["pattern"]["metrics"]
    assert found["plain"]["variant"] == "word_normalizer: plain"
    command = ["score", "chair", "--answers", str(answers), "--data", str(data), "--words", "plain"]
    program = f"import sys\nsys.modules['nltk'] = None\nimport mdpo_core.cli as cli\nsys.exit(cli.main({command}))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_the_folders_own_word_list_is_used_and_stands_in_the_result(tmp_path: Path) -> None:
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A man"}, {7: [1]})
    (data / "synonyms.txt").write_text("person, man\nbus\nlamp, lantern\n")
    answers = written(tmp_path, "answers.json", [{"image_id": 7, "caption": "A man with lanterns and a dog."}])
    result, [row] = scored(tmp_path, "chair", "--answers", answers, "--data", data)
    assert row["generated"] == ["person", "lamp"]
    assert row["gt_objects"] == ["person"]
    assert set(result["data"]) >= {"synonyms.txt", "instances_val2014.json", "captions_val2014.json"}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([*TWO, TWO[0]], "answers.json row 3: the picture 7 was answered in answers.json row 1, too"),
        ([*TWO, {"image_id": 9, "caption": "A cat."}], "1 of 3 pictures are not in captions_val2014.json: 9"),
        ([{"image_id": "cat", "caption": "A cat."}], "answers.json row 1: must have an image_id"),
        ([{"question": "Is there a cat?", "answer": "yes"}], "which are not those of an answer to 'chair'"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    answers: list[object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_nltk()
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A man"}, {7: [1]})
    file = written(tmp_path, "answers.json", answers)
    assert main(["score", "chair", "--answers", str(file), "--data", str(data)]) == 2
    assert message in capsys.readouterr().err


def test_one_answer_too_few_is_refused_where_the_questions_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_nltk()
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A man"}, {7: [1]})
    questions = written(tmp_path, "asked.jsonl", [{"image_id": image, "question": "What is this?"} for image in (7, 8)])
    words = ["--data", str(data), "--questions", str(questions)]
    assert main(["score", "chair", "--answers", str(written(tmp_path, "two.json", TWO)), *words]) == 0
    assert main(["score", "chair", "--answers", str(written(tmp_path, "one.json", TWO[:1])), *words]) == 2
    assert "asked.jsonl: 1 of 2 questions has no answer: 8" in capsys.readouterr().err


def test_missing_data_of_nltk_is_said_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A man"}, {7: [1]})
    answers = written(tmp_path, "answers.json", TWO)
    command = ["score", "chair", "--answers", str(answers), "--data", str(data), "--words", "wordnet"]
    program = f"import nltk.data as data, mdpo_core.cli as cli\ndata.path[:] = []\ncli.main({command})"
    without = {**os.environ, "NLTK_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=without)
    names = "punkt_tab averaged_perceptron_tagger_eng wordnet"
    assert f"CHAIR needs data of NLTK that is not there: python -m nltk.downloader {names} " in done.stderr


def test_without_nltk_the_command_that_installs_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdpo_benchmarks.nltk_parts.find_spec", lambda name: None)
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A man"}, {7: [1]})
    file = written(tmp_path, "answers.json", TWO)
    assert main(["score", "chair", "--answers", str(file), "--data", str(data)]) == 2
    assert 'CHAIR needs nltk, which is not installed: pip install "mdpo[benchmarks]"' in capsys.readouterr().err


def test_questions_name_cocos_pictures(tmp_path: Path) -> None:
    rows = [{"image_id": 7, "question": "What?"}, {"image_id": 8, "question": "What?", "image": "own.png"}]
    asked = Chair(questions=written(tmp_path, "asked.jsonl", rows)).read_questions()
    assert [question.images for question in asked] == [("COCO_val2014_000000000007.jpg",), ("own.png",)]
    assert [question.id for question in asked] == ["7", "8"]
    assert json.dumps([question.prompt for question in asked]) == '["What?", "What?"]'


def test_keeps_the_contract_of_benchmarks_and_answers_to_some_questions_score(tmp_path: Path) -> None:
    small_nltk()
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A man", 9: "a dog"}, {7: [1]})
    rows = [{"image_id": image, "question": "What is this?"} for image in (7, 8, 9)]
    chair = Chair(data=data, questions=written(tmp_path, "asked.jsonl", rows))
    check_benchmark(chair, lambda question: "a man with a dog" if question.id == "7" else "people")
    part = chair.of_questions(["8", "9"])
    assert [question.id for question in part.read_questions()] == ["8", "9"]
    answers = [Answer("", id, None, text, {}) for id, text in (("8", "people"), ("9", "a man and a dog"))]
    assert part.score(answers).metrics == {"CHAIRs": 0.5, "CHAIRi": 1 / 3}
