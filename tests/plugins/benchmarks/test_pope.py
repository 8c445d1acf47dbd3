"""POPE, against the numbers of its official script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_benchmarks.pope import Pope, says_no
from support.paths import DATA

from mdpo_core.cli import main

OFFICIAL = json.loads((DATA / "benchmarks" / "pope.json").read_text())["cases"]


def written(folder: Path, case: dict[str, Any]) -> list[str]:
    """The questions and the answers of a case in the official layout, as words of the command line."""
    questions, answers = folder / "questions.json", folder / "answers.json"
    keys = ("question_id", "image", "text", "label")
    questions.write_text("\n".join(json.dumps({key: row[key] for key in keys}) for row in case["items"]))
    rows = [{"question": row["text"], "answer": row["answer"]} for row in case["items"]]
    answers.write_text("\n".join(map(json.dumps, rows)))
    return ["score", "pope", "--answers", str(answers), "--questions", str(questions)]


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["name"])
def test_numbers_are_those_of_the_official_script(case: dict[str, Any], tmp_path: Path) -> None:
    out, rows = tmp_path / "result.json", tmp_path / "rows.jsonl"
    assert main([*written(tmp_path, case), "--out", str(out), "--by-row", str(rows)]) == 0
    result, expected = json.loads(out.read_text()), case["expected"]
    for name in ("accuracy", "precision", "recall", "f1", "yes_ratio"):
        assert result["metrics"][name] == pytest.approx(expected.get(name, 0), abs=1e-9)
    said = [json.loads(line)["said"] for line in rows.read_text().splitlines()]
    assert said == ["yes" if guess else "no" for guess in expected["preds"]]


ITEMS: list[dict[str, Any]] = OFFICIAL[0]["items"][:40]


def questions_in(folder: Path, items: list[dict[str, Any]], name: str = "coco_pope_random.json") -> Path:
    rows = [{key: item[key] for key in ("question_id", "image", "text", "label")} for item in items]
    (folder / name).write_text(json.dumps(rows))  # one JSON array, as of A-OKVQA and GQA
    return folder / name


def score_of(folder: Path, answers: list[dict[str, Any]], questions: Path) -> dict[str, Any]:
    file, out = folder / "answers.jsonl", folder / "result.json"
    file.write_text("\n".join(map(json.dumps, answers)))
    assert main(["score", "pope", "--answers", str(file), "--questions", str(questions), "--out", str(out)]) == 0
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def official(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers as the official script has them."""
    return [{"question": item["text"], "answer": item["answer"]} for item in items]


def test_answers_of_llava_ours_and_harnesses_give_the_same_numbers(tmp_path: Path) -> None:
    questions = questions_in(tmp_path, ITEMS)
    first = score_of(tmp_path, official(ITEMS), questions)["metrics"]
    suffix = "\nAnswer the question using a single word or phrase."
    of_llava = [
        {"question_id": item["question_id"], "prompt": item["text"] + suffix, "text": item["answer"], "model_id": "x"}
        for item in ITEMS
    ]
    of_all_categories = [{**row, "question_id": row["question_id"] + 5820} for row in of_llava]
    ours = [{"id": item["question_id"], "prompt": item["text"], "response": item["answer"]} for item in ITEMS[::-1]]
    samples = [
        {
            "doc": {
                "id": str(number),
                "question_id": str(item["question_id"]),
                "question": item["text"],
                "answer": item["label"],
                "category": category,
            },
            "filtered_resps": [item["answer"] if category == "random" else "no"],
        }
        for number, (category, item) in enumerate((c, i) for c in ("popular", "random") for i in ITEMS)
    ]
    table = [
        {"index": n, "question": i["text"], "answer": i["label"], "category": "random", "prediction": i["answer"]}
        for n, i in enumerate(ITEMS)
    ]
    for answers in (of_llava, of_all_categories, ours, samples, table):
        assert score_of(tmp_path, answers, questions)["metrics"] == first


def counted(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """The metrics by the words of the page: yes is positive; what is divided by nothing is 0."""
    said_yes = [truth for said, truth in pairs if said == "yes"]
    true_yes = [said for said, truth in pairs if truth == "yes"]
    precision = said_yes.count("yes") / len(said_yes) if said_yes else 0.0
    recall = true_yes.count("yes") / len(true_yes) if true_yes else 0.0
    return {
        "accuracy": sum(said == truth for said, truth in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "yes_ratio": len(said_yes) / len(pairs),
    }


words = st.sampled_from(["No", "no", "not", "NO", "Nope", "isn't", "no!", "yes", "", "a", "\n", ",", ".", "No,", "no."])
answers = st.lists(words, max_size=5).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(answers, st.sampled_from(["yes", "no"])), min_size=1, max_size=20))
def test_metrics_are_shares_of_what_the_first_sentences_say(drawn: list[tuple[str, str]]) -> None:
    said = []
    for text, truth in drawn:
        sentence = text if "." not in text else text[: text.index(".")]
        found = {word for word in sentence.replace(",", "").split(" ") if word in ("No", "no", "not")}
        said.append(("no" if found else "yes", truth))
    rows = [{"said": "no" if says_no(text) else "yes", "label": truth} for text, truth in drawn]
    assert Pope().metrics_of(rows) == pytest.approx(counted(said), abs=1e-12)


def test_zero_denominators_give_zero_and_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": item["text"], "answer": "No."} for item in ITEMS]
    metrics = score_of(tmp_path, rows, questions_in(tmp_path, ITEMS))["metrics"]
    assert (metrics["precision"], metrics["f1"], metrics["yes_ratio"]) == (0, 0, 0)
    printed = capsys.readouterr().out
    assert "precision is 0: it is 0 divided by 0" in printed
    assert "f1 is 0: it is 0 divided by 0" in printed


def of_other_questions() -> list[dict[str, Any]]:
    return [{"id": i["question_id"], "prompt": "Is there an elk?", "response": "no"} for i in ITEMS]


def ours(ids: list[int]) -> list[dict[str, Any]]:
    return [{"id": id, "response": "yes"} for id in ids]


IDS = [item["question_id"] for item in ITEMS]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (official(ITEMS[1:]), "there are 39 answers to the 40 questions of coco_pope_random.json"),
        (official(ITEMS[1:] + ITEMS[:1]), "are they the answers to another file?"),
        (of_other_questions(), "answers 'Is there an elk?', but coco_pope_random.json asks"),
        (ours([*IDS, IDS[0]]), f"the question '{IDS[0]}' was answered in answers.jsonl:1, too"),
        (ours(IDS[1:]), "1 of 40 questions has no answer"),
        (ours([*IDS[1:], 9999]), "coco_pope_random.json has no question '9999'"),
        (ours([id + 9999 for id in IDS]), "coco_pope_random.json has no question"),
        ([{"image_id": 1, "caption": "A dog."}], "not those of an answer to 'pope'"),
        (
            [{key: item[key] for key in ("question_id", "image", "text", "label")} for item in ITEMS],
            "where its answer should be",
        ),
        (
            [
                {"index": n, "question": "Is it?", "answer": "no", "category": category, "prediction": "yes"}
                for n, category in enumerate(["a", "b"] * 20)
            ],
            "the answers are of the categories a, b; the name of coco_pope_random.json must have one of them",
        ),
    ],
)
def test_bad_answers_are_a_sentence(
    rows: list[dict[str, Any]], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, out = tmp_path / "answers.jsonl", tmp_path / "result.json"
    answers.write_text("\n".join(map(json.dumps, rows)))
    words = ["--questions", str(questions_in(tmp_path, ITEMS)), "--out", str(out)]
    assert main(["score", "pope", "--answers", str(answers), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ({**ITEMS[0], "label": "Yes"}, "label: must be yes or no, found 'Yes'"),
        ({"question_id": 1, "image": "a.jpg", "text": "Is it?"}, "is no question of POPE: it lacks label"),
    ],
)
def test_bad_questions_are_a_sentence(
    question: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions, answers = tmp_path / "questions.json", tmp_path / "answers.json"
    questions.write_text(json.dumps([question]))
    answers.write_text(json.dumps(official(ITEMS[:1])))
    assert main(["score", "pope", "--answers", str(answers), "--questions", str(questions)]) == 2
    assert sentence in capsys.readouterr().err


def test_without_questions_the_option_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "pope", "--answers", str(tmp_path / "answers.json")]) == 2
    assert "'pope' needs --questions PATH" in capsys.readouterr().err
