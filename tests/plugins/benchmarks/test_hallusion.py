"""HallusionBench, against the numbers of its official script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_benchmarks.hallusion.benchmark import correctness_in, said_in
from mdpo_benchmarks.hallusion.counts import Verdict, metrics_and_counts
from mdpo_benchmarks.hallusion.rows import read
from support.builders.hallusion_files import SAME_TEMPLATE, TEMPLATE, answered, hallusion_row, hallusion_rows
from support.builders.mmhal_files import written
from support.paths import DATA
from support.pretended.judge import Answered, completion, judge_server

from mdpo_core import Benchmark, DataError, StoredRow, component
from mdpo_core.cli import main
from mdpo_core.testing import check_benchmark

OFFICIAL = json.loads((DATA / "benchmarks" / "hallusionbench.json").read_text())


def scored(folder: Path, *words: str) -> dict[str, Any]:
    """The result of the command."""
    out = folder / "result.json"
    assert main(["score", "hallusionbench", *words, "--out", str(out)]) == 0
    result: dict[str, Any] = json.loads(out.read_text())
    return result


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    (tmp_path / "data").mkdir()
    written(tmp_path / "data" / "HallusionBench.json", hallusion_rows())
    return ["--data", str(tmp_path / "data")]


def require_official(result: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if name != "counts":
            assert result["metrics"][name] == pytest.approx(value, abs=1e-9), name
    counts = result["counts"]
    assert counts["all"] == expected["counts"]["all"]
    assert counts["pair"] == expected["counts"]["pair"]
    assert counts["figure_score"] == pytest.approx(expected["counts"]["figure_score"], abs=1e-9)


@pytest.mark.parametrize("case", OFFICIAL["cases"], ids=lambda case: case["name"])
def test_numbers_are_those_of_the_official_script(case: dict[str, Any], tmp_path: Path, data: list[str]) -> None:
    verdicts = written(tmp_path / "verdicts.json", case["verdicts"])
    result = scored(tmp_path, *data, "--verdicts", verdicts)
    require_official(result, case["expected"])
    assert result["metrics"].keys() == case["expected"].keys() - {"counts"}
    assert (result["variant"], result["answers"], result["judge"]) == ("official", None, None)


def test_a_judge_gives_the_verdicts_and_is_asked_only_what_counts(tmp_path: Path, data: list[str]) -> None:
    """A judge that gives the verdicts of the official case leads to its numbers."""
    [case] = OFFICIAL["cases"]
    words = {"1": "Correct.", "0": '"incorrect"', "2": "unclear"}
    rows = [{**row, "model_prediction": f"It is {index}."} for index, row in enumerate(hallusion_rows())]

    def answer(body: dict[str, Any], number: int) -> Answered:
        content = body["messages"][0]["content"]
        assert body.keys() == {"model", "messages"}
        index = int(content.split("It is ")[1].split(".")[0])
        correctness, same = case["verdicts"][index]
        first = words[correctness] if "Prediction" in content else ("same" if same == "1" else "different")
        return completion(first, model="gpt-4")

    with judge_server(answer) as server:
        options = ["--answers", written(tmp_path / "a.json", rows), "--judge", server.url, "--judge-parallel", "16"]
        options += ["--judge-template", written(tmp_path / "t.txt", TEMPLATE), "--custom-template"]
        options += ["--same-template", written(tmp_path / "s.txt", SAME_TEMPLATE)]
        result = scored(tmp_path, *data, *options)
        compared = [content for content in server.contents if content.startswith("response1")]
    require_official(result, case["expected"])
    assert 0 < len(compared) < 427  # some of the wrong ones
    assert result["judge"] == {"asked": "gpt-4", "answered": ["gpt-4"], "replies": 1129 + len(compared)}
    assert (result["variant"], result["unparsed"]) == ("custom_template", 0)


@pytest.mark.parametrize("case", OFFICIAL["verdict_parse"], ids=lambda case: case["text"])
def test_a_verdict_is_read_as_the_official_script_reads_it(case: dict[str, str]) -> None:
    assert correctness_in(case["text"]) == case["verdict"]


@pytest.mark.parametrize("reply", ["unclear", "", "I cannot say", "corect"])
def test_any_other_verdict_is_unclear(reply: str) -> None:
    assert correctness_in(reply) == "2"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes, it is.", "yes"),
        ("NO", "no"),
        ("The answer is: no!", "no"),
        ("Yes and no", None),
        ("Nobody knows yesterday", None),
        ("", None),
        ("1", "yes"),
        (" 0\n", "no"),
        ("2", None),
        ("10", None),
    ],
)
def test_a_yes_or_no_is_a_word_of_the_answer(answer: str, said: str | None) -> None:
    assert said_in(answer) == said


def test_without_a_judge_right_answers_are_right_and_the_variant_says_so(tmp_path: Path) -> None:
    answers = written(tmp_path / "a.json", answered(hallusion_rows()))
    result = scored(tmp_path, "--answers", answers, "--no-judge")
    assert {result["metrics"][name] for name in ("qAcc", "fAcc", "aAcc", "easy_aAcc", "hard_aAcc")} == {100}
    assert result["metrics"]["pct_diff"] == result["metrics"]["fp_ratio"] == result["metrics"]["LH"] == 0
    assert (result["variant"], result["unparsed"]) == ("no_judge", 0)


def test_what_is_0_divided_by_0_is_0_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored(tmp_path, "--answers", written(tmp_path / "a.json", answered(hallusion_rows())), "--no-judge")
    assert "note: fp_ratio: 0, since it is 0 divided by 0" in capsys.readouterr().out


def test_answers_in_our_layout_and_of_a_harness_are_matched_by_their_places(tmp_path: Path, data: list[str]) -> None:
    rows = answered(hallusion_rows())
    names = ("category", "subcategory", "set_id", "figure_id", "question_id")
    ours = [
        {"id": "_".join(row[name] for name in names), "prompt": "", "response": row["model_prediction"]}
        for row in rows[::-1]
    ]
    lmms = [
        {
            "doc": {key: row[key] for key in row if key != "model_prediction"},
            "filtered_resps": [row["model_prediction"]],
        }
        for row in rows
    ]
    lines = "\n".join(map(json.dumps, lmms))
    for content in (ours, lines):
        result = scored(tmp_path, *data, "--no-judge", "--answers", written(tmp_path / "a.json", content))
        assert result["metrics"]["aAcc"] == 100


@st.composite
def judged_rows(draw: st.DrawFn) -> tuple[list[dict[str, str]], list[tuple[str, bool]]]:
    """Complete pairs, and verdicts on them."""
    rows = []
    for pair in range(draw(st.integers(1, 4))):
        category = draw(st.sampled_from(("VD", "VS")))
        for figure in range(draw(st.integers(1, 4))):
            place = {"category": category, "subcategory": "chart", "set_id": str(pair), "figure_id": str(figure)}
            original = "1" if category == "VD" else "0"
            shown = original if figure == 0 else draw(st.sampled_from("12"))
            answer = draw(st.sampled_from("01"))
            rows.append(hallusion_row({**place, "question_id": "0", "visual_input": shown, "gt_answer": answer}))
    verdict = st.tuples(st.sampled_from("012"), st.booleans())
    return rows, draw(st.lists(verdict, min_size=len(rows), max_size=len(rows)))


@settings(max_examples=200)
@given(judged_rows())
def test_every_wrong_pair_is_due_to_something(judged: tuple[list[dict[str, str]], list[tuple[str, bool]]]) -> None:
    """The official script asserts this equality."""
    rows, verdicts = judged
    read_rows = read([StoredRow(f"rows row {number}", row) for number, row in enumerate(rows, 1)])
    metrics, counts = metrics_and_counts(read_rows, [Verdict(*each) for each in verdicts])
    pair = counts["pair"]
    assert pair["wrong"] == pair["LH"] + pair["VI"] + pair["Mix"]
    assert counts["all"]["wrong"] == pair["LH_cg"] + pair["VI_cg"] + pair["Mix_cg"]
    assert metrics["qAcc"] <= metrics["aAcc"] + 100 * (1 - pair["total"] / len(rows)) + 1e-3
    figures = [metrics[f"consistency_{name}"] for name in ("correct", "inconsistent", "wrong")]
    assert sum(figures) in (0, pytest.approx(100, abs=1e-3))


def altered(index: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **values} if number == index else row for number, row in enumerate(answered(hallusion_rows()))]


BAD_ANSWERS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "one too few": (answered(hallusion_rows())[:-1], "there are 1,128 answers, but HallusionBench has 1,129 rows"),
    "a double": (altered(7, **hallusion_rows()[6]), "a.json has 2 rows"),
    "no original": (altered(0, figure_id="9"), "no row has figure 0 of its question: VS_chart_0_0"),
    "another category": (altered(3, category="VX"), "a.json row 4: category: must be VD or VS, found 'VX'"),
    "no answer of 0 or 1": (altered(3, gt_answer="2"), "gt_answer: must be 0 or 1, found '2'"),
    "another benchmark": ([{"question": "Is there a dog?", "answer": "yes"}] * 1129, "not those of an answer"),
    "another layout": ([{"id": "1", "response": "yes"}] * 1129, "need --data DIR with HallusionBench.json"),
    "a number for an answer": (altered(3, model_prediction=1), "a.json row 4: model_prediction: must be text"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS, ids=str)
def test_wrong_answers_are_refused_by_a_sentence(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, sentence = BAD_ANSWERS[case]
    assert main(["score", "hallusionbench", "--no-judge", "--answers", written(tmp_path / "a.json", rows)]) == 2
    assert sentence in capsys.readouterr().err


def test_answers_that_do_not_fit_the_rows_are_refused(
    tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for rows, sentence in (
        (answered(hallusion_rows())[:-1], "HallusionBench.json: 1 of 1,129 questions has no answer"),
        (altered(4, question="What else?"), "a.json row 5: answers 'What else?', but HallusionBench.json asks"),
    ):
        words = ["--no-judge", *data, "--answers", written(tmp_path / "a.json", rows)]
        assert main(["score", "hallusionbench", *words]) == 2
        assert sentence in capsys.readouterr().err


BAD_VERDICTS: dict[str, tuple[Any, str]] = {
    "one too few": ([["1", "1"]] * 1128, "v.json has 1,128 verdicts on the answers to 1,129 rows"),
    "numbers": ([[1, 1]] * 1129, "v.json row 1: must be"),
    "another verdict": ([["3", "1"]] * 1129, "v.json row 1: must be"),
    "no pairs": (["1"] * 1129, "v.json row 1: must be"),
    "no list": ({}, "must hold a list of verdicts"),
}


@pytest.mark.parametrize("case", BAD_VERDICTS, ids=str)
def test_wrong_verdicts_are_refused_by_a_sentence(
    case: str, tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts, sentence = BAD_VERDICTS[case]
    assert main(["score", "hallusionbench", *data, "--verdicts", written(tmp_path / "v.json", verdicts)]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "needs one of --judge URL, --verdicts FILE and --no-judge"),
        (["--no-judge", "--verdicts", "v.json"], "needs one of --judge URL, --verdicts FILE and --no-judge"),
        (["--no-judge"], "needs --answers FILE"),
        (["--judge", "http://localhost"], "needs --judge-template PATH"),
        (["--data", "nowhere", "--no-judge"], "the file 'nowhere/HallusionBench.json' does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "hallusionbench", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_verdicts_without_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = written(tmp_path / "v.json", [["1", "1"]] * 1129)
    assert main(["score", "hallusionbench", "--verdicts", verdicts]) == 2
    assert "needs --data PATH: the folder with HallusionBench.json" in capsys.readouterr().err


def test_a_row_without_a_picture_that_should_have_one_is_refused() -> None:
    place = {"category": "VS", "subcategory": "map", "set_id": "0", "question_id": "0", "gt_answer": "1"}
    rows = [hallusion_row({**place, "figure_id": figure, "visual_input": "0"}) for figure in "01"]
    with pytest.raises(DataError, match="is 0, no picture, but only figure 0 has none"):
        read([StoredRow(f"rows row {number}", row) for number, row in enumerate(rows, 1)])


def test_it_keeps_the_contract_of_benchmarks(tmp_path: Path) -> None:
    rows = [row for row in hallusion_rows() if row["subcategory"] in ("math", "chart")]
    written(tmp_path / "HallusionBench.json", rows)
    benchmark = component("benchmark", "hallusionbench", data=tmp_path, no_judge=True)
    assert isinstance(benchmark, Benchmark)
    check_benchmark(benchmark, lambda question: "Yes." if len(question.id) % 2 else "No.")
    pictures = {question.images for question in benchmark.read_questions()}
    assert () in pictures
    assert ("./VS_chart_0_1.png",) in pictures
