"""MMHal-Bench, against the numbers of its official script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_benchmarks.mmhal import strict_rating, tolerant_rating
from support.builders.mmhal_files import mmhal_rows, written
from support.paths import DATA

from mdpo_core.cli import main

OFFICIAL = json.loads((DATA / "benchmarks" / "mmhal.json").read_text())


def scored(folder: Path, *words: str) -> dict[str, Any]:
    """The result of the command."""
    out = folder / "result.json"
    assert main(["score", "mmhal", *words, "--out", str(out)]) == 0
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def as_completion(text: str) -> dict[str, Any]:
    return {"model": "gpt-4-0314", "choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.mark.parametrize("stored", [str, as_completion], ids=["texts", "completions"])
@pytest.mark.parametrize("case", OFFICIAL["cases"], ids=lambda case: case["name"])
def test_numbers_are_those_of_the_official_script(case: dict[str, Any], stored: Any, tmp_path: Path) -> None:
    replies = written(tmp_path / "replies.json", [stored(text) for text in case["judge_texts"]])
    result = scored(tmp_path, "--judge-replies", replies, "--by-row", str(tmp_path / "rows.jsonl"))
    metrics, expected = result["metrics"], case["expected"]
    assert metrics["average_score"] == pytest.approx(expected["average_score"], abs=1e-9)
    assert metrics["hallucination_rate"] == pytest.approx(expected["hallucination_rate"], abs=1e-9)
    assert metrics["per_type_mean"] == pytest.approx(expected["per_type_mean"], abs=1e-9)
    assert metrics["informativeness"] == pytest.approx(expected["informativeness_rlhfv"], abs=1e-9)
    assert result["unparsed"] == expected["n_warnings"]
    assert result["variant"] == "official"
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["rating"] or 0 for row in rows] == expected["scores"]


@pytest.mark.parametrize("case", OFFICIAL["cases"], ids=lambda case: case["name"])
def test_rounded_numbers_are_those_that_the_official_script_prints(case: dict[str, Any], tmp_path: Path) -> None:
    metrics = scored(tmp_path, "--judge-replies", written(tmp_path / "r.json", case["judge_texts"]))["metrics"]
    printed = case["expected"]["printed"]
    assert f"{metrics['average_score']:.2f}" == printed["average"]
    assert f"{metrics['hallucination_rate']:.2f}" == printed["hallucination_rate"]
    assert ",".join(str(round(mean, 2)) for mean in metrics["per_type_mean"]) == printed["per_type"]


@pytest.mark.parametrize("edge", OFFICIAL["score_edges"], ids=lambda edge: edge["text"][:20])
def test_a_rating_is_read_as_the_official_script_reads_it(edge: dict[str, Any]) -> None:
    assert (strict_rating(edge["text"]) or 0) == edge["score"]


@given(st.text(alphabet="rating: RATING0123456789\n*", max_size=30), st.integers(0, 6))
def test_one_plain_rating_is_the_same_for_both_parsers(before: str, rating: int) -> None:
    reply = f"{before.replace(':', '')}\nRating: {rating}, informative"
    assert strict_rating(reply) == tolerant_rating(reply) == rating


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("**Rating:** 3", 3),
        ("Rating: **2**", 2),
        ("Rating:5", 5),
        ("Rating : 5", 5),
        ('"rating": 5', 5),
        ("Rating:\n4", 4),
        ("Rating: 6/6", 6),
        ("Rating: 10", None),
        ("Rating: 60", None),
        ("Rating: 3.5", None),
        ("Rating: -1", None),
        ("Rating: 4-5", None),
        ("Operating: 4", None),
        ("Rating: 6. I considered rating: 5 but no.", None),
        ("rating: 2 rating: 2", 2),
        ("Rating: ٣", None),
        ("", None),
    ],
)
def test_the_tolerant_parser_reads_markup_and_refuses_what_is_no_rating(reply: str, rating: int | None) -> None:
    assert tolerant_rating(reply) == rating


def test_the_tolerant_parser_stands_in_the_variant(tmp_path: Path) -> None:
    replies = written(tmp_path / "r.json", ["**Rating:** 3"] * 95 + ["none"])
    result = scored(tmp_path, "--judge-replies", replies, "--parser", "tolerant")
    assert result["variant"] == "parser=tolerant"
    assert result["unparsed"] == 1
    assert result["counts"]["ratings"]["3"] == 95


def test_answers_in_our_layout_are_matched_to_the_rows(tmp_path: Path) -> None:
    rows = mmhal_rows()
    (tmp_path / "data").mkdir()
    written(tmp_path / "data" / "response_template.json", [{**row, "model_answer": ""} for row in rows])
    ours = [{"id": row["image_id"], "prompt": row["question"], "response": row["model_answer"]} for row in rows]
    words = ["--answers", written(tmp_path / "a.json", ours[::-1]), "--data", str(tmp_path / "data")]
    replies = written(tmp_path / "r.json", ["Rating: 5"] * 96)
    by_row = tmp_path / "rows.jsonl"
    result = scored(tmp_path, *words, "--judge-replies", replies, "--by-row", str(by_row))
    assert result["answers"]["rows"] == 96
    assert json.loads(by_row.read_text().splitlines()[0])["answer"] == rows[0]["model_answer"]


def wrong(rows: list[dict[str, Any]], index: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **values} if number == index else row for number, row in enumerate(rows)]


BAD_ANSWERS = {
    "one too few": (mmhal_rows()[:95], "there are 95 rows, but MMHal-Bench has 96"),
    "another order": (mmhal_rows()[::-1], "question_type: is 'other', but this place has 'attribute'"),
    "no answers": ([{**row, "model_answer": ""} for row in mmhal_rows()], "all 96 answers are empty"),
    "a double": (wrong(mmhal_rows(), 8, image_id=f"{0:016x}"), "was answered in answers.json row 1, too"),
    "contents that are no list": (wrong(mmhal_rows(), 3, image_content="Tree"), "must be a list of texts"),
    "a question that is no text": (wrong(mmhal_rows(), 3, question=7), "answers.json row 4: question: must be text"),
    "another benchmark": ([{"question": "Is there a dog?", "answer": "yes"}] * 96, "which are not those of an answer"),
    "another layout": ([{"id": "1", "response": "yes"}] * 96, "lacks question_type"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS, ids=str)
def test_wrong_answers_are_refused_by_a_sentence(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, sentence = BAD_ANSWERS[case]
    words = ["--answers", written(tmp_path / "answers.json", rows)]
    words += ["--judge-replies", written(tmp_path / "r.json", ["Rating: 5"] * 96)]
    assert main(["score", "mmhal", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_answers_of_other_questions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = written(tmp_path / "rows.json", mmhal_rows())
    answers = written(tmp_path / "a.json", wrong(mmhal_rows(), 5, question="What else?"))
    replies = written(tmp_path / "r.json", ["Rating: 5"] * 96)
    words = ["--answers", answers, "--questions", questions, "--judge-replies", replies]
    assert main(["score", "mmhal", *words]) == 2
    assert "a.json row 6: answers 'What else?', but the benchmark asks 'What is in picture 5?'" in (
        capsys.readouterr().err
    )


BAD_REPLIES: dict[str, tuple[Any, str]] = {
    "one too few": (["Rating: 5"] * 95, "there are 95 replies of the judge; MMHal-Bench has 96 answers"),
    "one too many": (["Rating: 5"] * 97, "there are 97 replies of the judge"),
    "no JSON": ("Rating: 5", "is not JSON"),
    "no list": ({"a": 1}, "must hold a list of replies"),
    "no text": ([None] * 96, "r.json row 1: is no reply of a judge"),
    "no choices": ([{"choices": []}] * 96, "no choices"),
}


@pytest.mark.parametrize("case", BAD_REPLIES, ids=str)
def test_wrong_replies_are_refused_by_a_sentence(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replies, sentence = BAD_REPLIES[case]
    assert main(["score", "mmhal", "--judge-replies", written(tmp_path / "r.json", replies)]) == 2
    assert sentence in capsys.readouterr().err


def test_saved_replies_of_another_model_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replies = written(tmp_path / "r.json", [as_completion("Rating: 5")] * 96)
    words = ["--judge-replies", replies, "--judge-model", "gpt-4-1106-preview"]
    assert main(["score", "mmhal", *words]) == 2
    assert "the judge 'gpt-4-1106-preview' was asked for, but the replies in r.json are of 'gpt-4-0314'" in (
        capsys.readouterr().err
    )
    accepted = scored(tmp_path, *words, "--judge-accept", "gpt-4-0314")
    assert accepted["judge"] == {"asked": "gpt-4-1106-preview", "answered": ["gpt-4-0314"], "replies": 96}


def test_neither_a_judge_nor_its_replies_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "mmhal", "--answers", written(tmp_path / "a.json", mmhal_rows())]) == 2
    assert "needs either --judge URL or --judge-replies FILE" in capsys.readouterr().err
