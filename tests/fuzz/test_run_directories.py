"""Run directories with changed files: refused by name or resumed from what was saved, with no other error."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.effort import THOROUGH, num_examples
from support.mutations import write_changed
from support.paths import LLAVA_MDPO

from mdpo_core import MdpoError, Recipe, load_recipe
from mdpo_core.storage.checkpoints import STATE, read_metadata, verify
from mdpo_core.storage.run_directory import RunDirectory

FILES = ("manifest.json", "metrics.jsonl", "recipe.yaml", "run.lock", f"checkpoints/step-000006/{STATE}")
NAMES = (
    "step-abc",
    "step-6",
    "step-0000006",
    "step-000007",
    "step-",
    "step--00006",
    "step-00000\uff16",
    "other",
    "final",
)
_SECONDS = 10.0
_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def stopped(cached_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped before it exported its model; not to be changed."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    return Path(shutil.copytree(cached_run, folder, ignore=shutil.ignore_patterns("final", "reference")))


@pytest.fixture(scope="module")
def recipe(cached_changes: list[str]) -> Recipe:
    return load_recipe(LLAVA_MDPO, [*cached_changes, "output.dir=run"])


@pytest.mark.timeout(3600)
@settings(max_examples=num_examples(30, 1500), derandomize=not THOROUGH, suppress_health_check=_QUIET)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_changed_file_is_refused_by_name_or_changes_nothing(
    data: st.DataObject, name: str, stopped: Path, recipe: Recipe
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(stopped, Path(temporary) / "run"))
        (folder / "run.lock").write_text('{"host": "h", "process": 1}')
        write_changed(data.draw, folder / name)
        _require_refused_or_same(folder, stopped, recipe)


@settings(max_examples=num_examples(20, 300), derandomize=not THOROUGH, suppress_health_check=_QUIET)
@given(
    name=st.sampled_from(NAMES),
    inside=st.sampled_from(["checkpoints", "."]),
    how=st.sampled_from(["rename", "copy", "folder", "file", "link", "unfinished file"]),
)
def test_stray_path_is_refused_by_name_or_changes_nothing(
    name: str, inside: str, how: str, stopped: Path, recipe: Recipe
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(stopped, Path(temporary) / "run"))
        newest, stray = folder / "checkpoints" / "step-000006", folder / inside / name
        match how:
            case "rename":
                newest.rename(stray)
            case "copy":
                shutil.copytree(newest, stray)
            case "folder":
                stray.mkdir()
            case "file":
                stray.write_text("{}")
            case "link":
                stray.symlink_to(newest)
            case "unfinished file":
                stray.with_name(f".unfinished-{name}").write_text("")
        if how != "rename" or (inside == "checkpoints" and name.startswith("step-")):
            _require_refused_or_same(folder, stopped, recipe)


def _require_refused_or_same(folder: Path, stopped: Path, recipe: Recipe) -> None:
    start, directory = time.process_time(), RunDirectory(folder)
    try:
        directory.claim(recipe, resume=True)
        directory.is_finished(recipe)
        directory.require_same_inputs(json.loads((stopped / "manifest.json").read_text()))
        directory.metrics.evaluations()
        found = verify(directory.checkpoints.all()[-1])
    except MdpoError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert found == read_metadata(stopped / "checkpoints" / "step-000006")
    assert not refusal or str(folder) in refusal
    assert time.process_time() - start < _SECONDS
