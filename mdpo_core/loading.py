"""From a recipe file to a `Recipe`, or to every problem in it at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mdpo_core.components import Component
from mdpo_core.consistency import inconsistencies
from mdpo_core.document import Document, Keys, override, read_document
from mdpo_core.errors import PluginError, Problem, RecipeError, suggestion
from mdpo_core.recipe import Output, Recipe, Scoring
from mdpo_core.registry import current_registry
from mdpo_core.train_options import Train

# Section: the kinds of component it takes. Lists and mappings of components are told apart by `MANY`.
SECTIONS: dict[str, tuple[str, ...]] = {
    "model": ("adapter",),
    "data": ("reader",),
    "corruptions": ("corruption",),
    "objective": ("loss", "anchor"),
    "backend": ("backend",),
    "evaluators": ("evaluator",),
    "trackers": ("tracker",),
}
MANY: dict[str, type] = {"corruptions": dict, "objective": list, "evaluators": list, "trackers": list}
_OPTIONS: dict[str, type[BaseModel]] = {"train": Train, "scoring": Scoring, "output": Output}


def load_recipe(path: str | Path, overrides: Iterable[str] = (), processes: int = 1, *, trains: bool = True) -> Recipe:
    """Read and check a recipe file.

    ``overrides`` are ``section.key=value`` as after ``--set``; ``processes`` is what batch sizes are checked
    against. ``trains=False`` is for what makes data: those of the recipe need not have what its objective reads. Raises
    `RecipeError` with every problem: file, line, YAML path, and what would work.
    """
    document = read_document(Path(path))
    override(document, overrides)
    return build_recipe(document, processes, trains=trains)


def build_recipe(document: Document, processes: int = 1, *, trains: bool = True) -> Recipe:
    """A recipe from a document; see `load_recipe`."""
    builder = _Builder(document)
    pieces = builder.pieces()
    unfit = inconsistencies(pieces, processes, trains)
    found = builder.problems + [document.problem(keys, text) for keys, text in unfit]
    if found:
        raise RecipeError(found)
    return Recipe(**pieces)


class _Builder:
    """Builds each section that can be built, and collects what is wrong with the others."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def pieces(self) -> dict[str, Any]:
        """The sections that are sound; the others are absent, and have left a problem."""
        known = Recipe.model_fields
        for key in self.document.data:
            if key not in known:
                self._report((key,), f"unknown section{suggestion(key, known)}  ({', '.join(known)})")
        for name, field in known.items():
            if field.is_required() and name not in self.document.data:
                self._report((), f"section '{name}' is missing: {field.description}")
        built = {name: self._section(name) for name in known if name in self.document.data}
        return {name: piece for name, piece in built.items() if piece is not None}

    def _section(self, name: str) -> Any:
        value: Any = self.document.data[name]
        if name in MANY:
            return self._many(name, value)
        if name in SECTIONS:
            return self._component((name,), SECTIONS[name], value)
        if name in _OPTIONS:
            return self._validated((name,), _OPTIONS[name], name, value)
        return self._reference(value)

    def _reference(self, value: Any) -> Any:
        choices = get_args(Recipe.model_fields["reference"].annotation)
        if value not in choices:
            near = suggestion(str(value), choices)
            self._report(("reference",), f"{value!r} is no reference{near}  ({', '.join(choices)})")
            return None
        return value

    def _many(self, name: str, value: Any) -> Any:
        kinds = SECTIONS[name]
        if MANY[name] is dict and isinstance(value, dict):
            return {key: self._component((name, key), kinds, item) for key, item in value.items()}
        if MANY[name] is list and isinstance(value, list):
            return tuple(self._component((name, place), kinds, item) for place, item in enumerate(value))
        form = "a mapping of names to components" if MANY[name] is dict else "a list of components"
        self._report((name,), f"must be {form}, found {value!r}")
        return None

    def _component(self, keys: Keys, kinds: tuple[str, ...], value: Any) -> Component | None:
        form = " or ".join(f"{{{kind}: NAME, ...}}" for kind in kinds)
        if not isinstance(value, Mapping):
            self._report(keys, f"must be {form}, found {value!r}")
            return None
        named = [kind for kind in kinds if kind in value]
        if len(named) != 1:
            near = "" if named else "".join(suggestion(kind, value) for kind in kinds)
            self._report(keys, f"must name one component: {form}{near}")
            return None
        kind, name = named[0], value[named[0]]
        try:
            cls = current_registry().get(kind, name)
        except PluginError as error:
            self._report((*keys, kind), str(error))
            return None
        options = {key: option for key, option in value.items() if key != kind}
        return self._validated(keys, cls, name, options)  # type: ignore[no-any-return]

    def _validated(self, keys: Keys, cls: type[BaseModel], name: str, options: Any) -> Any:
        try:
            # Strict JSON rules: a quoted number is no number and `true` is not 1, but a list may be a tuple.
            return cls.model_validate_json(json.dumps(options), strict=True)
        except ValidationError as error:
            for detail in error.errors():
                self._report((*keys, *detail["loc"]), _message(detail, cls, name))
        return None

    def _report(self, keys: Keys, message: str) -> None:
        self.problems.append(self.document.problem(keys, message))


def _message(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    if detail["type"] == "extra_forbidden":
        options = _options_at(cls, detail["loc"])
        key = str(detail["loc"][-1])
        return f"unknown option{suggestion(key, options)}  ({name}: {', '.join(sorted(options))})"
    if detail["type"] == "missing":
        field = _options_at(cls, detail["loc"]).get(str(detail["loc"][-1]))
        return f"missing: {field.description}" if field is not None and field.description else "missing"
    text = detail["msg"].removeprefix("Value error, ")
    told = f"{text[0].lower()}{text[1:]}"
    # What is wrong between the options of a section names them; all others would hide it.
    return (
        told
        if detail["type"] == "value_error" and isinstance(detail["input"], dict)
        else f"{told}, found {detail['input']!r}"
    )


def _options_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> dict[str, Any]:
    """The options of the innermost model that holds ``loc``: ``('lora', 'rnk')`` are options of `Lora`."""
    for key in loc[:-1]:
        field = cls.model_fields.get(str(key))
        inner = [kind for kind in _models(field.annotation) if field] if field else []
        if not inner:
            break
        cls = inner[0]
    return dict(cls.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    kinds = getattr(annotation, "__args__", (annotation,))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
