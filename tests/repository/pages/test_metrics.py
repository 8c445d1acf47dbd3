"""The page on metrics names every key of a run, and no other."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from support.paths import RECIPES, ROOT

from mdpo_core import load_recipe, run
from mdpo_core.reporting.health import Known, findings

sys.path.insert(0, str(ROOT / "scripts" / "docs"))

from metrics import PAGE, SECTIONS, page

SOURCES = ("/ones", "/twos")
SMALL = [
    "data={reader: mixture, sources: {ones: {reader: digits, num_pairs: 2}, twos: {reader: digits, num_pairs: 2}}}",
    "validation.num_pairs=2",
    "evaluators=[{evaluator: digits, num_mosaics: 2}, {evaluator: preference}, {evaluator: samples, rows: 1}, "
    "{evaluator: probe}]",
    "objective.0.beta={strength: beta_dpo}",
    "train.batch_size=4",
    "train.micro_batch_size=4",
    "train.metrics_by_source=true",
    "trackers=[]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one step, with every evaluator and two sources."""
    own = tmp_path_factory.mktemp("metrics")
    (own / "words.txt").write_text("two\n")
    changes = [*SMALL, f"evaluators.2.words={own / 'words.txt'}", f"output.dir={own / 'run'}"]
    return run(load_recipe(RECIPES / "quickstart.yaml", changes)).run_dir


@pytest.fixture(scope="module")
def keys(folder: Path) -> set[str]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = {key for line in lines for key in json.loads(line)}
    of_sources = {key for key in found if key.endswith(SOURCES)}
    assert {key.removesuffix("/ones") for key in of_sources if key.endswith("/ones")} < found
    return found - of_sources


def test_the_page_is_that_of_its_table() -> None:
    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py metrics.md"


def test_every_key_of_a_run_is_on_the_page_once(keys: set[str]) -> None:
    metrics = [each for names in SECTIONS.values() for each in names]
    found = {key: [each.name for each in metrics if each.matches(key)] for key in keys}
    assert {key: names for key, names in found.items() if len(names) != 1} == {}


def test_every_file_of_a_run_is_on_the_page_about_reading_one(folder: Path) -> None:
    page = (ROOT / "docs" / "read-a-run.md").read_text()
    names = {f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()}
    assert {"metrics.jsonl", "final/", "samples.jsonl"} <= names
    assert [name for name in names if f"`{name}`" not in page] == []


def test_warnings_of_the_page_about_reading_a_run_are_those_of_the_summary() -> None:
    page = (ROOT / "docs" / "read-a-run.md").read_text()
    told = [" ".join(block.split()) for block in re.findall(r"```text\nlook at this: (.*?)```", page, re.DOTALL)]
    stuck = {f"{kind}/{term}": 0.6931 for kind in ("loss", "rewards/margin") for term in ("text", "picture")}
    runs = [
        [{"loss": 0.05, "rewards/chosen": -1.851}],
        [{"loss": 2.0, **stuck}],
        [
            {"step": step, "eval/probe/accuracy": 1.0, "eval/probe/accuracy/without": 1.0, "eval/probe/chosen": -15.86}
            for step in (75, 150)
        ],
        [{"eval/preference/logps/accuracy/picture": 0.52}],
    ]
    assert told == [
        f"{sentence}." for run in runs for sentence in findings(run, Known(num_held_out=200, num_probed=24))
    ]


def test_every_metric_of_the_page_is_in_a_run(keys: set[str]) -> None:
    # Of CUDA, and of mixtures of experts.
    others = ("memory_reserved_gb", "router_aux_loss")
    metrics = [each for names in SECTIONS.values() for each in names if each.name not in others]
    assert [each.name for each in metrics if not any(each.matches(key) for key in keys)] == []


def test_metrics_are_computed_where_the_page_says() -> None:
    places = {each.place for names in SECTIONS.values() for each in names}
    assert all((ROOT / folder / place).is_file() for place in places for folder in [folder_of(place)])


def folder_of(place: str) -> str:
    return "plugins" if place.startswith("mdpo_") else "mdpo_core"
