"""`mdpo data`, as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.paths import DATA

from mdpo_core import load_recipe
from mdpo_core.cli import main

FORMATS = DATA / "formats"


def test_a_known_format_is_named_with_its_line_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    path = FORMATS / "rlaif_v" / "part-000.parquet"
    assert main(["data", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"data: {{reader: rlaif_v, path: {path}}}"
    assert lines[1].startswith("  2 rows with the columns ds_name, image, question")
    assert "    question: What is on the water?" in lines
    assert max(map(len, lines[2:])) <= 100


def test_columns_of_no_known_format_are_to_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"q": "A?", "good": "B", "rejected": "C"}))
    assert main(["data", str(file)]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    fields = "prompt: COLUMN, image: COLUMN, responses: {chosen: COLUMN, rejected: rejected}"
    assert line == f"data: {{reader: pairs, path: {file}, {fields}}}"


def test_a_recipe_is_written_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, recipe = FORMATS / "vlfeedback" / "vlfeedback.jsonl", tmp_path / "mine.yaml"
    assert main(["data", str(path), "--recipe", str(recipe)]) == 0
    assert f"{recipe}: a recipe with this line" in capsys.readouterr().out
    loaded = load_recipe(recipe)
    assert loaded.data.component_name() == "vlfeedback"
    assert main(["data", str(path), "--recipe", str(recipe)]) == 2
    assert "exists already; name a new file" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "held_out"), [(4, None), (30, {"rows": 3}), (2000, {"share": 0.02})])
def test_a_recipe_has_labels_and_measures_on_held_out_rows(
    rows: int, held_out: dict[str, float] | None, tmp_path: Path
) -> None:
    file, recipe = tmp_path / "mine.jsonl", tmp_path / "mine.yaml"
    row = {"prompt": "A?", "chosen": "B", "rejected": "C"}
    file.write_text("".join(json.dumps({**row, "prompt": f"{number}?"}) + "\n" for number in range(rows)))
    assert main(["data", str(file), "--recipe", str(recipe)]) == 0
    loaded = load_recipe(recipe)
    assert loaded.labels() == ("text", "picture", "anchor")
    found = loaded.data.hold_out
    assert (None if found is None else found.model_dump(exclude_none=True, exclude={"seed"})) == held_out
    expected = ["preference", "samples"] if held_out else ["samples"]
    assert [each.component_name() for each in loaded.evaluators] == expected


def test_a_column_that_is_not_chosen_yet_is_refused_before_a_row_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, recipe = tmp_path / "mine.jsonl", tmp_path / "mine.yaml"
    file.write_text(json.dumps({"q": "A?", "good": "B", "rejected": "C"}))
    assert main(["data", str(file), "--recipe", str(recipe)]) == 0
    assert main(["check", str(recipe)]) == 2
    said = capsys.readouterr().err
    for option in ("prompt", "image", "responses"):
        assert f"data.{option}: write the name of a column of the data in place of COLUMN" in said


def test_the_line_is_yaml_for_every_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a, b: {c} #d.jsonl"
    file.write_text(json.dumps({"img_path": None, "prompt": "A?", "chosen": "B", "rejected": "C"}))
    assert main(["data", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"data: {{reader: pairs, path: {json.dumps(str(file))}}}"


@pytest.mark.parametrize("name", ["absent.jsonl", "*.jsonl", ""])
def test_data_that_is_not_there_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(tmp_path / name) if name else ""]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def line_of(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["data", str(path)]) == 0
    return capsys.readouterr().out.splitlines()[0]


# Files whose pictures lie in a folder that the line has to name, and this folder; None: none has to be named.
PICTURES = [
    ("trl_jsonl_paths/pairs.jsonl", "trl_jsonl_paths"),
    ("seva/textvqa_dpo_8k.json", "seva/textvqa/train_images"),
    ("llava_hound/sft_dpo.jsonl", "llava_hound/frames"),
    ("mmpr/MMPR-v1.2/annotations/own_b_pairs_dropout_ntp.jsonl", "mmpr/MMPR-v1.2/images/own_b"),
    ("mmpr/MMPR-v1.2/meta.json", "mmpr"),
    ("mdpo_release/pairs.json", "mdpo_release"),
    ("swift_rejected_images/pairs.jsonl", "swift_rejected_images"),
    ("llamafactory_sharegpt", None),
    ("llamafactory_openai_tags", "llamafactory_openai_tags/images"),
    ("imagefolder/train", None),
    ("swift_image_forms/data_uri.jsonl", None),
]


@pytest.mark.parametrize(("name", "folder"), PICTURES, ids=[name for name, _ in PICTURES])
def test_the_recipe_is_sound_as_it_is_written(
    name: str, folder: str | None, llava: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    assert main(["data", str(FORMATS / name), "--recipe", str(recipe)]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.partition("images: ")[2].rstrip("}") == ("" if folder is None else str(FORMATS / folder))
    assert main(["check", str(recipe), "--data", "--set", f"model.path={llava}"]) == 0


def test_a_relative_path_gives_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FORMATS / "trl_jsonl_paths", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert line_of(Path("mine/pairs.jsonl"), capsys) == "data: {reader: trl, path: mine/pairs.jsonl, images: mine}"
    monkeypatch.chdir(tmp_path / "mine")
    assert line_of(Path("pairs.jsonl"), capsys) == "data: {reader: trl, path: pairs.jsonl}"
    (tmp_path / "mine" / "rows").mkdir()
    Path("pairs.jsonl").rename("rows/pairs.jsonl")
    monkeypatch.chdir(tmp_path / "mine" / "rows")
    assert line_of(Path("pairs.jsonl"), capsys) == "data: {reader: trl, path: pairs.jsonl, images: ..}"


def test_a_folder_that_is_not_found_is_left_to_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(FORMATS / "trl_jsonl_paths" / "pairs.jsonl", tmp_path)
    line = line_of(tmp_path / "pairs.jsonl", capsys)
    assert line == f"data: {{reader: trl, path: {tmp_path / 'pairs.jsonl'}, images: FOLDER}}"


def test_every_ranking_data_set_of_a_folder_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sets"
    shutil.copytree(FORMATS / "llamafactory_sharegpt", folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    shutil.copy(folder / "pairs.json", folder / "more.json")
    info["cats"] = {**info["boats"], "file_name": "more.json"}
    info["plain"] = {"file_name": "pairs.json"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    assert main(["data", str(folder / "dataset_info.json")]) == 0
    lines = capsys.readouterr().out.splitlines()[:2]
    assert lines == [f"data: {{reader: llamafactory, path: {folder}, dataset: {name}}}" for name in ("boats", "cats")]


def test_bare_text_needs_no_column_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"prompt": "A?", "chosen": "B", "rejected": "C"}))
    assert line_of(file, capsys) == f"data: {{reader: pairs, path: {file}, image: null}}"


@pytest.mark.parametrize(("prompt", "kind"), [("USER: A? ASSISTANT:", "ready"), ("A?", "chat")])
def test_a_recipe_says_whether_prompts_are_ready(prompt: str, kind: str, tmp_path: Path) -> None:
    file, recipe = tmp_path / "mine.jsonl", tmp_path / "mine.yaml"
    file.write_text(json.dumps({"prompt": prompt, "chosen": "B", "rejected": "C"}))
    assert main(["data", str(file), "--recipe", str(recipe)]) == 0
    assert load_recipe(recipe).model.prompts == kind  # type: ignore[attr-defined]
