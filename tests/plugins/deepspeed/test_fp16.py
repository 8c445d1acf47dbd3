"""float16 in DeepSpeed's engine, whose gradients may overflow. A CPU can compute in it, though recipes may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from mdpo_deepspeed import DeepSpeed
from pydantic import ValidationError
from support.effort import nightly_but
from support.paths import LLAVA_MDPO
from support.processes.launching import records

from mdpo_core import MdpoError, load_recipe, run


def let_a_cpu_compute_in_float16() -> None:
    from deepspeed.accelerator import get_accelerator

    type(get_accelerator()).is_fp16_supported = lambda self: True
    DeepSpeed.check = lambda *_: None


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """A process of its own, in which a CPU computes in float16."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=let_a_cpu_compute_in_float16) as process:
        yield process


def failure_of_run(changes: list[str]) -> str:
    """What a run says when it stops; empty if it ends well."""
    try:
        run(load_recipe(LLAVA_MDPO, changes))
    except MdpoError as error:
        return str(error)
    return ""


class Runs:
    """Runs in a folder; each gives what it said when it stopped."""

    def __init__(self, process: ProcessPoolExecutor, small: list[str], folder: Path) -> None:
        self._process, self.folder = process, folder
        self._changes = [each for each in small if not each.startswith("backend.")]

    def __call__(self, name: str, **backend: Any) -> str:
        options = json.dumps({"backend": "deepspeed", **backend})
        changes = [*self._changes, f"backend={options}", f"output.dir={self.folder / name}"]
        return self._process.submit(failure_of_run, changes).result()


@pytest.mark.parametrize("stage", nightly_but([2], [0, 2, 3], "as stage 2, by the same factor", pytest.mark.long))
def test_an_overflow_at_the_first_step_stops_the_run_and_says_what_to_lower(
    stage: int, small: list[str], process: ProcessPoolExecutor, tmp_path: Path
) -> None:
    runs = Runs(process, small, tmp_path)
    said = runs("overflow", precision="fp16", zero_stage=stage, config={"fp16": {"loss_scale": 1e30}})
    assert said.startswith("step 1: the gradient norm is nan, though the losses are finite, so the weights were not")
    assert "lower the factor of the gradients (deepspeed: backend.config: {fp16: {loss_scale: ...}}, which is" in said
    assert not (tmp_path / "overflow" / "final").exists()


@pytest.mark.parametrize("stage", nightly_but([2], [0, 2], "as stage 2, which splits gradients", pytest.mark.long))
def test_norms_do_not_depend_on_the_factor_of_the_gradients(
    stage: int, small: list[str], process: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """Clipping compares these norms with its limit."""
    runs = Runs(process, small, tmp_path)
    assert runs("exact", precision="fp32", zero_stage=stage) == ""
    assert runs("usual", precision="fp16", zero_stage=stage) == ""
    assert runs("small", precision="fp16", zero_stage=stage, config={"fp16": {"loss_scale": 4}}) == ""
    exact, *others = ([each["grad_norm"] for each in records(tmp_path / name)] for name in ("exact", "usual", "small"))
    for norms in others:
        assert norms == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_scale": 0}, "fp16.loss_scale = 0 would let DeepSpeed skip steps .*; give the factor, for example 1024"),
        ({"initial_scale_power": 16}, "initial_scale_power = 16 cannot be set here; it is decided by fp16.loss_scale"),
    ],
)
def test_a_factor_that_changes_in_a_run_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DeepSpeed(precision="fp16", config={"fp16": options})
