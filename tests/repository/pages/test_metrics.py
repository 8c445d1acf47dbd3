"""The page on metrics names every key of a run, and no other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.paths import RECIPES, ROOT

from mdpo_core import load_recipe, run

sys.path.insert(0, str(ROOT / "scripts" / "docs"))

from metrics import PAGE, SECTIONS, page

SMALL = [
    "data={reader: mixture, sources: {ones: {reader: digits, num_pairs: 2}, twos: {reader: digits, num_pairs: 2}}}",
    "validation.num_pairs=2",
    "evaluators=[{evaluator: digits, num_mosaics: 2}, {evaluator: preference}]",
    "train.batch_size=4",
    "train.micro_batch_size=4",
    "train.metrics_by_source=true",
    "trackers=[]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one step, with every evaluator and two sources."""
    changes = [*SMALL, f"output.dir={tmp_path_factory.mktemp('metrics') / 'run'}"]
    return run(load_recipe(RECIPES / "quickstart.yaml", changes)).run_dir


@pytest.fixture(scope="module")
def keys(folder: Path) -> set[str]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {key for line in lines for key in json.loads(line)}


def test_the_page_is_that_of_its_table() -> None:
    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py metrics.md"


def test_every_key_of_a_run_is_on_the_page_once(keys: set[str]) -> None:
    found = {key: [each.name for names in SECTIONS.values() for each in names if each.matches(key)] for key in keys}
    # A metric of a source looks like one of a term, too.
    assert {key: names for key, names in found.items() if len(names) != 1 and "/ones" not in key} == {
        key: names for key, names in found.items() if len(names) != 1 and key.endswith(("/ones", "/twos"))
    }
    assert all(found.values()), [key for key, names in found.items() if not names]


def test_every_metric_of_the_page_is_in_a_run(keys: set[str]) -> None:
    metrics = [each for names in SECTIONS.values() for each in names if each.name != "memory_reserved_gb"]
    assert [each.name for each in metrics if not any(each.matches(key) for key in keys)] == []


def test_metrics_are_computed_where_the_page_says() -> None:
    places = {each.place for names in SECTIONS.values() for each in names}
    assert all((ROOT / folder / place).is_file() for place in places for folder in [folder_of(place)])


def folder_of(place: str) -> str:
    return "plugins" if place.startswith("mdpo_") else "mdpo_core"
