"""The manifest of a run: versions, plugins, seed, and digests of model and data."""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mdpo_core.data.checking import CheckedData
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.plugin_results import code_of, placement_of
from mdpo_core.processes.file_modules import file_module
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.discovery import current_registry
from mdpo_core.registry.installed import installed_plugins, packages_of_plugins, version_of
from mdpo_core.registry.plugin_files import loaded_files
from mdpo_core.storage.files import sha256
from mdpo_core.storage.resuming import HASHED

_PACKAGES = (
    *("mdpo", "torch", "transformers", "peft", "datasets", "safetensors", "pydantic", "pluggy"),
    *("deepspeed", "bitsandbytes", "pillow"),
)


def describe(recipe: Recipe, data: CheckedData) -> dict[str, Any]:
    """The manifest of a run, as JSON values."""
    packages = sorted({*_PACKAGES, *packages_of_plugins()})
    return {
        "versions": {"python": platform.python_version()} | dict(installed(packages)),
        "plugins": {point.name: point.value for point, _ in installed_plugins()},
        **code_in(recipe),
        "seed": recipe.train.seed,
        "model": {path.name: sha256(path) for path in recipe.model.files()},
        "data": {
            "sha256": data.digest,
            "hashed": HASHED,
            "rows": len(data.rows),
            "quarantined": data.num_left_out,
            **_held_out(data),
        },
        **_evaluators(recipe),  # at the end: those of a benchmark are many
    }


def _held_out(data: CheckedData) -> dict[str, Any]:
    """The held-out rows, if there are any; those of the section ``validation`` have a digest of their own."""
    held_out = data.held_out
    return {} if held_out is None else {"held_out": {"sha256": held_out.digest, "rows": len(held_out.rows)}}


def code_in(recipe: Recipe) -> dict[str, Any]:
    """The digests of code that no package has: plugin files, and registered classes that the recipe uses."""
    return {**_plugin_files(recipe), **_registered(recipe)}


def _plugin_files(recipe: Recipe) -> dict[str, Any]:
    """The digest of each plugin file of the recipe, by its name, as this process runs it."""
    files = loaded_files(recipe.plugins)
    return {"plugin_files": {file.path.name: file.sha256 for file in files}} if recipe.plugins else {}


def _evaluators(recipe: Recipe) -> dict[str, Any]:
    """The digests of the files that evaluators have read, by path; nothing if they read none."""
    digests: dict[str, str] = {}
    for evaluator in recipe.evaluators:
        with code_of(evaluator, "read_files"):
            digests |= {f"{path}": f"{digest}" for path, digest in evaluator.read_files().items()}
    return {"evaluators": digests} if digests else {}


def _registered(recipe: Recipe) -> dict[str, Any]:
    """The registered classes that the recipe uses, with the digest of their source if Python can read it."""
    used = {type(component) for component in recipe.components()}
    registered = {
        f"{kind} {name}": {"class": f"{cls.__module__}.{cls.__qualname__}", "source": _source_digest(cls)}
        for (kind, name), cls in current_registry().registered().items()
        if cls in used
    }
    return {"registered": registered} if registered else {}


def _source_digest(cls: type) -> str | None:
    source = _source(cls) or "".join(_source(each) for each in vars(cls).values() if inspect.isfunction(each))
    return hashlib.sha256(source.encode()).hexdigest() if source else None


def _source(thing: Any) -> str:
    """The source of a class or a function; empty if Python does not find it, as that of a class in a notebook."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # TypeError: of a module without a file
        return ""


def installed(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of the packages that are installed, with their versions."""
    for name in packages:
        version = version_of(name)
        if version is not None:
            yield name, version


def _own_code(components: Iterable[Component]) -> dict[str, Any]:
    """The digests of the code of components that no package has, by class; nothing if all are in packages."""
    registered = current_registry().registered().values()
    digests: dict[str, str | None] = {}
    for cls in {type(component) for component in components}:
        file = file_module(cls.__module__)
        if file is not None or cls in registered:
            digests[f"{cls.kind} {cls.component_name()}"] = file.sha256 if file is not None else _source_digest(cls)
    return {"code": digests} if digests else {}


def reference_key(recipe: Recipe, manifest: Mapping[str, Any], builder: BatchBuilder) -> dict[str, Any]:
    """Everything that log-probs of the untrained model depend on, as JSON values.

    `Batch.digests` identify prompts and pixels, row by row.
    """
    options, placement = recipe.to_dict(), placement_of(recipe.backend)
    return {
        "model": manifest["model"],
        "adapter": {name: value for name, value in options["model"].items() if name not in recipe.model.only_training},
        # Only the kind of device matters, not the backend or the number of devices.
        "device": placement.device.partition(":")[0],
        "dtype": placement.dtype,
        "arithmetic": recipe.backend.arithmetic,
        "corruptions": {name: options["corruptions"][name] for name in builder.corruptions},
        "seed": manifest["seed"],
        "data": manifest["data"]["sha256"],
        "views": ", ".join(sorted(map(str, builder.views))),
        "versions": {name: manifest["versions"][name] for name in ("torch", "transformers")},
        **_own_code((recipe.model, *(recipe.corruptions[name] for name in builder.corruptions))),
        **_split(recipe, manifest),
    }


def _split(recipe: Recipe, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which rows are held out; nothing for a recipe without held-out rows."""
    if "held_out" not in manifest["data"]:
        return {}
    hold_out = recipe.data.hold_out and recipe.data.hold_out.model_dump()
    return {"hold_out": hold_out, "validation": manifest["data"]["held_out"]["sha256"]}
