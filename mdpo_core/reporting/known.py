"""What the recipe and the files of a run say, by which its numbers are judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdpo_core.errors import CheckpointError
from mdpo_core.interfaces.term import Anchor
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.reporting.health import Known
from mdpo_core.storage.files import read_json_object
from mdpo_core.storage.run_directory import RunDirectory, read_manifest
from mdpo_core.types.view import CLEAN


def known_of(recipe: Recipe, run_dir: Path) -> Known:
    """What is known of a run whose recipe is loaded. Raises `CheckpointError` if its manifest is damaged."""
    return Known(
        anchored=any(isinstance(term, Anchor) for term in recipe.objective),
        compares_pictures=any(view.condition != CLEAN for term in recipe.objective for view in term.views()),
        num_held_out=_num_held_out(read_manifest(RunDirectory(run_dir).manifest)),
        num_probed=_num_probed(run_dir),
    )


def known_of_stored(recipe: Mapping[str, Any], run_dir: Path) -> Known:
    """The same of a run on the disk, whose plugins may be missing: terms are known by their options alone."""
    terms = recipe.get("objective") or ()
    return Known(
        anchored=any("anchor" in term for term in terms),
        compares_pictures=any("@" in str(value) for term in terms for value in term.values()),
        num_held_out=_num_held_out(read_manifest(RunDirectory(run_dir).manifest)),
        num_probed=_num_probed(run_dir),
    )


def _num_held_out(manifest: Mapping[str, Any]) -> int:
    rows: int = manifest["data"].get("held_out", {}).get("rows", 0)
    return rows


def _num_probed(run_dir: Path) -> int:
    """The rows of a probe; 0 if the run has none. Raises `CheckpointError` for a damaged file."""
    file = RunDirectory(run_dir).probe
    try:
        kept = read_json_object(file) if file.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged ({error}); restore or remove it") from error
    return len(kept.get("ids", kept.get("rows", ())))  # earlier versions wrote rows
