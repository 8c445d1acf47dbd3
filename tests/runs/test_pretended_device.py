"""Whole runs on a device that is not the CPU: they load, train, measure, save and go on there.

There is no GPU here: see `support.pretended.device`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from support.effort import nightly_but
from support.paths import LLAVA_MDPO
from support.pretended.device import KIND, process_with_device
from support.processes.launching import contents, records

from mdpo_core import load_recipe, run

# A small dropout draws other numbers on a CPU than on a device.
SAME_DRAWS = "model.lora.dropout=0.3"
METRICS = ("loss", "grad_norm", "logps/chosen", "logps/rejected", "eval/preference/logps/margin/picture")


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    with process_with_device() as process:
        yield process


def train(changes: list[str], folder: Path, resume: bool = False) -> None:
    run(load_recipe(LLAVA_MDPO, [*changes, f"output.dir={folder}"]), resume=resume)


WAYS = {
    "all weights": ["model.lora=null", "reference=frozen_copy", "backend.precision=bf16_autocast"],
    "cached": [SAME_DRAWS, "reference=cached", "backend.precision=bf16", "scoring.activation_checkpointing=full"],
    "separate": [SAME_DRAWS, "reference=adapter_off", "scoring.share_prefix=false"],
    "held out": [SAME_DRAWS, "data.hold_out={share: 0.3}", "evaluators=[{evaluator: preference}]", "train.epochs=3"],
}
IN_LONG = ("cached",)
REASON = "its steps on a device are in tests/core/scoring/test_pretended_device.py"


@pytest.mark.parametrize("way", nightly_but(IN_LONG, WAYS, REASON, pytest.mark.long))
def test_a_run_on_a_device_is_that_on_the_cpu_and_resumes_to_the_bit(
    way: str, changes: list[str], process: ProcessPoolExecutor, tmp_path: Path
) -> None:
    folder, on_cpu = tmp_path / "device", tmp_path / "cpu"
    changes = [*changes, *WAYS[way], "output.keep=3"]
    process.submit(train, [*changes, f"backend.device={KIND}"], folder).result()
    train([*changes, "backend.device=cpu"], on_cpu)
    for record, expected in zip(records(folder), records(on_cpu), strict=True):
        for name in expected.keys() & METRICS:
            assert record[name] == pytest.approx(expected[name], rel=0.02, abs=0.02), name
    before = contents(folder / "final")
    assert before.keys() == contents(on_cpu / "final").keys()
    for later in ("final", "checkpoints/step-000004", "checkpoints/step-000006"):
        shutil.rmtree(folder / later)
    process.submit(train, [*changes, f"backend.device={KIND}"], folder, True).result()
    assert contents(folder / "final") == before
