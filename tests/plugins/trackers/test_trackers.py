"""Trackers: what they leave in the run directory."""

from __future__ import annotations

import json
import random
from pathlib import Path

import PIL.Image
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mdpo_core import component


def write(folder: Path, steps: int) -> None:
    lines = [{"step": step, "loss": 2 / step, "rewards/chosen": step / 10} for step in range(1, steps + 1)]
    lines.append({"step": steps, "eval/digits/wrong_digits": 0.1})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def drawn(folder: Path) -> PIL.Image.Image:
    component("tracker", "curves").start(folder).close()  # type: ignore[attr-defined]
    with PIL.Image.open(folder / "curves.png") as image:
        return image.convert("RGB")


@pytest.mark.parametrize("steps", [1, 2, 3000])
def test_curves_are_drawn_from_the_whole_metrics_file(steps: int, tmp_path: Path) -> None:
    write(tmp_path, steps)
    image = drawn(tmp_path)
    # Three panels in two columns: loss, rewards, evaluation.
    assert image.size == (1160, 500)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert len(set(image.convert("L").tobytes())) > 10


def test_a_killed_run_s_incomplete_last_line_is_not_drawn(tmp_path: Path) -> None:
    write(tmp_path, 3)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert drawn(tmp_path).size == (1160, 500)


def test_the_picture_of_many_noisy_terms_over_many_steps_is_small(tmp_path: Path) -> None:
    noise = random.Random(0)
    names = [f"{kind}/{term}:some_long_component" for kind in ("loss", "rewards/margin") for term in range(14)]
    names += [f"{kind}/{view}" for kind in ("logps", "rewards") for view in ("chosen", "rejected", "chosen@crop")]
    lines = [{"step": step, **{name: noise.gauss(0, 1) for name in names}} for step in range(2000)]
    lines[5]["loss/1:some_long_component"] = float("nan")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn(tmp_path)
    assert (tmp_path / "curves.png").stat().st_size < 120_000


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308, -1e308])
def test_a_metric_of_any_value_is_drawn(value: float, tmp_path: Path) -> None:
    lines = [{"step": step, "loss": value, "eval/words/wrong": value} for step in range(3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert drawn(tmp_path).size[0] == 1160


def test_a_run_without_a_logged_step_has_no_curves(tmp_path: Path) -> None:
    component("tracker", "curves").start(tmp_path).close()  # type: ignore[attr-defined]
    assert not (tmp_path / "curves.png").exists()


def test_tensorboard_reads_log_before_and_after_a_resume(tmp_path: Path) -> None:
    for steps in ([1, 2], [2, 3]):
        log = component("tracker", "tensorboard").start(tmp_path)  # type: ignore[attr-defined]
        for step in steps:
            log.log(step, {"loss": 1 / step})
        log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, round(event.value, 4)) for event in events.Scalars("loss")] == [(1, 1), (2, 0.5), (3, 0.3333)]
