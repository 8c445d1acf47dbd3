"""Runs in which videos enter by the model's own input: lengths, conditions in time, a cached reference, a resume."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import PIL.Image
import pytest
from support.builders.small_vlms import build_vlm
from support.processes.launching import contents, records
from support.videos import write_video

from mdpo_core import hookimpl, load_recipe, run
from mdpo_core.cli import main
from mdpo_core.processes.stop_request import RunStopped
from mdpo_core.registry.discovery import current_registry

RECIPE = """
model:
  {{adapter: chat_vlm, path: {folder}/model, video: {video}, max_length: {max_length}, lora: {{rank: 2, alpha: 4}}}}
data: {{reader: pairs, path: {folder}/rows.jsonl, images: {folder}, image: picture, video: video, fps: 4}}
corruptions:
  shuffled: {{corruption: shuffle_frames, draw: epoch}}
  crop: {{corruption: random_crop}}
objective:
  - {{loss: dpo}}
  - {{loss: dpo, over: chosen@shuffled}}
  - {{loss: dpo, over: chosen@crop}}
train: {{epochs: 3, batch_size: 2, micro_batch_size: 1, learning_rate: 0.01, workers: 0}}
reference: {reference}
trackers: []
backend: {{backend: local, device: cpu, precision: fp32}}
output: {{dir: {folder}/{name}, save_every: 2}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of videos, one of them beside a picture, and a row of a picture alone."""
    folder = tmp_path_factory.mktemp("own")
    build_vlm("qwen2_5_vl", folder / "model")
    write_video(folder / "walk.mp4", 20, size=(64, 48))
    write_video(folder / "run.mp4", 12, size=(48, 48))
    PIL.Image.linear_gradient("L").convert("RGB").resize((60, 44)).save(folder / "ramp.png")
    rows = [
        {"video": "walk.mp4", "prompt": "<video>What happens?"},
        {"video": "run.mp4", "picture": "ramp.png", "prompt": "Is <image> in <video>?"},
        {"picture": "ramp.png", "prompt": "<image>What is it?"},
        {"video": ["run.mp4", "walk.mp4"], "prompt": "Is <video> or <video> longer?"},
    ]
    answers = {"chosen": "A boat.", "rejected": "A big flower.", "picture": None, "video": None}
    (folder / "rows.jsonl").write_text("".join(json.dumps(answers | row) + "\n" for row in rows))
    return folder


def recipe(folder: Path, name: str, video: str = "own", reference: str = "adapter_off", max_length: int = 2048) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(RECIPE.format(folder=folder, name=name, video=video, reference=reference, max_length=max_length))
    return file


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    return run(load_recipe(recipe(folder, "whole"))).run_dir


def test_the_run_begins_at_its_formula_and_a_cached_reference_changes_nothing(folder: Path, whole: Path) -> None:
    cached = run(load_recipe(recipe(folder, "cached", reference="cached"))).run_dir
    losses, others = ([each["loss"] for each in records(file)] for file in (whole, cached))
    assert len(losses) == 6
    assert losses == pytest.approx(others, abs=1e-5)
    # Three terms of log 2 each; the shuffled condition leaves out the row without a video.
    assert math.log(2) * 2 < losses[0] < math.log(2) * 3 + 1e-4
    assert losses[-1] < losses[0]


class Stop:
    @hookimpl
    def mdpo_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def stopping() -> Iterator[Callable[[], None]]:
    stop = Stop()
    current_registry().plugins.register(stop)
    yield lambda: current_registry().plugins.unregister(stop)
    if current_registry().plugins.is_registered(stop):
        current_registry().plugins.unregister(stop)


def test_a_run_that_was_stopped_and_resumed_is_the_same_to_the_bit(
    folder: Path, whole: Path, stopping: Callable[[], None]
) -> None:
    file = recipe(folder, "stopped")
    with pytest.raises(RunStopped):
        run(load_recipe(file))
    stopping()
    resumed = run(load_recipe(file), resume=True).run_dir
    assert [each["step"] for each in records(resumed)] == [1, 2, 3, 4, 5, 6]
    assert contents(resumed / "final") == contents(whole / "final")
    assert [each["loss"] for each in records(resumed)] == [each["loss"] for each in records(whole)]


def tokens(capsys: pytest.CaptureFixture[str], file: Path) -> list[int]:
    """The image tokens of the rows, as `mdpo check --show` counts them."""
    assert main(["check", str(file), "--show", "4"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return [int(line[1]) for line in lines if line[:1] == ["image"]]


def test_check_and_preview_count_the_tokens_of_a_video(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """walk.mp4: 8 frames of 2 x 2 tokens, in pairs; run.mp4: 5; a picture of 2 x 2. Frames are scaled to 56 x 56."""
    own, frames = recipe(folder, "shown"), recipe(folder, "frames", "frames")
    assert tokens(capsys, own) == [16, 4, 12, 4, 12, 16]
    assert tokens(capsys, frames) == [4] * 8 + [4] * 6 + [4] + [4] * 13
    page = folder / "page.html"
    assert main(["preview", str(own), "--out", str(page)]) == 0
    assert "16 image tokens" in page.read_text()


def test_the_limit_of_tokens_counts_those_of_the_video(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames are more tokens than the limit; as a video they are fewer."""
    assert main(["check", str(recipe(folder, "fits", max_length=80)), "--data"]) == 0
    assert main(["check", str(recipe(folder, "long", "frames", max_length=80)), "--data"]) != 0
    said = capsys.readouterr()
    assert "are more than model.max_length = 80" in said.out + said.err
