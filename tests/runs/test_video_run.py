"""A run on videos: frames are images, and a condition changes their order."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.paths import RECIPES
from support.processes.launching import records
from support.videos import write_video

from mdpo_core import load_recipe, run


def test_the_recipe_for_videos_begins_at_its_formula_and_learns_the_order(llava: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "walk.mp4", 12)
    write_video(tmp_path / "still.mkv", 1)
    answers = {"chosen": "A pink flower.", "rejected": "Green leaves."}
    rows = [
        {"video": name, "prompt": "USER: What happens? ASSISTANT:", **answers} for name in ("walk.mp4", "still.mkv")
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = [
        f"model={{adapter: llava, path: {llava}}}",
        f"data.path={tmp_path / 'rows.jsonl'}",
        f"data.images={tmp_path}",
        "data.frames=3",
        "train.epochs=3",
        "train.batch_size=2",
        "train.micro_batch_size=1",
        "train.learning_rate=1.0e-2",
        "train.workers=0",
        "backend={backend: local, precision: fp32}",
        "data.hold_out=null",  # of two rows
        "evaluators=[]",
        "trackers=[]",
        f"output.dir={tmp_path / 'run'}",
    ]
    first, *_, last = records(run(load_recipe(RECIPES / "qwen2_5_vl_video.yaml", changes)).run_dir)
    # Two terms hold for both rows; the order of frames cannot change in the video of one frame.
    assert first["loss"] == pytest.approx((2 + 3) / 2 * math.log(2), rel=1e-3)
    assert last["loss"] < first["loss"]
