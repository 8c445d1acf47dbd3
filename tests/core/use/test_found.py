"""What is no trained model, or not one any more, is refused in a sentence before weights are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mdpo_vlm.adapter import TransformersAdapter

from mdpo_core import CheckpointError, DataError, MdpoError, RecipeError, load_trained
from mdpo_core.storage.exported import EXPORTED, digests
from mdpo_core.use.found import find_trained

QUESTION = "What is in the picture?"


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test."""

    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("weights were read")

    for name in ("load", "load_exported"):
        monkeypatch.setattr(TransformersAdapter, name, load)


def named_in(config: Path, base: str) -> None:
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": base}))


def unsaved(run: Path) -> Path:
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "checkpoints")
    return run


def without_base(run: Path) -> Path:
    """A run whose model was at a relative path, asked from another folder."""
    shutil.rmtree(run / "final")
    [path] = [line for line in (run / "recipe.yaml").read_text().splitlines() if line.startswith("  path: /")][:1]
    (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace(path, "  path: models/away", 1))
    return run


def of_foreigners(run: Path) -> Path:
    alone = run.with_name("alone")
    shutil.copytree(run / "final", alone)
    (alone / EXPORTED).unlink()
    return alone


def changed(run: Path) -> Path:
    with (run / "final" / "tokenizer_config.json").open("a") as file:
        file.write("\n")
    return run


CASES: dict[str, tuple[Callable[[Path], Path], type[MdpoError], str]] = {
    "no folder": (lambda run: run / "absent", RecipeError, "absent' is not a folder; give a run directory"),
    "no model": (lambda run: run / "checkpoints", RecipeError, "is neither a run directory, which has a recipe.yaml"),
    "not yet": (unsaved, RecipeError, "has no model yet: neither final/ nor a checkpoint"),
    "moved": (without_base, RecipeError, "'models/away', is not found: was it moved? If so, say where it is with"),
    "foreign": (of_foreigners, DataError, "does not say which adapter reads it"),
    "changed": (changed, DataError, "tokenizer_config.json: changed, added or removed since the export"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_model_any_more_is_refused(case: str, lora_run: Path, tmp_path: Path) -> None:
    change, kind, message = CASES[case]
    with pytest.raises(kind) as caught:
        load_trained(change(Path(shutil.copytree(lora_run, tmp_path / "run"))))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lora_weights_whose_model_was_moved_take_its_new_place(lora_run: Path, llava: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(lora_run / "final", tmp_path / "alone"))
    content, gone = json.loads((alone / EXPORTED).read_text()), str(tmp_path / "gone")
    assert content["model"]["path"] == str(llava.absolute())
    named_in(alone / "adapter_config.json", gone)
    (alone / EXPORTED).unlink()
    content |= {"model": content["model"] | {"path": gone}, "files": digests(alone)}
    (alone / EXPORTED).write_text(json.dumps(content))
    with pytest.raises(
        RecipeError, match=r"gone', is not found: was it moved\? If so, say where it is with base_path=PATH"
    ):
        find_trained(alone)
    new = str(shutil.copytree(llava, tmp_path / "moved"))
    assert find_trained(alone, base_path=new).adapter.model_dump()["path"] == new


def test_another_model_than_the_trained_one_is_refused(lora_run: Path, other_llava: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it was trained from another model.*say where it is with base_path=PATH"):
        load_trained(lora_run, base_path=str(other_llava))
    unfinished = shutil.copytree(lora_run, tmp_path / "run", ignore=shutil.ignore_patterns("final"))
    with pytest.raises(CheckpointError, match="the model has changed since the run began"):
        load_trained(unfinished, base_path=str(other_llava))


def test_steps_are_those_of_a_run_directory(lora_run: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no checkpoint of step 9  \(steps: 2, 3\)"):
        load_trained(lora_run, step=9)
    with pytest.raises(RecipeError, match=r"step=2: .*leave step out"):
        load_trained(lora_run / "final", step=2)


def test_an_export_of_an_earlier_version_is_read_by_the_recipe_beside_it(lora_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(lora_run, tmp_path / "run")
    content = json.loads((run / "final" / EXPORTED).read_text())
    (run / "final" / EXPORTED).write_text(json.dumps({part: content[part] for part in ("files", "base")}))
    assert find_trained(run / "final").adapter == find_trained(run).adapter


def test_a_run_is_found_whose_loss_is_not_installed_any_more(lora_run: Path, tmp_path: Path) -> None:
    """The objective is not needed to ask a model."""
    run = shutil.copytree(lora_run, tmp_path / "run", ignore=shutil.ignore_patterns("final"))
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("loss: dpo", "loss: gone"))
    assert find_trained(run).checkpoint == run / "checkpoints" / "step-000003"
