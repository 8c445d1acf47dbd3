"""Answer files of lmms-eval and VLMEvalKit in the layouts that both write today, for each benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mdpo_benchmarks.chair import Chair
from mdpo_benchmarks.hallusion.benchmark import HallusionBench
from mdpo_benchmarks.mme import MME
from mdpo_benchmarks.pope import Pope
from support.amber import annotations, small_folder
from support.builders.coco_files import tiny
from support.paths import DATA

from mdpo_core import Benchmark, DataError
from mdpo_core.benchmarking.answer_files import read_answers
from mdpo_core.benchmarking.scoring import score_answers
from mdpo_core.cli import main

SUFFIX = "\nAnswer the question using a single word or phrase."
Row = dict[str, Any]


def sample(number: int, said: str, prompt: str, target: object, metrics: Mapping[str, object]) -> Row:
    """A sample of lmms-eval 0.4 and later, which leaves the row of the data set out."""
    return {
        "doc_id": number,
        "target": str(target),
        "filtered_resps": said if number % 2 else [said],
        "token_counts": [None],
        "doc_hash": f"{number:064x}",
        **metrics,
        "input": prompt,
    }


def lines(place: Path, rows: Sequence[Row], name: str = "samples.jsonl") -> Path:
    (place / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return place / name


def table(place: Path, rows: Sequence[Row], name: str = "table.json") -> Path:
    (place / name).write_text(json.dumps(rows))
    return place / name


def metrics_of(benchmark: Benchmark, file: Path) -> Mapping[str, Any]:
    return score_answers(benchmark, file).score.metrics


POPE: list[Row] = json.loads((DATA / "benchmarks" / "pope.json").read_text())["cases"][0]["items"][:60]


def pope_questions(place: Path, items: Sequence[Row] = POPE, name: str = "coco_pope_random.json") -> Path:
    return table(place, [{key: item[key] for key in ("question_id", "image", "text", "label")} for item in items], name)


def pope_samples(items: Sequence[Row] = POPE) -> list[Row]:
    return [
        sample(
            number,
            item["answer"],
            item["text"] + SUFFIX,
            item["label"],
            {
                f"pope_{name}": {"question_id": str(item["question_id"]), "score": 1.0, "prediction": "yes"}
                for name in ("accuracy", "f1_score")
            },
        )
        for number, item in enumerate(items)
    ]


def test_samples_without_the_row_of_the_data_set_are_read_by_the_ids_of_their_metrics(tmp_path: Path) -> None:
    benchmark = Pope(questions=pope_questions(tmp_path))
    official = table(tmp_path, [{"question": item["text"], "answer": item["answer"]} for item in POPE])
    file = lines(tmp_path, pope_samples()[::-1])
    assert metrics_of(benchmark, file) == metrics_of(benchmark, official)
    first = read_answers(benchmark, file)[0]
    assert (first.id, first.response) == (str(POPE[0]["question_id"]), POPE[0]["answer"])


def test_a_sample_that_is_there_twice_is_a_sentence(tmp_path: Path) -> None:
    file = lines(tmp_path, [*pope_samples(), pope_samples()[3]])
    with pytest.raises(DataError, match=r"samples.jsonl:61: doc_id: the sample 3 stands in samples.jsonl:4, too"):
        metrics_of(Pope(questions=pope_questions(tmp_path)), file)


def test_a_question_of_several_files_stands_once_in_the_table_with_all_its_categories(tmp_path: Path) -> None:
    """VLMEvalKit's table of POPE: what the three files share comes first, whatever the order of each file."""
    shared, own, others = POPE[0::3], POPE[1::3], POPE[2::3]
    both = sorted([*shared, *own], key=lambda item: int(item["question_id"]))
    rows = [
        *((item, "adversarial,popular,random") for item in shared),
        *((item, "adversarial,popular") for item in others),
        *((item, "random") for item in own),
    ]
    kit = [
        {
            "index": index,
            "question": item["text"],
            "answer": item["label"].capitalize(),
            "category": category,
            "prediction": item["answer"],
        }
        for index, (item, category) in enumerate(rows)
    ]
    benchmark = Pope(questions=pope_questions(tmp_path, both))
    official = table(tmp_path, [{"question": item["text"], "answer": item["answer"]} for item in both], "own.json")
    assert metrics_of(benchmark, table(tmp_path, kit)) == metrics_of(benchmark, official)


MME_ROWS: dict[str, list[list[str]]] = json.loads((DATA / "benchmarks" / "mme.json").read_text())["cases"][0]["rows"]


def mme_rows() -> list[tuple[str, list[str]]]:
    return [(task, row) for task, rows in MME_ROWS.items() for row in rows]


def test_mme_samples_are_put_in_the_order_of_the_data_set(tmp_path: Path) -> None:
    official = tmp_path / "official"
    official.mkdir()
    for task, rows in MME_ROWS.items():
        (official / f"{task}.txt").write_text("".join("\t".join(row) + "\n" for row in rows))
    samples = [
        sample(
            number,
            row[3],
            row[1] + SUFFIX,
            row[2],
            {"mme_perception_score": {"question_id": f"{task}/{row[0]}", "category": task, "score": 1.0}},
        )
        for number, (task, row) in enumerate(mme_rows())
    ]
    of_two_processes = [*samples[::2], *samples[1::2]]
    assert metrics_of(MME(), lines(tmp_path, of_two_processes)) == metrics_of(MME(), official)


def test_pictures_of_an_mme_table_must_have_two_rows_each(tmp_path: Path) -> None:
    kit = [
        {
            "index": index,
            "image_path": f"{task}/{row[0]}",
            "question": row[1],
            "answer": row[2],
            "category": task,
            "prediction": row[3],
        }
        for index, (task, row) in enumerate(mme_rows())
    ]
    kit[1], kit[2] = kit[2], kit[1]
    with pytest.raises(DataError, match="but the line before it about"):
        metrics_of(MME(), table(tmp_path, kit))


def test_chair_samples_name_their_picture_in_their_metrics(tmp_path: Path) -> None:
    benchmark = Chair(data=tiny(tmp_path / "coco", {7: "A man", 8: "A man"}, {7: [1], 8: [2]}), words="plain")
    samples = [
        sample(
            number,
            said,
            "Please describe this image in detail.",
            ["person"],
            {"coco_cap_chair_i": {"answer": ["person"], "pred": [], "image_id": image}},
        )
        for number, (image, said) in enumerate([(7, "A man and two buses."), (8, "A dog.")])
    ]
    assert metrics_of(benchmark, lines(tmp_path, samples)) == {"CHAIRs": 1.0, "CHAIRi": 2 / 3}


def hallusion_rows() -> list[Row]:
    place = {"category": "VD", "subcategory": "chart", "set_id": "0", "visual_input": "1"}
    return [
        {
            **place,
            "figure_id": figure,
            "question_id": "0",
            "question": f"Is it {figure}?",
            "gt_answer": "1",
            "gt_answer_details": "It is.",
            "filename": "./a.png",
        }
        for figure in ("0", "1")
    ]


def test_hallusionbench_samples_hold_their_row_in_their_metrics(tmp_path: Path) -> None:
    samples = [
        sample(number, said, row["question"], "It is.", {"aAcc": {**row, "model_prediction": said}})
        for number, (row, said) in enumerate(zip(hallusion_rows(), ("Yes.", "No."), strict=True))
    ]
    benchmark = HallusionBench(questions=table(tmp_path, hallusion_rows(), "q.json"), no_judge=True)
    assert metrics_of(benchmark, lines(tmp_path, samples))["aAcc"] == 50.0


def scored_amber(place: Path, answers: Path, *words: str) -> int:
    data = small_folder(place / "data", {1, 2, 1005, 1006, 1007})
    command = ["score", "amber", "--data", str(data), "--answers", str(answers), "--similarity", "exact"]
    return main([*command, "--nouns-by", "vocabulary", "--out", str(place / "result.json"), *words])


def counters() -> Mapping[str, object]:
    return {"amber_chair": {"chair_score": 0, "chair_num": 1.001}}


def test_amber_samples_are_known_by_their_number_and_the_objects_of_their_picture(tmp_path: Path) -> None:
    rows = annotations()[:2]
    samples = [
        sample(number, row["truth"][0], "Describe this image", row["truth"], counters())
        for number, row in enumerate(rows)
    ]
    assert scored_amber(tmp_path, lines(tmp_path, samples), "--task", "g") == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["counts"]["non_hallu_num"], result["counts"]["safe_cover_score"]) == (2, 2)


def of_other_pictures(rows: Sequence[Row]) -> list[Row]:
    return [sample(0, "A dog.", "Describe this image", rows[1]["truth"], counters())]


def yes_no_by_other_numbers(rows: Sequence[Row]) -> list[Row]:
    return [{"index": 1, "question": "Is it?", "answer": "Yes", "category": "relation", "prediction": "Yes"}]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (of_other_pictures, "does not say which picture of AMBER it describes"),
        (yes_no_by_other_numbers, "says that yes is right, but in annotations.json 1 is a picture to describe"),
    ],
)
def test_amber_answers_with_other_numbers_are_a_sentence(
    made: Callable[[Sequence[Row]], list[Row]], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines(tmp_path, made(annotations()))
    assert scored_amber(tmp_path, file) == 2
    assert sentence in capsys.readouterr().err


def test_an_amber_table_is_known_by_picture_and_question(tmp_path: Path) -> None:
    questions = table(
        tmp_path,
        [
            {"id": id, "image": f"AMBER_{id % 2}.jpg", "query": query}
            for id, query in [(1005, "Is it a?"), (1006, "Is it a?"), (1007, "Is it b?")]
        ],
        "query_all.json",
    )
    rows = annotations()
    kit = [
        {
            "index": index,
            "image_path": f"images/AMBER_{id % 2}.jpg",
            "question": query,
            "answer": rows[id - 1]["truth"],
            "category": rows[id - 1]["type"],
            "prediction": "No",
        }
        for index, (id, query) in enumerate([(1007, "Is it b?"), (1005, "Is it a?"), (1006, "Is it a?")])
    ]
    file = table(tmp_path, kit)
    assert scored_amber(tmp_path, file, "--questions", str(questions), "--by-row", str(tmp_path / "rows.jsonl")) == 0
    found = [json.loads(line)["id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert found == ["1007", "1005", "1006"]
