"""Everything that a stored result depends on, so that the result of something else is never taken for it."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.errors import DataError
from mdpo_core.interfaces.reader import Reader
from mdpo_core.processes.file_modules import file_module
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.discovery import current_registry
from mdpo_core.registry.installed import packages_of_plugins
from mdpo_core.storage.files import sha256
from mdpo_core.storage.manifest import installed
from mdpo_core.types.stored_bytes import Files, state_of

_PACKAGES = ("mdpo", "transformers", "tokenizers", "pillow", "datasets", "pyarrow", "numpy", "torchvision")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz")
_READ_AT_ONCE = 1 << 26  # bytes; more than a tokenizer has, and fewer than most weights
# What is done with rows does not change which rows are bad.
_NOT_OF_ROWS = ("bad_rows", "hold_out")
_OF_SOME_ROWS = ("bad_rows",)  # held-out rows are among those that are checked


def check_key(recipe: Recipe, reader: Reader, builder: BatchBuilder, num_rows: int, opened: Files) -> str | None:
    """The key of a check as JSON text; None if nobody can tell what it depends on, so that it is not stored.

    ``opened``: the files that were noted when the data were opened.
    """
    builder = builder.of_own_fields()
    code = _code_of(recipe, reader, builder) if reader.notes_files else None
    try:
        model = _model(recipe)
    except DataError:  # a folder without weights, for which `mdpo check --memory` also works
        return None
    if code is None:
        return None
    left_out = _NOT_OF_ROWS if reader.check == "all" else _OF_SOME_ROWS
    options, corruptions = reader.model_dump(mode="json"), recipe.to_dict()["corruptions"]
    return json.dumps(
        {
            "versions": _versions(_PACKAGES),
            "code": code,
            "reader": [reader.component_name(), {key: options[key] for key in options if key not in left_out}],
            "rows": num_rows,
            "files": [[path, *state] for path, state in opened.items()],
            "model": model,
            "max_length": builder.max_length,
            "max_positions": builder.max_positions,
            "views": sorted(map(str, builder.views)),
            "corruptions": {name: corruptions[name] for name in builder.corruptions},
            "seed": builder.seed if builder.corruptions else None,
            "columns": list(builder.columns),
            "compared": list(builder.compared),
            "needs": sorted(map(repr, builder.needs)),
            "checks": [(type(term).__name__, term.model_dump(mode="json")) for term in builder.checks],
        },
        sort_keys=True,
    )


def value_key(files: Iterable[Path], options: object, code: Iterable[type], packages: Iterable[str]) -> str | None:
    """The key of what `remembered` keeps, as JSON text; None if nobody can tell what it depends on."""
    digests = {package: _code(package) for package in {"mdpo_core", *map(_package, code)} - sys.stdlib_module_names}
    if None in digests.values():
        return None
    states = [[str(path), *_state(path)] for path in map(Path.absolute, files)]
    versions = _versions(["mdpo", *packages])
    return json.dumps({"versions": versions, "code": digests, "files": states, "options": options}, sort_keys=True)


def _state(path: Path) -> tuple[int, int, int, str]:
    """Size and times of a file, and the digest of one that is read in no time: not every disk has exact times."""
    state = state_of(str(path))
    return (*state, sha256(path) if 0 <= state[0] <= _READ_AT_ONCE else "")


def _code_of(recipe: Recipe, reader: Reader, builder: BatchBuilder) -> dict[str, str | None] | None:
    """Digests of the packages whose code judges or reads rows; None if Python cannot read one that does."""
    used = (reader, recipe.model, builder.encoder, *builder.checks, *builder.corruptions.values())
    code = {package: _code(package) for package in {"mdpo_core", *(_package(type(each)) for each in used)}}
    if None in code.values():
        return None
    others = map(_package, current_registry().components("reader").values())  # a mixture has readers inside
    return code | {package: _code(package) for package in {*others}}


def _versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of Python, of mdpo's plugins, and of those of ``packages`` that are installed."""
    return {"python": platform.python_version()} | dict(installed(sorted({*packages, *packages_of_plugins()})))


def _model(recipe: Recipe) -> dict[str, Any]:
    """What decides how texts and pictures become tokens: the adapter's options, and its files but the weights."""
    options = recipe.to_dict()["model"]
    files = [path for path in recipe.model.files() if path.suffix not in _WEIGHTS]
    return {
        "options": {name: value for name, value in options.items() if name not in recipe.model.only_training},
        "files": {path.name: sha256(path) for path in files},
    }


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _code(package: str) -> str | None:
    """The digest of a package's Python files, or of a plugin file as this process runs it."""
    file = file_module(package)
    return _installed_code(package) if file is None else file.sha256


@cache
def _installed_code(package: str) -> str | None:
    """The digest of a package's Python files: an editable install changes without a new version."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None:
        return None
    digest = hashlib.sha256()
    for each in _python_files(Path(file)):
        digest.update(f"{each.name}|{sha256(each)}".encode())
    return digest.hexdigest()


def _python_files(file: Path) -> Iterator[Path]:
    yield from sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else (file,)
