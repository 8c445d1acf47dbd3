"""The report that a run leaves in its directory, from real runs of the digits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core import load_recipe, run
from mdpo_core.reporting import report

SMALL = ["data.num_pairs=64", "validation.num_pairs=20", "evaluators=[{evaluator: preference}]", "probe=off"]


def test_a_run_leaves_a_report_with_its_pictures_and_what_it_trained(tmp_path: Path) -> None:
    done = run(load_recipe(RECIPES / "quickstart.yaml", SMALL), run_dir=tmp_path / "run")
    page = (done.run_dir / "report.html").read_text()
    assert page.count("<h5>crop</h5>") == page.count("<h5>the picture</h5>") == 4
    assert page.count("<img class=tiny") == 8
    assert "<tr><th>projector</th><td>28,928</td><td>28,928</td>" in page
    assert "preference/loss/picture" in page


def test_a_report_that_fails_ends_no_run_and_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(report, "atomic_write", fail)
    with caplog.at_level(logging.WARNING):
        done = run(load_recipe(RECIPES / "quickstart.yaml", SMALL), run_dir=tmp_path / "run")
    assert done.final.is_dir()
    assert not (done.run_dir / "report.html").exists()
    [said] = [each.getMessage() for each in caplog.records if "report.html" in each.getMessage()]
    assert "no space left on device" in said
    assert "mdpo.compare([" in said
