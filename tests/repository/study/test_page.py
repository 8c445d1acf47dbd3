"""The page of the study is what its stored numbers give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import ROOT

from benchmarks.study.__main__ import main
from benchmarks.study.claims import CLAIMS
from benchmarks.study.gathering import gathered
from benchmarks.study.numbers import load, save
from benchmarks.study.page import figure_name, page_of
from benchmarks.study.publishing import BEGIN, publish, quickstart_table, with_table
from benchmarks.study.running import Task, run_all
from benchmarks.study.variants import VARIANTS
from benchmarks.study.worlds import WORLDS
from mdpo_core import run

EVIDENCE = ROOT / "docs" / "evidence"


def test_the_page_is_made_of_the_stored_numbers() -> None:
    worlds = load(EVIDENCE / "study.json")
    assert (EVIDENCE / "study.md").read_text() == page_of(worlds), "run: python -m benchmarks.study --page"
    assert all((EVIDENCE / figure_name(name)).is_file() for name in worlds)


def test_the_quickstart_s_table_is_that_of_the_study() -> None:
    page, worlds = (EVIDENCE / "quickstart.md").read_text(), load(EVIDENCE / "study.json")
    assert page == with_table(page, quickstart_table(worlds["digits"])), "run: python -m benchmarks.study --page"


def test_the_page_has_numbers_of_every_variant_and_seed_of_the_study() -> None:
    worlds = load(EVIDENCE / "study.json")
    assert list(worlds) == list(WORLDS)
    for numbers in worlds.values():
        assert {name: list(runs) for name, runs in numbers.runs.items()} == {name: [0, 1, 2] for name in VARIANTS}


def test_runs_become_a_page_with_sentences_and_figures(tmp_path: Path) -> None:
    tasks = [Task(WORLDS["digits"], VARIANTS[name], 0, tmp_path, quick=True) for name in ("mdpo", "dpo")]
    assert not any(task.is_finished() for task in tasks)
    for task in tasks:
        run(task.recipe(), run_dir=task.folder)
    assert all(task.is_finished() for task in tasks)
    run_all(tasks, 2, (said := list[str]()).append)
    assert said == ["2 of 2 runs are finished"]
    save(tmp_path / "study.json", {"digits": gathered(tasks)})
    (tmp_path / "quickstart.md").write_text(f"before\n{BEGIN}old\n<!-- end -->\nafter\n")
    publish(tmp_path)
    page = (tmp_path / "study.md").read_text()
    assert all(claim.paper in page for claim in CLAIMS)
    assert "| DPO | 0." in page
    assert "The digits: one seed alone cannot show it: wrong digits by position, mDPO minus DPO, " in page
    assert "it was not run." in page
    assert (tmp_path / "study_digits.png").stat().st_size > 10_000
    assert "| DPO | 0." in (tmp_path / "quickstart.md").read_text()


def test_runs_of_other_settings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Task(WORLDS["digits"], VARIANTS["mdpo"], 0, tmp_path, quick=True)
    task.folder.mkdir()
    other = Task(task.world, VARIANTS["dpo"], 0, tmp_path, quick=True).recipe()
    (task.folder / "recipe.yaml").write_text(json.dumps(other.to_dict(), default=str))
    words = ["--quick", "--worlds", "digits", "--seeds", "0", "--runs", str(tmp_path)]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert f"{task.folder} holds the run of another recipe" in said
    assert "objective" in said
