"""Reads a recipe file into a `Recipe`, or reports every problem in it at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mdpo_core.errors import PluginError, Problem, RecipeError, blame_on, raised, shown, suggestion
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.term import Term
from mdpo_core.interfaces.train_options import Train
from mdpo_core.recipe.consistency import inconsistencies
from mdpo_core.recipe.dropped import warn_of_dropped_options
from mdpo_core.recipe.names.option_errors import messages_of
from mdpo_core.recipe.names.other_trainers import answer_for
from mdpo_core.recipe.plugin_files import load_plugins
from mdpo_core.recipe.recipe import Output, Recipe, Scoring
from mdpo_core.recipe.terms.by_row import term_of
from mdpo_core.recipe.train_section import train_of
from mdpo_core.recipe.yaml_document import PLUGINS, Document, Keys, document_with, read_document, shown_value
from mdpo_core.registry.discovery import Registry, current_registry

# The kinds of component that each section takes. `MANY`: the sections that take several, as a mapping or a list.
SECTIONS: dict[str, tuple[str, ...]] = {
    "model": ("adapter",),
    "data": ("reader",),
    "validation": ("reader",),
    "corruptions": ("corruption",),
    "objective": ("loss", "anchor"),
    "backend": ("backend",),
    "evaluators": ("evaluator",),
    "trackers": ("tracker",),
}
MANY: dict[str, type] = {"corruptions": dict, "objective": list, "evaluators": list, "trackers": list}
_MAY_BE_NULL = ("validation",)
_MAX_PROBLEMS = 100
_OPTIONS: dict[str, type[BaseModel]] = {"train": Train, "scoring": Scoring, "output": Output}


def load_recipe(
    recipe: str | Path | Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any] = (),
    processes: int = 1,
    *,
    plugins: Iterable[str | Path] = (),
    trains: bool = True,
) -> Recipe:
    """Read and check a recipe: a file, the name of one that mdpo ships, if no file has this name, or a mapping.

    ``overrides``: values by ``section.key``, such as ``{"train.seed": 1}``, or texts as after ``--set``. Values of both
    mappings may be components: ``{"objective.0": MyLoss(beta=0.1)}``. ``processes``: the number that batch sizes must
    fit. ``plugins``: Python files with components, besides those of the section ``plugins``. ``trains=False``: for
    commands that make data, whose rows need not yet have what the objective reads. Raises `RecipeError` with every
    problem, and `PluginError` if a component fails when it is asked what it needs or gives.
    """
    return build_recipe(document_with(recipe, overrides, plugins), processes, trains=trains)


def build_recipe(document: Document, processes: int = 1, *, trains: bool = True) -> Recipe:
    """A recipe from a document; see `load_recipe`."""
    load_plugins(document)
    warn_of_dropped_options(document, registry := current_registry())
    pieces = (builder := _Builder(document, registry)).pieces()
    unfit = inconsistencies(pieces, processes, trains)
    found = builder.problems + [document.problem(keys, text) for keys, text in unfit]
    if len(found) > _MAX_PROBLEMS:
        more = Problem(document.file, "", f"... and {len(found) - _MAX_PROBLEMS} more problems")
        raise RecipeError([*found[:_MAX_PROBLEMS], more])
    if found:
        raise RecipeError(found)
    return Recipe(**pieces)


def load_sections(path: Path, *names: str) -> list[Any]:
    """Some sections of a recipe file, without a look at the others. Raises `RecipeError` with every problem of them."""
    document = read_document(path)
    builder = _Builder(document, current_registry())
    found = [builder.section(name) for name in names]
    if builder.problems and load_plugins(document):  # only now: a file that these sections do not use may be gone
        builder = _Builder(document, current_registry())
        found = [builder.section(name) for name in names]
    if builder.problems:
        raise RecipeError(builder.problems)
    return found


class _Builder:
    """Builds the valid sections, and collects the problems of the others."""

    def __init__(self, document: Document, registry: Registry) -> None:
        self.document = document
        self.registry = registry
        self.problems: list[Problem] = []

    def pieces(self) -> dict[str, Any]:
        """The valid sections by name; each of the others leaves a problem."""
        known, data = Recipe.model_fields, self.document.data
        for key in data:
            if key not in known:
                meant = answer_for((key,)) or suggestion(key, known)
                self._report((key,), f"unknown section{meant}  ({', '.join(known)})")
        for name, field in known.items():
            if field.is_required() and name not in data:
                self._report((), f"section '{name}' is missing: {field.description}")
        given = [name for name in known if name in data and not (name in _MAY_BE_NULL and data[name] is None)]
        built = {name: self._section(name, data[name]) for name in given}
        return {name: piece for name, piece in built.items() if piece is not None}

    def section(self, name: str) -> Any:
        """One section that the recipe must have; None, and a problem, if it is not valid."""
        if name in self.document.data:
            return self._section(name, self.document.data[name])
        return self._report((), f"section '{name}' is missing: {Recipe.model_fields[name].description}")

    def _section(self, name: str, value: Any) -> Any:
        if name in MANY:
            return self._many(name, value)
        if name in SECTIONS:
            return self._component((name,), SECTIONS[name], value)
        if name == PLUGINS:
            return tuple(map(Path, value))  # `load_plugins` has checked them
        if name == "train" and isinstance(value, Mapping) and value.get("optimizer") is not None:
            return train_of(value, self._component, self._validated)
        if name in _OPTIONS:
            return self._validated((name,), _OPTIONS[name], name, value)
        return self._choice(name, value)

    def _choice(self, name: str, value: Any) -> Any:
        choices = get_args(Recipe.model_fields[name].annotation)
        if value not in choices:
            near = suggestion(str(value), choices) if isinstance(value, str) else ""
            self._report((name,), f"{shown_value(value)} is not a valid {name}{near}  ({', '.join(choices)})")
            return None
        return value

    def _many(self, name: str, value: Any) -> Any:
        kinds = SECTIONS[name]
        if MANY[name] is dict and isinstance(value, dict):
            return {key: self._component((name, key), kinds, item) for key, item in value.items()}
        if MANY[name] is list and isinstance(value, list):
            return tuple(self._component((name, index), kinds, item) for index, item in enumerate(value))
        form = "a mapping of names to components" if MANY[name] is dict else "a list of components"
        self._report((name,), f"must be {form}, found {shown_value(value)}")
        return None

    def _component(self, keys: Keys, kinds: tuple[str, ...], value: Any) -> Component | None:
        form = " or ".join(f"{{{kind}: NAME, ...}}" for kind in kinds)
        if isinstance(value, Component) and value.kind in kinds:
            return value
        if not isinstance(value, Mapping):
            self._report(keys, f"must be {form}, found {shown_value(value)}")
            return None
        named = [kind for kind in kinds if kind in value]
        if len(named) != 1:
            near = "".join(suggestion(kind, map(str, value)) for kind in kinds)
            reason = f", found {' and '.join(named)}" if named else near
            self._report(keys, f"must name one component: {form}{reason}")
            return None
        kind, name = named[0], value[named[0]]
        if not isinstance(name, str):
            self._report((*keys, kind), f"must be the name of a component, found {shown_value(name)}")
            return None
        try:
            cls = self.registry.get(kind, name)
        except PluginError as error:
            self._report((*keys, kind), str(error))
            return None
        options = {key: option for key, option in value.items() if key != kind}
        if issubclass(cls, Term):
            return self._term(keys, cls, name, options)
        return self._validated(keys, cls, name, options)  # type: ignore[no-any-return]

    def _term(self, keys: Keys, cls: type[Term], name: str, options: Mapping[str, Any]) -> Term | None:
        return term_of(
            cls,
            options,
            component=lambda within, strength: self._component((*keys, *within), ("strength",), strength),
            validated=lambda others: self._validated(keys, cls, name, others),
            report=lambda within, text: self._report((*keys, *within), text),
        )

    def _validated(self, keys: Keys, cls: type[BaseModel], name: str, options: Any) -> Any:
        try:
            # Strict JSON rules: a quoted number is not a number and `true` is not 1, but a list may be a tuple.
            with blame_on(f"the code of '{name}'"):
                built = cls.model_validate_json(json.dumps(options), strict=True)
            if isinstance(built, cls):
                return built
            self._report(keys, f"the options of '{name}' cannot be read: its validator returned {shown(built)}")
        except ValidationError as error:
            for path, message in messages_of(error, options, cls, name, keys).items():
                self._report((*keys, *path), message)
        except PluginError as error:
            self._report(keys, str(error))
        except Exception as error:  # only a plugin's own validator can raise anything else
            self._report(keys, f"the options of '{name}' cannot be read: its code {raised(error)}")
        return None

    def _report(self, keys: Keys, message: str) -> None:
        self.problems.append(self.document.problem(keys, message))
