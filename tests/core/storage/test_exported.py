"""Exported folders that were changed, or that belong to another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mdpo_core import DataError, RecipeError
from mdpo_core.remedies import in_words_of_commands
from mdpo_core.storage.export import export_run
from mdpo_core.storage.exported import EXPORTED, digests, require_as_exported, write_digests

BASE = {"config.json": "a", "model.safetensors": "b"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "final"
    made.mkdir()
    (made / "adapter_config.json").write_text("{}")
    (made / "tokenizer.json").write_text("{}")
    write_digests(made, BASE)
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text('{"r": 2}'), "adapter_config.json: changed"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json: changed, added or removed"),
        (lambda folder: (folder / "chat_template.jinja").touch(), "chat_template.jinja: changed, added or removed"),
        (lambda folder: (folder / EXPORTED).write_text("[1]"), "cannot be read as the digests of an export"),
        (lambda folder: (folder / EXPORTED).write_text('{"files": 1}'), "cannot be read as the digests of an export"),
    ],
)
def test_a_folder_that_was_changed_since_is_refused(
    change: Callable[[Path], object], message: str, folder: Path
) -> None:
    change(folder)
    with pytest.raises(DataError, match="export the run again, or remove") as caught:
        require_as_exported(folder, digests(folder), BASE)
    assert message in str(caught.value)


def test_files_of_a_download_and_of_a_file_manager_may_lie_beside(folder: Path) -> None:
    (folder / ".DS_Store").touch()
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "model.safetensors.lock").touch()
    require_as_exported(folder, digests(folder), BASE)


def test_a_folder_of_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"another model than the recipe's: model\.safetensors differ"):
        require_as_exported(folder, digests(folder), BASE | {"model.safetensors": "c"})


def test_a_folder_as_exported_passes_and_one_without_digests(folder: Path) -> None:
    (folder / "README.md").touch()
    require_as_exported(folder, digests(folder), BASE | {"another.json": "d"})
    (folder / EXPORTED).unlink()
    require_as_exported(folder, digests(folder), {})


def test_an_exported_model_of_a_run_is_told_how_its_checkpoint_is_named(tmp_path: Path) -> None:
    best = tmp_path / "best"
    best.mkdir()
    (tmp_path / "recipe.yaml").touch()
    (best / "exported.json").write_text(json.dumps({"best": {"metric": "eval/x/y", "step": 20, "value": 0.5}}))
    with in_words_of_commands(), pytest.raises(RecipeError) as error:
        export_run(best, tmp_path / "out", merge=True)
    assert f"exported from a run, whose checkpoint is {tmp_path} --step 20" in str(error.value)
