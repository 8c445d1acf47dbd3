"""MME, against the numbers of its official script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_benchmarks.mme import MME
from support.paths import DATA

from mdpo_core import Answer
from mdpo_core.cli import main
from mdpo_core.testing import check_benchmark

OFFICIAL = json.loads((DATA / "benchmarks" / "mme.json").read_text())
[CASE] = OFFICIAL["cases"]
SUBSET = ("existence", "count", "position", "color")
Rows = dict[str, list[list[str]]]


def folder(place: Path, rows: Rows, columns: int | None = None) -> Path:
    """The files of the official layout."""
    place.mkdir()
    for task, lines in rows.items():
        (place / f"{task}.txt").write_text("".join("\t".join(line[:columns]) + "\n" for line in lines))
    return place


def scored(place: Path, answers: Path, *words: str) -> dict[str, Any]:
    assert main(["score", "mme", "--answers", str(answers), "--out", str(place / "result.json"), *words]) == 0
    result: dict[str, Any] = json.loads((place / "result.json").read_text())
    return result


def same_metrics(metrics: dict[str, Any]) -> None:
    expected = CASE["expected"]
    assert metrics["task_scores"] == pytest.approx(expected["task_scores"], abs=1e-9)
    assert metrics["totals"] == pytest.approx(expected["totals"], abs=1e-9)
    assert metrics["hallucination_subset_total"] == pytest.approx(expected["hallucination_subset_total"], abs=1e-9)


def test_numbers_are_those_of_the_official_script(tmp_path: Path) -> None:
    result = scored(tmp_path, folder(tmp_path / "answers", CASE["rows"]))
    same_metrics(result["metrics"])
    assert result["variant"] == "official"
    assert result["answers"]["rows"] == sum(map(len, CASE["rows"].values()))


@pytest.mark.parametrize("case", OFFICIAL["parse"], ids=lambda case: case["pred"])
def test_answer_is_read_from_its_first_four_characters(case: dict[str, str], tmp_path: Path) -> None:
    rows = {task: [["a.jpg", "Is it?", "Yes", case["pred"]], ["a.jpg", "Is it not?", "No", "No"]] for task in SUBSET}
    out = tmp_path / "rows.jsonl"
    result = scored(tmp_path, folder(tmp_path / "answers", rows), "--by-row", str(out))
    assert json.loads(out.read_text().splitlines()[0])["said"] == case["label"]
    assert result["unparsed"] == (4 if case["label"] == "other" else 0)


lines = st.tuples(st.sampled_from(["Yes", "No"]), st.sampled_from(["Yes", "No", "yes, it is", "It is", "  no", "Not"]))


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({task: st.lists(st.tuples(lines, lines), min_size=1, max_size=9) for task in SUBSET}))
def test_score_is_the_share_of_right_lines_and_of_right_pictures(
    drawn: dict[str, list[tuple[tuple[str, str], tuple[str, str]]]],
) -> None:
    answers, total = [], 0.0
    for task, pictures in drawn.items():
        right = [
            [("yes" if "yes" in said.lower()[:4] else "no" if "no" in said.lower()[:4] else "") == truth.lower()]
            for pair in pictures
            for truth, said in pair
        ]
        both = [a and b for [a], [b] in zip(right[::2], right[1::2], strict=True)]
        total += 100 * sum(a for [a] in right) / len(right) + 100 * sum(both) / len(both)
        for number, pair in enumerate(pictures):
            for truth, said in pair:
                values = {"category": task, "answer": truth, "question_id": f"{number}.jpg"}
                answers.append(Answer("row", None, None, said, values))
    assert MME().score(answers).metrics["hallucination_subset_total"] == pytest.approx(total, abs=1e-9)


def test_subset_alone_is_scored_and_what_is_missing_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {task: CASE["rows"][task] for task in SUBSET}
    result = scored(tmp_path, folder(tmp_path / "answers", rows))
    assert result["metrics"]["totals"] == [None, None]
    total = CASE["expected"]["hallucination_subset_total"]
    assert result["metrics"]["hallucination_subset_total"] == pytest.approx(total, abs=1e-9)
    assert "no answers to posters, celebrity, scene" in capsys.readouterr().out


def test_our_answers_and_those_of_harnesses_give_the_same_numbers(tmp_path: Path) -> None:
    questions = folder(tmp_path / "questions", CASE["rows"], columns=3)
    every = [(task, number, row) for task, rows in CASE["rows"].items() for number, row in enumerate(rows, 1)]
    files = {
        "ours.jsonl": [{"id": f"{task}/{number}", "prompt": row[1], "response": row[3]} for task, number, row in every],
        "lmms.jsonl": [
            {
                "doc": {"question_id": f"{task}/{row[0]}", "question": row[1], "answer": row[2], "category": task},
                "filtered_resps": [row[3]],
            }
            for task, _, row in every
        ],
        "kit.json": [
            {"index": index, "question": row[1], "answer": row[2], "category": task, "prediction": row[3]}
            for index, (task, _, row) in enumerate(every)
        ],
    }
    for name, rows in files.items():
        file = tmp_path / name
        text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
        file.write_text(text)
        words = ["--questions", str(questions)] if name == "ours.jsonl" else []
        same_metrics(scored(tmp_path, file, *words)["metrics"])


def test_keeps_the_contract_of_benchmarks(tmp_path: Path) -> None:
    benchmark = MME(questions=folder(tmp_path / "questions", CASE["rows"], columns=3))
    check_benchmark(benchmark, lambda question: "Yes" if question.id.endswith("1") else "No")
    first = benchmark.read_questions()[0]
    assert (first.id, first.images) == ("existence/1", ("existence/existence_0.jpg",))


def pair(said: str = "Yes") -> list[list[str]]:
    return [["a.jpg", "Is it?", "Yes", said], ["a.jpg", "Is it not?", "No", "No"]]


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (None, "there are no answers to count"),
        (pair()[:1], "count.txt: has 1 lines; each picture has two"),
        ([pair()[0], ["b.jpg", *pair()[1][1:]]], "count.txt:2: is about b.jpg, but the line before it about a.jpg"),
        ([pair()[0][:3], pair()[1]], "count.txt:1: has 3 columns; it needs picture, question, right answer"),
        ([[*pair()[0], "more"], pair()[1]], "count.txt:1: has 5 columns"),
        ([["a.jpg", "Is it?", "Maybe", "Yes"], pair()[1]], "count.txt:1: the right answer must be yes or no"),
    ],
)
def test_bad_input_is_a_sentence(
    count: list[list[str]] | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {task: pair() for task in SUBSET if task != "count"} | ({} if count is None else {"count": count})
    assert main(["score", "mme", "--answers", str(folder(tmp_path / "answers", rows))]) == 2
    assert sentence in capsys.readouterr().err


def test_our_answers_need_the_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = tmp_path / "ours.jsonl"
    answers.write_text(json.dumps({"id": "count/1", "response": "Yes"}))
    assert main(["score", "mme", "--answers", str(answers)]) == 2
    assert "'mme' needs --questions PATH" in capsys.readouterr().err
