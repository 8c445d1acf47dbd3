"""Trackers: what they leave in the run directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import PIL.Image
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mdpo_core import PluginError, component


def write(folder: Path, steps: int) -> None:
    lines = [{"step": step, "loss": 2 / step, "rewards/chosen": step / 10} for step in range(1, steps + 1)]
    lines.append({"step": steps, "eval/digits/wrong_digits": 0.1})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("steps", [1, 2, 3000])
def test_curves_are_drawn_from_the_whole_metrics_file(steps: int, tmp_path: Path) -> None:
    write(tmp_path, steps)
    component("tracker", "curves").start(tmp_path).close()  # type: ignore[attr-defined]
    with PIL.Image.open(tmp_path / "curves.png") as image:
        # Three panels: loss, rewards, evaluation.
        assert image.size == (1080, int(3 * 2.6 * 120))
        assert len(set(image.convert("L").tobytes())) > 10


def test_a_run_without_a_logged_step_has_no_curves(tmp_path: Path) -> None:
    component("tracker", "curves").start(tmp_path).close()  # type: ignore[attr-defined]
    assert not (tmp_path / "curves.png").exists()


def test_tensorboard_reads_log_before_and_after_a_resume(tmp_path: Path) -> None:
    for steps in ([1, 2], [3]):
        log = component("tracker", "tensorboard").start(tmp_path)  # type: ignore[attr-defined]
        for step in steps:
            log.log(step, {"loss": 1 / step})
        log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, round(event.value, 4)) for event in events.Scalars("loss")] == [(1, 1), (2, 0.5), (3, 0.3333)]


def test_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mdpo_trackers.tensorboard", None)
    with pytest.raises(PluginError, match=r"pip install 'mdpo\[tensorboard\]'"):
        component("tracker", "tensorboard").start(tmp_path)  # type: ignore[attr-defined]
