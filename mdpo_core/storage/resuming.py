"""What a resumed run may change, and what must be as it was when the run began."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdpo_core.errors import CheckpointError, MdpoError, RecipeError, first_line
from mdpo_core.processes.world import World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.recipe.yaml_document import read_document
from mdpo_core.remedies import either, option
from mdpo_core.storage.differences import differences

# These sections decide where a run is kept, who listens, and how it is computed, but not what is computed. A run may
# resume with other values, for example when it lacks memory or time.
_MAY_CHANGE = re.compile(
    r"(output|trackers|probe|scoring|reference|backend|plugins|train\.workers|train\.micro_batch_size)\b"
)

# A finished run can go on, longer than it was asked at first.
_MAY_GROW = ("train.epochs", "train.max_steps")

_CODE = ("plugin_files", "registered")  # what a manifest says of code that no package has

HASHED = "stored bytes"  # what the digest of the data covers of a picture; before this was written down: its pixels


def require_same_recipe(file: Path, recipe: Recipe) -> None:
    """Raise `RecipeError` if ``recipe`` would not train what the recipe in ``file`` trains."""
    recorded = recorded_recipe(file)
    grown = goes_on(recorded, recipe)
    different = differences(recorded, recipe.to_dict(), lambda key: decides(key) and key not in grown)
    if different:
        other = option("--run-dir DIR")
        said = f"{file.parent} holds the run of another recipe; choose another directory with {other}"
        if longer := _asked_for_more(recorded, recipe, len(different)):
            said = f"{file.parent} holds this run, which was asked to train longer; go on with {longer}"
        raise RecipeError("\n  ".join([said, *different]))


def _asked_for_more(recorded: Mapping[str, Any], recipe: Recipe, num_different: int) -> str:
    """The options with which the recorded run was asked to train longer; empty if more differs."""
    then, now = recorded.get("train"), recipe.to_dict()["train"]
    names = [key.partition(".")[2] for key in _MAY_GROW]
    more = [name for name in names if isinstance(then, Mapping) and _is_more(then.get(name), now[name])]
    if len(more) != num_different or not isinstance(then, Mapping):
        return ""
    return " ".join(either(f"--set train.{name}={then[name]}", f"train.{name}={then[name]}") for name in more)


def goes_on(recorded: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """The options by which ``recipe`` trains longer than the recorded one: ``train.epochs``, ``train.max_steps``."""
    then, now = recorded.get("train"), recipe.to_dict()["train"]
    if not isinstance(then, Mapping):
        return []
    names = [key.partition(".")[2] for key in _MAY_GROW]
    grown = [name for name in names if _is_more(now[name], then.get(name))]
    return [f"train.{name}" for name in grown]


def _is_more(now: object, then: object) -> bool:
    return type(now) is int and type(then) is int and now > then


def goes_on_from(file: Path, recipe: Recipe) -> bool:
    """Whether ``recipe`` trains longer than the recipe in ``file``, if there is one; warns of what differs then."""
    grown = goes_on(recorded_recipe(file), recipe) if file.is_file() else []
    if grown:
        logging.getLogger(__name__).warning(
            "the run in %s goes on, with a larger %s: from here on its learning rates are those of the longer run, so "
            "it differs from one that was as long from the start, unless train.schedule is constant",
            *(file.parent, " and ".join(grown)),
        )
    return bool(grown)


def require_same_inputs(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raise `CheckpointError` if two manifests of the run in ``path`` name another model, other data or other files."""
    for key in ("model", "data"):
        if _compared(then[key]) == _compared(now[key]):
            continue
        if key == "data" and "hashed" not in then["data"]:
            raise CheckpointError(
                f"the run in {path} was begun by a version of mdpo that hashed the pixels of pictures, so this version "
                "cannot tell whether the data are still the same; finish it with that version, which "
                f"{path / 'manifest.json'} names, or start a new run with {option('--run-dir DIR')}"
            )
        raise CheckpointError(
            f"the {key} has changed since the run in {path} began ({path / 'manifest.json'}); restore it, or "
            f"start a new run with {option('--run-dir DIR')}"
        )
    _require_same_files(then, now, path)


def _require_same_files(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """The same for files that evaluators read. A manifest of an earlier version does not name them."""
    before = then.get("evaluators")
    if not isinstance(before, Mapping):
        return
    changed = [file for file, digest in now.get("evaluators", {}).items() if before.get(file, digest) != digest]
    if changed:
        others = f" (as have {len(changed) - 1:,} others)" if len(changed) > 1 else ""
        raise CheckpointError(
            f"the file {changed[0]}, which evaluators read, has changed since the run in {path} began{others} "
            f"({path / 'manifest.json'}); restore it, or start a new run with {option('--run-dir DIR')}"
        )


def changed_code(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The plugin files, and the classes of no package, whose code two manifests say to be different."""
    before, after = _code_in(then), _code_in(now)
    return [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]


def _code_in(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The digests of code that no package has, where Python could read it."""
    registered = {name: each.get("source") for name, each in manifest.get("registered", {}).items()}
    return {name: digest for name, digest in (manifest.get("plugin_files", {}) | registered).items() if digest}


def require_same_code(then: Mapping[str, Any], now: Mapping[str, Any], path: Path, *, accept: bool) -> None:
    """Raise `CheckpointError` if code of no package has changed since the run in ``path`` began.

    ``accept``: only warn of it.
    """
    changed = changed_code(then, now)
    if not changed:
        return
    names = " and ".join(f"'{name}'" for name in changed)
    what = f"the code of {names} has changed since the run in {path} began"
    if accept:
        logging.getLogger(__name__).warning("%s; the run goes on with the code as it is now", what)
        return
    raise CheckpointError(
        f"{what} ({path / 'manifest.json'}); restore it, start a new run with {option('--run-dir DIR')}, or go on with "
        f"the code as it is now: {option('--resume --accept-changed-code')}"
    )


def with_changed_code(then: Mapping[str, Any], now: Mapping[str, Any], step: int) -> dict[str, Any] | None:
    """The manifest of a run that goes on with changed code after ``step`` steps; None if nothing has changed."""
    if not changed_code(then, now):
        return None
    before = {key: then[key] for key in _CODE if key in then}
    kept = {key: value for key, value in then.items() if key not in _CODE}
    earlier = [*then.get("earlier_code", []), {"until_step": step, **before}]
    return kept | {key: now[key] for key in _CODE if key in now} | {"earlier_code": earlier}


def _compared(digests: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in digests.items() if name != "hashed"}


def settings_of_rounding(recipe: Recipe) -> dict[str, Any]:
    """The settings that a resumed run may change, but that decide the order of sums and so the rounding."""
    options = recipe.to_dict()
    size = options["train"]["micro_batch_size"]
    return {**{name: options[name] for name in ("backend", "scoring", "reference")}, "micro_batch_size": size}


def warn_of_changes(metadata: Mapping[str, Any], recipe: Recipe, world: World) -> None:
    """Warn about changed settings, with which a resumed run cannot be equal bit for bit."""
    now = {name: value for name, value in settings_of_rounding(recipe).items() if name in metadata}
    changes = differences({name: metadata[name] for name in now}, now)
    if metadata["processes"] != world.size:
        changes.append(f"processes: {metadata['processes']} -> {world.size}")
    if changes:
        logging.getLogger(__name__).warning(
            "resuming with other settings: sums are computed in another order, so numbers differ by rounding from "
            "here on\n  %s",
            "\n  ".join(changes),
        )


def recorded_recipe(path: Path) -> Mapping[str, Any]:
    """The recipe that a run wrote. Raises `CheckpointError` or `RecipeError` if the file has other content."""
    try:
        recipe = read_document(path).data
    except MdpoError:
        raise
    except Exception as error:  # a YAML parser may raise anything, and the message must name the file
        raise _damaged_recipe(path, f"{type(error).__name__}: {first_line(error)}") from error
    if not isinstance(recipe, Mapping) or not recipe:
        raise _damaged_recipe(path, "it does not contain the recipe of a run")
    return recipe


def _damaged_recipe(path: Path, reason: str) -> CheckpointError:
    new = option("--run-dir DIR")
    return CheckpointError(f"{path} is damaged ({reason}); restore it, or start a new run with {new}")


def decides(key: str) -> bool:
    """Whether the option ``key`` decides what a run computes, so that it must stay as it was."""
    return not _MAY_CHANGE.match(key)
