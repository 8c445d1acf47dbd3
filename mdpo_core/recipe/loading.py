"""From a recipe file to a `Recipe`, or to every problem in it at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mdpo_core.errors import PluginError, Problem, RecipeError, suggestion
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.train_options import Train
from mdpo_core.recipe.consistency import inconsistencies
from mdpo_core.recipe.document import Document, Keys, override, read_document
from mdpo_core.recipe.recipe import Output, Recipe, Scoring
from mdpo_core.registry import Registry, current_registry

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
    builder = _Builder(document, current_registry())
    pieces = builder.pieces()
    unfit = inconsistencies(pieces, processes, trains)
    found = builder.problems + [document.problem(keys, text) for keys, text in unfit]
    if found:
        raise RecipeError(found)
    return Recipe(**pieces)


class _Builder:
    """Builds each section that is sound, and collects what is wrong with the others."""

    def __init__(self, document: Document, registry: Registry) -> None:
        self.document = document
        self.registry = registry
        self.problems: list[Problem] = []

    def pieces(self) -> dict[str, Any]:
        """The sections that are sound; the others are absent, and have left a problem."""
        known, data = Recipe.model_fields, self.document.data
        for key in data:
            if key not in known:
                self._report((key,), f"unknown section{suggestion(key, known)}  ({', '.join(known)})")
        for name, field in known.items():
            if field.is_required() and name not in data:
                self._report((), f"section '{name}' is missing: {field.description}")
        built = {name: self._section(name, data[name]) for name in known if name in data}
        return {name: piece for name, piece in built.items() if piece is not None}

    def _section(self, name: str, value: Any) -> Any:
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
            cls = self.registry.get(kind, name)
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
    """What pydantic found wrong, as a sentence for the user of the component ``name``."""
    return _MESSAGES.get(detail["type"], _invalid)(detail, cls, name)


def _unknown(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    options, key = _options_at(cls, detail["loc"]), str(detail["loc"][-1])
    return f"unknown option{suggestion(key, options)}  ({name}: {', '.join(sorted(options))})"


def _missing(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    field = _options_at(cls, detail["loc"]).get(str(detail["loc"][-1]))
    return f"missing: {field.description}" if field is not None and field.description else "missing"


def _refused(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    """A validator's own words. Where options do not fit together it names them, and showing all would hide them."""
    if isinstance(detail["input"], dict):
        return _words(detail)
    return _invalid(detail, cls, name)


def _invalid(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    return f"{_words(detail)}, found {detail['input']!r}"


def _words(detail: ErrorDetails) -> str:
    text = detail["msg"].removeprefix("Value error, ")
    return f"{text[0].lower()}{text[1:]}"


# By pydantic's type of error; `_invalid` for all others.
_MESSAGES: Mapping[str, Callable[[ErrorDetails, type[BaseModel], str], str]] = {
    "extra_forbidden": _unknown,
    "missing": _missing,
    "value_error": _refused,
}


def _options_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """The options of the innermost model that holds ``loc``: ``('lora', 'rnk')`` are options of `Lora`."""
    for key in loc[:-1]:
        field = cls.model_fields.get(str(key))
        inner = _model_in(field.annotation) if field is not None else None
        if inner is None:
            break
        cls = inner
    return dict(cls.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model that an option may hold: `Lora` in ``Lora | None``."""
    choices = get_args(annotation) or (annotation,)
    return next((each for each in choices if isinstance(each, type) and issubclass(each, BaseModel)), None)
