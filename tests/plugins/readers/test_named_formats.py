"""Small files of every named format, and the pairs that its own trainer would make of them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mdpo_readers import Pair, Row, TableReader, asked, text
from support.paths import DATA

from mdpo_core import Begun, DataError, Example, Reader, Turn, component, register
from mdpo_core.testing import check_reader

FORMATS = DATA / "formats"
# The folder, the reader, its file and its other options.
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("trl_conversational", "trl", "pairs.parquet", {}),
    ("trl_conversational_text", "trl", "pairs.parquet", {}),
    ("trl_standard", "trl", "pairs.parquet", {}),
    ("trl_jsonl_paths", "trl", "pairs.jsonl", {"images": "."}),
    ("swift_response", "swift", "pairs.jsonl", {"images": "."}),
    ("swift_rejected_messages", "swift", "pairs.jsonl", {"images": "."}),
    ("swift_rejected_images", "swift", "pairs.jsonl", {"images": "."}),
    ("swift_video_frames", "swift", "pairs.jsonl", {"images": "."}),
    ("llamafactory_sharegpt", "llamafactory", ".", {"dataset": "boats"}),
    ("llamafactory_openai_tags", "llamafactory", ".", {"dataset": "boats", "media_dir": "images"}),
    ("rlaif_v", "rlaif_v", "part-000.parquet", {}),
    ("rlhf_v", "rlhf_v", "RLHF-V-Dataset.parquet", {}),
    ("vlfeedback", "vlfeedback", "vlfeedback.jsonl", {"images": "."}),
    ("povid", "povid", "povid.json", {"images": "."}),
    ("sentinel", "sentinel", "LLaVA_v1_5_7b_data_pair.jsonl", {"images": "."}),
    ("sentinel", "sentinel", "LLaVA_v1_5_7b_SENTINEL_8_6k.json", {"images": "."}),
    ("sentinel", "sentinel", "Qwen2_VL_7B_Instruct_SENTINEL_7k.json", {"images": "."}),
    ("two_responses", "align_anything", "pairs.parquet", {}),
    ("llava_hound", "hound", "sft_dpo.jsonl", {"images": "frames"}),
    ("bpo", "bpo", "bpo.jsonl", {"images": "."}),
    ("ha_dpo", "ha_dpo", "desc_data.json", {"images": "."}),
    ("mm_rlhf", "mm_rlhf", "dpo_pairs.jsonl", {"images": "."}),
    ("distilabel", "distilabel", "generations.jsonl", {"images": "."}),
    ("argilla", "argilla", "records.json", {}),
    ("mmpr", "mmpr", "MMPR-v1.2/meta.json", {"images": "."}),
    ("seva", "seva", "textvqa_dpo_8k.json", {"images": "textvqa/train_images"}),
]


def reader_of(folder: str, reader: str, file: str, options: Mapping[str, Any]) -> Reader:
    options = dict(options)
    if "images" in options:
        options["images"] = FORMATS / folder / options["images"]
    return component("reader", reader, path=str(FORMATS / folder / file), **options)


def read(folder: str, reader: str, file: str, options: Mapping[str, Any]) -> Sequence[Example]:
    return reader_of(folder, reader, file, options).open()


def as_expected(prompt: Any) -> Any:
    """A prompt in the form of ``expected.json``; blanks beside a mark may differ between formats."""
    if isinstance(prompt, str):
        return prompt
    turns = [(turn["role"], turn["content"]) if isinstance(turn, dict) else (turn.role, turn.text) for turn in prompt]
    return [(role, text.replace("<image>\n", "<image>")) for role, text in turns]


@pytest.mark.parametrize(("folder", "reader", "file", "options"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_pairs_are_those_of_the_formats_own_trainer(
    folder: str, reader: str, file: str, options: dict[str, Any]
) -> None:
    expected = json.loads((FORMATS / folder / "expected.json").read_text())
    wanted = [expected["first"], *expected["others"]]
    rows = read(folder, reader, file, options)
    copies = 2 if folder == "mmpr" else 0  # of the last two rows: repeat_time
    assert len(rows) - copies == expected["pairs"] == len(wanted)
    assert len({row.id for row in rows}) == len(rows)
    for row, pair in zip(rows[: len(wanted)], wanted, strict=True):
        assert as_expected(row.prompt) in [as_expected(pair[name]) for name in ("prompt", "as_written") if name in pair]
        assert row.begun == (Begun(pair["begun"], unfinished=True) if "begun" in pair else None)
        assert row.responses.get("chosen") == pair["chosen"]
        assert row.responses.get("rejected") == pair["rejected"]
        assert [list(image.size) for image in row.images] == pair["image_sizes"]
        assert row.num_marks == len(row.images)
        others = [list(image.size) for image in row.other_images.get("rejected_images", ())]
        assert "rejected_image_sizes" not in pair or others == pair["rejected_image_sizes"]
        for score in ("chosen_score", "rejected_score"):
            assert score not in pair or row.columns[score] == pair[score]


@pytest.mark.parametrize(("folder", "reader", "file", "options"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_a_named_reader_keeps_the_contract(folder: str, reader: str, file: str, options: dict[str, Any]) -> None:
    check_reader(reader_of(folder, reader, file, options))


@pytest.mark.parametrize(
    "form",
    ["one_path", "image_key", "data_uri", "bare_base64", "dict_path", "in_parts", "image_url", "no_mark"],
)
def test_a_picture_comes_in_every_form(form: str) -> None:
    expected = json.loads((FORMATS / "swift_image_forms" / "expected.json").read_text())["each"][form]
    [row] = read("swift_image_forms", "swift", f"{form}.jsonl", {"images": "."})
    assert as_expected(row.prompt) == as_expected(expected["prompt"])
    assert [list(image.size) for image in row.images] == expected["image_sizes"]


def test_a_damaged_embedded_picture_is_named(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "Yes."}],
        "rejected_response": "No.",
        "images": ["data:image/png;base64,iVBOR*"],
    }
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    rows = component("reader", "swift", path=str(tmp_path / "pairs.jsonl")).open()
    with pytest.raises(DataError, match=r"row 1.*images: contains an embedded image whose base64 is damaged"):
        rows[0]


def test_the_columns_of_another_format_name_it_and_the_line_to_write() -> None:
    path = FORMATS / "rlaif_v" / "part-000.parquet"
    line = f"data: {{reader: rlaif_v, path: {path}}}"
    for reader in ("pairs", "swift", "seva"):
        with pytest.raises(DataError) as caught:
            component("reader", reader, path=str(path)).open()
        assert f"the columns are those of RLAIF-V: {line}" in str(caught.value)


def test_the_line_for_llamafactory_names_the_data_set() -> None:
    folder = FORMATS / "llamafactory_openai_tags"
    with pytest.raises(DataError, match=rf"reader: llamafactory, path: {folder}, dataset: boats"):
        component("reader", "pairs", path=str(folder / "pairs.json")).open()


USER = {"role": "user", "content": "What is it?"}
PNG = (FORMATS / "quirks" / "images" / "boat.png").read_bytes()
URI = f"data:image/png;base64,{b64encode(PNG).decode()}"
# Rows of formats for which there is no published file here, and their pair: prompt, chosen, rejected.
WRITTEN: list[tuple[str, dict[str, Any], tuple[Turn, ...]]] = [
    (
        "openai",
        {
            "input": {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is it? "},
                            {"type": "image_url", "image_url": {"url": URI}},
                        ],
                    }
                ]
            },
            "preferred_output": [{"role": "assistant", "content": "A boat."}],
            "non_preferred_output": [{"role": "assistant", "content": "A car."}],
        },
        (Turn("user", "What is it? <image>"),),
    ),
    (
        "arena",
        {
            "images": [URI],
            "conversation_a": [USER, {"role": "assistant", "content": "A car."}],
            "conversation_b": [USER, {"role": "assistant", "content": "A boat."}],
            "winner": "model_b",
        },
        (Turn("user", "<image>\nWhat is it?"),),
    ),
    (
        "llava_rlhf",
        {
            "image": URI,
            "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}],
            "output_1": {"from": "llava", "value": "A car."},
            "output_2": {"from": "llava", "value": "A boat."},
            "preference": 2,
        },
        (Turn("user", "<image>\nWhat is it?"),),
    ),
]


@pytest.mark.parametrize(("reader", "row", "prompt"), WRITTEN, ids=[case[0] for case in WRITTEN])
def test_a_row_written_by_hand_makes_its_pair(
    reader: str, row: dict[str, Any], prompt: tuple[Turn, ...], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    opened = component("reader", reader, path=str(tmp_path / "rows.jsonl"))
    check_reader(opened)
    [example] = opened.open()  # type: ignore[attr-defined]
    assert (example.prompt, example.responses) == (prompt, {"chosen": "A boat.", "rejected": "A car."})
    assert [image.size for image in example.images] == [(24, 16)]
    with pytest.raises(DataError, match=rf"data: {{reader: {reader}, path: "):
        component("reader", "seva", path=str(tmp_path / "rows.jsonl")).open()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reader", "change", "message"),
    [
        ("arena", {"winner": 3}, "winner: must be model_a, model_b or a tie"),
        ("llava_rlhf", {"preference": 0}, "preference: must be 1 or 2"),
        ("openai", {"input": "What?"}, "input: must be an object"),
    ],
)
def test_a_wrong_value_is_named_with_its_column(
    reader: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    row = next(row for name, row, _ in WRITTEN if name == reader)
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, **change}))
    with pytest.raises(DataError, match=rf"row 1: {message}"):
        component("reader", reader, path=str(tmp_path / "rows.jsonl")).open()[0]  # type: ignore[attr-defined]


def test_a_tie_makes_no_pair(tmp_path: Path) -> None:
    row = next(row for name, row, _ in WRITTEN if name == "arena")
    rows = [{**row, "winner": "tie (bothbad)"}, row]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    [example] = component("reader", "arena", path=str(tmp_path / "rows.jsonl")).open()  # type: ignore[attr-defined]
    assert example.id == "2-1"


def test_arena_reads_messages_that_each_stand_in_a_list(tmp_path: Path) -> None:
    row = next(row for name, row, _ in WRITTEN if name == "arena")
    nested = {key: [[turn] for turn in row[key]] for key in ("conversation_a", "conversation_b")}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | nested) + "\n")
    first, second = component("reader", "arena", path=str(tmp_path / "rows.jsonl")).open()  # type: ignore[attr-defined]
    assert (first.prompt, first.responses) == (second.prompt, second.responses)
    assert [image.tobytes() for image in first.images] == [image.tobytes() for image in second.images]


class Quiz(TableReader):
    """A format of somebody else's: good and bad answers to a quiz."""

    title: ClassVar[str] = "the quiz"
    columns: ClassVar[tuple[str, ...]] = ("q", "good", "bad", "pic")

    def pairs(self, row: Row) -> Iterable[Pair]:
        yield Pair(asked(row["q"]), text(row["good"]), text(row["bad"]), row["pic"])


@pytest.mark.usefixtures("own_registry")
def test_a_format_of_a_third_party_is_one_small_class(tmp_path: Path) -> None:
    register("quiz", Quiz)
    picture = str(FORMATS / "mdpo_release" / "images" / "boat.jpg")
    row = {"q": "What is it?", "good": "A boat.", "bad": "A car.", "pic": Path(picture).name}
    (tmp_path / "quiz.jsonl").write_text(json.dumps(row))
    options = {"path": str(tmp_path / "quiz.jsonl"), "images": Path(picture).parent}
    reader = component("reader", "quiz", **options)
    check_reader(reader)
    assert reader.open()[0].prompt == (Turn("user", "<image>\nWhat is it?"),)
    with pytest.raises(DataError, match=r"the columns are those of the quiz: data: {reader: quiz, path: "):
        component("reader", "pairs", **options).open()


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("llamafactory_sharegpt", {"dataset": "boat"}, "the data set 'boat' is missing; did you mean 'boats'"),
        ("rlaif_v", {"dataset": "boats"}, "dataset_info.json: cannot be read"),
    ],
)
def test_an_entry_that_is_not_there_is_named(folder: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(folder, "llamafactory", ".", options)


def test_the_best_answer_over_the_worst() -> None:
    [pair] = json.loads((FORMATS / "vlfeedback" / "expected.json").read_text())["best_over_worst"]
    [row] = read("vlfeedback", "vlfeedback", "vlfeedback.jsonl", {"images": ".", "take": "best_over_worst"})
    assert row.responses == {"chosen": pair["chosen"], "rejected": pair["rejected"]}
    assert row.columns == {"chosen_score": pair["chosen_score"], "rejected_score": pair["rejected_score"]}


@pytest.mark.parametrize(("folder", "reader", "file", "options"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_a_format_is_recognized_by_its_columns(folder: str, reader: str, file: str, options: dict[str, Any]) -> None:
    from mdpo_readers.formats.recognition import format_of
    from mdpo_readers.tables.opening import open_table

    path = FORMATS / folder / ("pairs.json" if file == "." else file)
    found = format_of(str(path), open_table(str(path), "train"), TableReader.named())
    assert found is not None
    assert found.component_name() == reader


@pytest.mark.parametrize("form", ["base64", "URI", "object"])
def test_rlaif_v_is_recognized_with_pictures_as_text(form: str, tmp_path: Path) -> None:
    forms: dict[str, Any] = {"base64": b64encode(PNG).decode(), "URI": URI, "object": {"bytes": URI, "path": None}}
    row = {"image": forms[form], "question": "What?", "chosen": "Yes.", "rejected": "No."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"the columns are those of RLAIF-V: data: {reader: rlaif_v, "):
        component("reader", "seva", path=str(tmp_path / "rows.jsonl")).open()
