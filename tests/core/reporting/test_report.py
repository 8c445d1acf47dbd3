"""The report that a run leaves in its directory, from real runs of the digits."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core import load_recipe, run
from mdpo_core.reporting import report
from mdpo_core.runner import Run

SMALL = ["data.num_pairs=64", "validation.num_pairs=20", "evaluators=[{evaluator: preference}]", "probe=off"]


def test_a_run_leaves_a_report_with_its_pictures_and_what_it_trained(tmp_path: Path) -> None:
    done = run(load_recipe(RECIPES / "quickstart.yaml", SMALL), run_dir=tmp_path / "run")
    page = (done.run_dir / "report.html").read_text()
    assert page.count("<h5>crop</h5>") == page.count("<h5>the picture</h5>") == 4
    assert page.count("<img class=tiny") == 8
    assert "<tr><th>projector</th><td>28,928</td><td>28,928</td>" in page
    assert "preference/loss/picture" in page


def test_warnings_of_a_run_stand_in_its_report_once_however_often_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(RECIPES / "quickstart.yaml", [*SMALL, "output.save_every=1"])
    told = "the sky is green"

    def stop_after_a_step(*_: object, **__: object) -> None:
        logging.getLogger("mdpo_somewhere.else").warning("%s is green", "the sky")
        logging.getLogger("library").warning("nobody can change this")
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "export", stop_after_a_step)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, run_dir=tmp_path / "run")
    monkeypatch.undo()
    kept = [json.loads(line)["text"] for line in (tmp_path / "run" / "warnings.jsonl").read_text().splitlines()]
    assert kept == [told]
    for _ in range(2):
        done = run(recipe, run_dir=tmp_path / "run", resume=True)
    page = (done.run_dir / "report.html").read_text()
    assert "<h2>Warnings</h2>" in page
    assert page.count(f"<li>{told}</li>") == 1
    assert (tmp_path / "run" / "warnings.jsonl").read_text().count(told) == 1


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
