"""AMBER, against the numbers of its official script, and against all of its questions."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mdpo_benchmarks.amber.benchmark import Amber
from support.amber import (
    DISCRIMINATIVE,
    GENERATIVE,
    SHIPPED,
    annotations,
    folder,
    scored,
    scored_at_once,
    small_folder,
    written,
)
from support.oracles.plain_amber import plain_amber

from mdpo_core.cli import main
from mdpo_core.testing import check_benchmark


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("amber") / "data")


def same_counters(counts: Mapping[str, int], official: dict[str, float]) -> None:
    """The official ones start at 0 or 0.001, and are left out if they stay there."""
    assert {name: number for name, number in counts.items() if number} == {
        name: round(number) for name, number in official.items() if number >= 1
    }


def rows(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "rows.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", DISCRIMINATIVE, ids=lambda case: case["name"])
def test_yes_no_figures_are_those_of_the_official_script(case: dict[str, Any], data: Path, tmp_path: Path) -> None:
    result = scored(tmp_path, data, case["items"], task=case["evaluation_type"])
    assert list(result["metrics"].items()) == list(case["expected"]["printed"].items())
    counts = {name: number for name, number in result["counts"].items() if "qa" in name}
    same_counters(counts, case["expected"]["counters"])
    unparsed = sum(item["response"] not in ("Yes", "No") for item in case["items"])
    assert result["unparsed"] == (0 if case["evaluation_type"] == "g" else unparsed)


def test_figures_of_descriptions_are_those_of_the_official_script(data: Path, tmp_path: Path) -> None:
    case = GENERATIVE["generative"][0]
    nouns = {item["id"]: item["nouns"] for item in case["items"]}
    result = scored(tmp_path, data, case["items"], task="g", table=case["similarity"], nouns=nouns)
    assert result["metrics"] == case["expected"]["printed"]
    same_counters({n: v for n, v in result["counts"].items() if "qa" not in n}, case["expected"]["counters"])


@pytest.mark.parametrize("case", GENERATIVE["generative"], ids=lambda case: case["name"])
def test_each_description_is_scored_as_by_the_official_script(case: dict[str, Any], tmp_path: Path) -> None:
    place = small_folder(tmp_path / "data", {item["id"] for item in case["items"]})
    table = written(tmp_path, "table.json", case["similarity"])
    for item, expected in zip(case["items"], case["expected_per_item"], strict=True):
        nouns = written(tmp_path, "nouns.json", {item["id"]: item["nouns"]})
        score = scored_at_once(place, [item], task="g", similarity=f"table:{table}", nouns=nouns)
        assert score.metrics == expected["printed"]
        same_counters(score.counts, expected["counters"])


def test_all_questions_and_pictures_are_scored_as_step_by_step(data: Path, tmp_path: Path) -> None:
    draw = random.Random(7)
    related = json.loads((SHIPPED / "relation.json").read_text())
    words = sorted({*related, *(word for others in related.values() for word in others)})
    similar = {frozenset(draw.sample(words, 2)): draw.choice([0.5, 0.8, 0.81, 0.95]) for _ in range(4000)}
    answers = []
    for row in annotations():
        if row["type"] == "generative":
            nouns = draw.choices([*words, *row["truth"] * 9, *row["hallu"] * 9, "Sky"], k=draw.randrange(12))
            answers.append({"id": row["id"], "response": "", "nouns": nouns})
        else:
            answers.append({"id": row["id"], "response": draw.choice(["Yes", "No", "No", "no", "No."])})
    draw.shuffle(answers)
    safe = (SHIPPED / "safe_words.txt").read_text().splitlines()
    printed, counters = plain_amber(annotations(), answers, related, safe, similar, 0.8)
    result = scored(
        tmp_path,
        data,
        [{"id": answer["id"], "response": answer["response"]} for answer in answers],
        table=[[*sorted(pair), value] for pair, value in similar.items()],
        nouns={answer["id"]: answer["nouns"] for answer in answers if "nouns" in answer},
    )
    assert list(result["metrics"].items()) == list(printed.items())
    same_counters(result["counts"], counters)


def test_result_says_what_differs_from_the_official_script(data: Path, tmp_path: Path) -> None:
    answers = [{"id": 1, "response": "A dog."}, {"id": 1005, "response": "Yes, it is."}]
    result = scored(
        tmp_path, data, answers, similarity="exact", threshold=0.9, nouns={1: ["dog"]}, answer_parser="first_word"
    )
    assert result["variant"] == "similarity exact, threshold 0.9, nouns nouns.json, answer_parser first_word"
    found = rows(tmp_path)
    assert found[0]["hallucinated"] == ["dog"]
    assert found[1]["said"] == "yes"
    assert scored(tmp_path, data, answers[1:], task="d")["variant"] == "official"


@pytest.mark.parametrize(
    ("parser", "said", "unparsed"),
    [
        ("strict", ["yes", None, None, None, None], 4),
        ("first_word", ["yes", "no", "yes", None, None], 2),
        ("contains", ["yes", "no", "yes", "no", "yes"], 1),
    ],
)
def test_answer_parser_is_an_option(
    parser: str, said: list[str | None], unparsed: int, data: Path, tmp_path: Path
) -> None:
    texts = ["Yes", "No, it is not.", " yes!", "Maybe", "I say yes"]
    answers = [{"id": 1005 + i, "response": text} for i, text in enumerate(texts)]
    result = scored(tmp_path, data, answers, task="d", answer_parser=parser)
    assert [row["said"] for row in rows(tmp_path)] == said
    assert result["unparsed"] == unparsed


@pytest.mark.parametrize(
    ("answers", "words", "sentence"),
    [
        ([{"id": 99999, "response": "Yes"}], ["--task", "d"], "has no id '99999'; are these answers to AMBER?"),
        ([{"id": 0, "response": "Yes"}], ["--task", "d"], "has no id '0'"),
        ([{"id": 1005, "response": "Yes"}] * 2, ["--task", "d"], "1005 was answered in answers.json row 1, too"),
        ([{"question": "Is it?", "answer": "Yes"}], ["--task", "d"], "not those of an answer to 'amber'"),
        ([{"id": 1, "response": "A dog."}] * 2, ["--task", "g"], "1 was answered in answers.json row 1, too"),
        (
            [{"id": 1, "response": "A dog."}, {"id": 1, "response": "Dogs."}],
            ["--task", "g", "--nouns", "n.json"],
            "n.json has the nouns of one answer",
        ),
        ([{"id": 2, "response": "A dog."}], ["--task", "g", "--nouns", "n.json"], "n.json has no nouns for the id 2"),
        ([{"id": 1, "response": "A dog."}], ["--task", "x"], "--task: Input should be 'a', 'g', 'd',"),
        ([{"id": 1, "response": "A dog."}], ["--similarity", "lg"], "must be spacy:MODEL, table:FILE or exact"),
        ([{"id": 1, "response": "A dog."}], ["--similarity", "table:none.json"], "the file 'none.json' does not exist"),
        (
            [{"id": 1, "response": "A dog."}],
            ["--nouns", "n.json", "--similarity", "spacy:en_none"],
            "this model is not there: python -m spacy download en_none",
        ),
        (
            [{"id": 1, "response": "A dog."}],
            ["--similarity", "exact", "--save-similarity", "t.json"],
            "it needs --similarity spacy:MODEL",
        ),
        (
            [{"index": 1005, "question": "Is it?", "answer": "No", "prediction": "Yes"}],
            ["--task", "d"],
            "says that no is right, but in annotations.json the answer to 1005 is yes",
        ),
    ],
)
def test_bad_input_is_a_sentence(
    answers: object,
    words: list[str],
    sentence: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "n.json", {"1": ["dog"]})
    written(tmp_path, "answers.json", answers)
    out = tmp_path / "result.json"
    command = ["score", "amber", "--data", str(data), "--answers", "answers.json", "--out", str(out), *words]
    assert main(command) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_what_does_not_count_is_noted(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [{"id": 1, "response": "A dog."}, {"id": 1005, "response": "No"}]
    scored(tmp_path, data, answers, task="de")
    printed = capsys.readouterr().out
    assert "4,924 of 4,924 yes/no questions have no answer" in printed
    assert "2 of 2 answers belong to other tasks" in printed


@pytest.mark.parametrize("task", ["a", "d"])
def test_keeps_the_contract_of_benchmarks(task: str, tmp_path: Path) -> None:
    place = small_folder(tmp_path / "data", {1, 2, 1005, 1006, 11000, 15000})
    questions = [
        {"id": row["id"], "image": f"AMBER_{row['id']}.jpg", "query": "Describe this image."}
        for row in annotations()
        if row["id"] in (1, 2, 1005, 1006, 11000, 15000)
    ]
    nouns = written(tmp_path, "nouns.json", {1: ["dog"], 2: ["ship", "sky"]})
    options = {"data": place, "questions": written(tmp_path, "query_all.json", questions), "nouns": nouns}
    benchmark = Amber.model_validate({**options, "task": task, "similarity": "exact"})
    check_benchmark(benchmark, lambda question: "Yes" if int(question.id) % 2 else "No")
    part = benchmark.of_questions(["1005", "1"])
    assert [each.id for each in part.read_questions()] == (["1", "1005"] if task == "a" else ["1005"])
