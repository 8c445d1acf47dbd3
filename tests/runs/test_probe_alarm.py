"""The two quickstarts in full length: DPO raises the alarm of the probe, mDPO does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import RECIPES
from support.processes.launching import records

from mdpo_core import load_recipe, run
from mdpo_core.reporting.health import findings
from mdpo_core.reporting.known import known_of

NO_NEED = "the chosen answers are preferred without the picture as well"
SANK = "the probed chosen answers had a reward below 0"
TERM = "A term over an image condition answers that: {loss: dpo, over: chosen@crop}"
ANCHOR = "An anchor answers that: {anchor: reward, on: chosen}"
FULL = pytest.mark.nightly(reason="a run of a minute or two; test_health.py judges the numbers that such runs had")


def found_in(name: str, folder: Path) -> list[str]:
    """What the summary of a whole run says is wrong, by the probe that no recipe names."""
    recipe = load_recipe(RECIPES / name, {"trackers": [], "output.dir": folder})
    run(recipe)
    assert [record["step"] for record in records(folder) if "eval/probe/accuracy" in record][-1] == 150
    return findings(records(folder), known_of(recipe, folder))


@FULL
def test_dpo_on_the_digits_raises_the_alarm(tmp_path: Path) -> None:
    found = found_in("quickstart_dpo.yaml", tmp_path / "dpo")
    assert any(each.startswith(NO_NEED) and each.endswith(TERM) for each in found)
    assert any(each.startswith(SANK) and each.endswith(ANCHOR) for each in found)


@FULL
def test_mdpo_on_the_digits_raises_none(tmp_path: Path) -> None:
    assert found_in("quickstart.yaml", tmp_path / "mdpo") == []
