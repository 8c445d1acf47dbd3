"""ms-swift's rejected_images: a picture is rejected, not an answer."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import PIL.Image
import pytest
from support.builders.small_vlms import build_vlm
from support.paths import DATA, RECIPES
from support.processes.launching import records

from mdpo_core import DataError, load_recipe, run
from mdpo_core.data.reading import read_data

RECIPE = RECIPES / "swift_rejected_images.yaml"
FORMAT = DATA / "formats" / "swift_rejected_images"


def changes(folder: Path, data: Path, adapter: str = "llava") -> list[str]:
    batches = ["train.batch_size=2", "train.micro_batch_size=2", "train.workers=0", "trackers=[]"]
    precision = ["backend.precision=fp32", "model.max_length=512"]
    places = [f"model.path={folder}", f"data.path={data / 'pairs.jsonl'}", f"data.images={data}"]
    none_held_out = ["data.hold_out=null", "evaluators=[]"]  # of two rows
    return [f"model.adapter={adapter}", *places, *batches, *precision, *none_held_out]


@pytest.mark.long
def test_the_recipe_prefers_each_answer_with_its_own_pictures(llava: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        RECIPE,
        [*changes(llava, FORMAT), "train.epochs=6", "train.learning_rate=1e-2", f"output.dir={tmp_path / 'run'}"],
    )
    first, *_, last = [each for each in records(run(recipe).run_dir) if "loss" in each]
    # At policy = reference the margin and the reward are 0.
    assert first["loss"] == pytest.approx(2 * math.log(2), abs=1e-5)
    assert last["loss"] < first["loss"] - 0.01


@pytest.mark.long
def test_a_rejected_picture_that_the_processor_refuses_is_a_bad_row(tmp_path: Path) -> None:
    shutil.copytree(FORMAT, tmp_path / "data")
    PIL.Image.new("RGB", (455, 2)).save(tmp_path / "data" / "images" / "thin.png")
    file = tmp_path / "data" / "pairs.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1]["rejected_images"] = ["images/thin.png"]
    file.write_text("\n".join(map(json.dumps, rows)))
    options = changes(build_vlm("qwen2_vl", tmp_path / "model"), tmp_path / "data", "chat_vlm")
    words = r"pairs.jsonl row 2, example '2': under the condition 'rejected_images', the model's processor fails on "
    with pytest.raises(DataError, match=rf"{words}the image of 455 x 2 pixels: ValueError: absolute aspect ratio"):
        read_data(load_recipe(RECIPE, options))
    checked, _ = read_data(load_recipe(RECIPE, [*options, "data.bad_rows=quarantine"]))
    assert (checked.rows, list(checked.bad)) == ([0], [1])
