"""Lists components as text, for `mdpo plugins` and the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from textwrap import wrap
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mdpo_core.errors import PluginError, suggestion
from mdpo_core.interfaces.strengths.by_row import may_differ_by_row
from mdpo_core.registry.discovery import Registry, current_registry
from mdpo_core.registry.offers import KINDS

_WIDTH = 100
_MORE = "mdpo plugins KIND shows the options of one kind; mdpo plugins KIND NAME shows one component whole."


def components_text(kind: str | None = None, name: str | None = None) -> str:
    """The components as text: all of them, those of one kind with their options' names, or one of them whole.

    Raises `PluginError` for an unknown kind or name; it suggests the nearest one.
    """
    registry = current_registry()
    if kind is None:
        return "\n".join([*(line for each in KINDS for line in _short_lines(registry, each)), _MORE])
    if name is not None:
        return "\n".join(_whole_lines(registry, kind, name))
    if kind not in KINDS:
        raise PluginError(_unknown_kind(registry, kind))
    return "\n".join(_kind_lines(registry, kind))


def _short_lines(registry: Registry, kind: str) -> Iterator[str]:
    """The kind, then a line for each of its components."""
    yield kind
    components = sorted(registry.components(kind).items())
    width = max((len(name) for name, _ in components), default=0)
    for name, cls in components:
        yield _cut(f"  {name:<{width}}  {_first_line(cls)}").rstrip()
    yield ""


def _kind_lines(registry: Registry, kind: str) -> Iterator[str]:
    for name, cls in sorted(registry.components(kind).items()):
        yield f"{kind}: {name}  [{registry.owner(kind, name)}]"
        yield from (f"    {line}" for line in (_first_line(cls),) if line)
        options = f"options: {', '.join(cls.model_fields) or 'none'}"
        yield from wrap(options, _WIDTH, initial_indent="    ", subsequent_indent="      ")
        yield ""
    yield f"mdpo plugins {kind} NAME shows one of them with all options."


def _whole_lines(registry: Registry, kind: str, name: str) -> Iterator[str]:
    cls = registry.get(kind, name)
    yield f"{kind}: {name}  [{registry.owner(kind, name)}]"
    yield from (f"    {line}".rstrip() for line in inspect.cleandoc(cls.__doc__ or "").splitlines())
    yield from ("", "  options")
    yield from _option_lines(cls, "", set())


def _option_lines(cls: type[BaseModel], prefix: str, shown: set[type[BaseModel]]) -> Iterator[str]:
    """The options of a component, and below each those inside it, such as ``lora.rank``; those in ``shown`` once."""
    for option, field in cls.model_fields.items():
        yield f"    {prefix}{option} = {default_text(field)}  {description(field)}".rstrip()
        for inner in _models_in(field.annotation):
            if inner not in shown:
                shown.add(inner)
                yield from _option_lines(inner, f"{prefix}{option}.", shown)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an option holds itself: not those of a mapping or a list, whose keys nobody knows here."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _models_in(part)


def _unknown_kind(registry: Registry, kind: str) -> str:
    holding = next((each for each in KINDS if kind in registry.components(each)), None)
    if holding is not None:
        return f"'{kind}' is a component of the kind '{holding}': mdpo plugins {holding} {kind}"
    return f"unknown kind of component '{kind}'{suggestion(kind, KINDS)}  (known: {', '.join(KINDS)})"


def _first_line(cls: type[BaseModel]) -> str:
    return next(iter((cls.__doc__ or "").strip().splitlines()), "")


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."


def default_text(field: FieldInfo) -> str:
    """A field's default as YAML would write it."""
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, BaseModel):
        return "{...}"
    return str(list(value) if isinstance(value, tuple) else value)


def description(field: FieldInfo) -> str:
    """A field's description, whether it may differ by row, and its allowed words.

    The words are left out if the description and the default already name them.
    """
    text = "; ".join(filter(None, (field.description, "may differ by row" * may_differ_by_row(field))))
    words = [value for value in _literals(field.annotation) if isinstance(value, str)]
    if all(word in f"{text} {default_text(field)}" for word in words):
        return text
    return "; ".join(filter(None, (text, f"one of {', '.join(words)}")))


def _literals(annotation: Any) -> Iterator[Any]:
    """The values of every ``Literal`` in a type."""
    for part in get_args(annotation):
        yield from (_literals(part) if get_args(part) else [part] if get_origin(annotation) is Literal else [])
