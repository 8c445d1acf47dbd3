"""Writes the package of `mdpo new-plugin`: a module with its tests, what pip and GitHub read, and a recipe."""

from __future__ import annotations

import builtins
import datetime
import importlib.util
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

import mdpo_core
from mdpo_core.errors import PluginError
from mdpo_core.registry.discovery import current_registry
from mdpo_core.storage.files import atomic_folder

_NAME = re.compile(r"[a-z](_?[a-z0-9])*")
_LONGEST = 50
_YAML_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")  # in YAML 1.1 or 1.2
_QUICK = "Takes seconds on a CPU, with the tiny model that mdpo brings; point `model` and `data` to yours."
_RECIPE = {
    "needs": _QUICK,
    "model": "{adapter: digits, freeze: []}",
    "data": "{reader: digits, num_pairs: 64}",
    "corruptions": "corruptions: {crop: {corruption: random_crop}}",
    "first": "{loss: dpo}",
    "second": "{loss: dpo, over: chosen@crop}",
    "optimizer": "",
    "backend": "{backend: local}",
    "evaluators": "[]",
    "trackers": "[{tracker: curves}]",
}
_USES: Mapping[str, Mapping[str, str]] = {
    "loss": {"first": "{loss: $name, beta: 0.1}", "second": "{loss: $name, beta: 0.1, over: chosen@crop}"},
    "anchor": {"second": "{anchor: $name, on: chosen}"},
    "corruption": {
        "corruptions": "corruptions: {worse: {corruption: $name}}",
        "second": "{loss: dpo, over: chosen@worse}",
    },
    "adapter": {
        "needs": "Needs a folder with a checkpoint of the model: --set model.path=FOLDER",
        "model": "{adapter: $name, path: model}",
    },
    "reader": {"data": "{reader: $name, num_pairs: 64}"},
    "backend": {"backend": "{backend: $name}"},
    "optimizer": {"optimizer": ", optimizer: {optimizer: $name}"},
    "evaluator": {"evaluators": "[{evaluator: $name}]"},
    "benchmark": {"evaluators": "[{evaluator: benchmark, of: {benchmark: $name}, images: ., max_new_tokens: 8}]"},
    "strength": {"first": "{loss: dpo, beta: {strength: $name}}"},
    "tracker": {"trackers": "[{tracker: $name}]"},
}
# Which template makes which file. The tests of an adapter need a model, and all others train for two steps.
_FILES: Mapping[str, str] = {
    "plugin_pyproject": "pyproject.toml",
    "plugin_readme": "README.md",
    "plugin_licence": "LICENSE",
    "plugin_workflow": ".github/workflows/tests.yml",
    "plugin_recipe": "recipe.yaml",
}


def write_plugin(name: str, kind: str, out: Path | None = None) -> Path:
    """Write a package with one component into a new folder, and return the folder.

    ``out``: the folder; None: ``mdpo_NAME`` in the current folder. Raises `PluginError` if the name is not valid or is
    taken, or if the folder already exists.
    """
    name = name.removeprefix("mdpo_")
    if not _NAME.fullmatch(name):
        raise PluginError(
            f"'{name}' cannot name a plugin: use lower-case letters, digits and single underscores, with a letter "
            "first and no underscore last, such as my_loss"
        )
    if name in _YAML_WORDS:
        raise PluginError(f"'{name}' cannot name a plugin: YAML reads it as another value; choose another name")
    if len(name) > _LONGEST:
        raise PluginError(
            f"'{name[:_LONGEST]}...' cannot name a plugin: it has {len(name)} letters, but the limit is {_LONGEST}"
        )
    module = f"mdpo_{name}"
    folder = out or Path(module)
    if folder.exists() or folder.is_symlink():
        raise PluginError(f"{folder} already exists; choose another folder with --out DIR")
    _require_free(name, kind, module)
    words = _words(name, kind, module)
    tests = "plugin_tests_adapter" if kind == "adapter" else "plugin_tests"
    made = {kind: f"{module}.py", tests: f"tests/test_{name}.py", **_FILES}
    with atomic_folder(folder) as unfinished:
        for template, file in made.items():
            path = unfinished / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(template, words), encoding="utf-8")
    return folder


def _words(name: str, kind: str, module: str) -> dict[str, str]:
    """What the templates say in place of ``$name`` and its like."""
    words = {
        "name": name,
        "kind": kind,
        "module": module,
        "package": module.replace("_", "-"),
        "cls": _class_name(name, kind),
        "version": mdpo_core.__version__,
        "year": str(datetime.date.today().year),
    }
    recipe = {key: Template(value).substitute(words) for key, value in {**_RECIPE, **_USES[kind]}.items()}
    return {**words, **recipe}


def _require_free(name: str, kind: str, module: str) -> None:
    registry = current_registry()
    if name in registry.components(kind):
        raise PluginError(
            f"the plugin '{registry.owner(kind, name)}' already offers the {kind} '{name}'; choose another name"
        )
    spec = importlib.util.find_spec(module)
    # Python also finds a plain folder with this name, as a module without a file.
    if registry.plugins.has_plugin(name) or (spec and spec.origin):
        raise PluginError(f"a plugin '{name}' or a module {module} is already installed; choose another name")


def _class_name(name: str, kind: str) -> str:
    words = "".join(part.capitalize() for part in name.split("_"))
    # The class must not replace a name that its module uses: `image_corruption` would be derived from itself.
    taken = {*mdpo_core.__all__, *dir(builtins), *re.findall(r"\w+", _template(kind))}
    return f"My{words}" if words in taken else words


def _filled(template: str, words: Mapping[str, str]) -> str:
    return Template(_template(template)).substitute(words)


def _template(name: str) -> str:
    return files("mdpo_core.cli").joinpath("templates", f"{name}.txt").read_text(encoding="utf-8")
