"""The formulas of docs/guides/scale.md are held against what processes send and keep."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import ROOT

STAGES = ("fsdp, exchange: micro_batch", "fsdp, reshard_after_forward: false")


@pytest.mark.nightly(reason="a run of minutes; the tables of these formulas are compared with the page more often")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.skipif(sys.platform != "linux", reason="sockets are asked for what they have sent")
def test_sent_and_kept_bytes_are_within_2_percent_of_formulas(stage: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--only", stage], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| 2 | LoRA | fp32 |") == 1


def test_the_tables_on_paper_are_those_of_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--paper"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    page = (ROOT / "docs" / "guides" / "scale.md").read_text()
    assert all(table.strip() in page for table in done.stdout.split("\n\n"))
