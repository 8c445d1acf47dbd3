"""Similarities: by spaCy, from the table that it saves, and what is said when either cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mdpo_benchmarks.amber.similarity import Spacy, Table, model_version
from support.amber import scored, small_folder, written

from mdpo_core import DataError, RecipeError
from mdpo_core.cli import main

# Angles in degrees: boat and ship are similar above 0.8, boat and dog are not.
ANGLES = {"sky": 0, "boat": 60, "ship": 75, "lake": 90, "dog": 150}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of spaCy with vectors."""
    import numpy as np
    import spacy

    language = spacy.blank("en")
    for word, angle in ANGLES.items():
        turned = np.deg2rad(angle)
        language.vocab.set_vector(word, np.array([np.cos(turned), np.sin(turned)], dtype="float32"))
    folder = tmp_path_factory.mktemp("spacy") / "small"
    language.to_disk(folder)
    return folder


def test_similarity_is_the_cosine_and_that_of_equal_words_one(model: Path) -> None:
    similarity = Spacy(str(model))
    assert similarity.of("boat", "ship") == pytest.approx(0.9659258, abs=1e-6)
    assert similarity.of("boat", "dog") == pytest.approx(0, abs=1e-6)
    assert similarity.of("zebra", "zebra") == 1
    assert similarity.of("zebra", "boat") == 0


def test_saved_table_gives_the_same_score_without_spacy(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_folder(tmp_path / "data", {1})
    answers, nouns = [{"id": 1, "response": ""}], {1: ["boat", "ship", "dog"]}
    table = tmp_path / "table.json"
    first = scored(
        tmp_path,
        data,
        answers,
        task="g",
        nouns=nouns,
        similarity=f"spacy:{model}",
        save_similarity=table,
        threshold=0.8,
    )
    assert first["variant"] == f"similarity spacy:small {model_version(str(model))}, nouns nouns.json"
    again = scored(tmp_path, data, answers, task="g", nouns=nouns, similarity=f"table:{table}")
    assert again["metrics"] == first["metrics"]
    assert again["variant"] == "similarity table:table.json, nouns nouns.json"
    assert again["metrics"]["Generative Task"]["CHAIR"] == 33.3  # boat and ship are like the lake, the dog is not
    assert "no similarity below" not in capsys.readouterr().out
    scored(tmp_path, data, answers, task="g", nouns=nouns, similarity=f"table:{table}", threshold=0.6)
    assert "a table that --save-similarity wrote has no similarity below 0.7" in capsys.readouterr().out
    assert {frozenset(row[:2]) for row in json.loads(table.read_text())} == {
        frozenset(pair) for pair in (("boat", "ship"), ("boat", "lake"), ("ship", "lake"))
    }


def test_model_without_vectors_is_refused(tmp_path: Path) -> None:
    import spacy

    spacy.blank("en").to_disk(tmp_path / "bare")
    with pytest.raises(RecipeError, match="has no word vectors"):
        Spacy(str(tmp_path / "bare")).of("boat", "ship")


def test_model_that_is_not_there_is_said_with_the_command_that_fetches_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_folder(tmp_path / "data", {1})
    answers, nouns = written(tmp_path, "a.json", [{"id": 1, "response": ""}]), written(tmp_path, "n.json", {1: ["dog"]})
    words = ["score", "amber", "--data", str(data), "--answers", str(answers), "--nouns", str(nouns)]
    assert main(words) == 2
    assert "this model is not there: python -m spacy download en_core_web_lg; or give" in capsys.readouterr().err
    monkeypatch.setattr("mdpo_benchmarks.amber.similarity.find_spec", lambda name: None)
    assert main(words) == 2
    assert (
        'spacy:en_core_web_lg needs spacy, which is not installed: pip install "mdpo[spacy]"' in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", r"must hold a list of \[word, word, similarity\]"),
        ("nonsense", "is not JSON"),
        ('[["boat", "ship"]]', r"row 1: must be \[word, word, similarity\], found \['boat', 'ship'\]"),
        ('[["boat", "ship", "0.9"]]', r"row 1: must be \[word"),
        ('[["boat", "ship", 0.9], ["ship", "boat", 0.7]]', "row 2: ship, boat has another value above"),
    ],
)
def test_bad_table_is_a_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(DataError, match=sentence):
        Table(tmp_path / "table.json")
