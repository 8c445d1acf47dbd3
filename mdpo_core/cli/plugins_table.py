"""Lists components as text, for `mdpo plugins` and the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mdpo_core.registry.discovery import Registry, current_registry
from mdpo_core.registry.offers import KINDS


def components_table() -> str:
    """A table of every component with its plugin, the first line of its docstring, and its options."""
    registry = current_registry()
    return "\n".join(line for kind in KINDS for line in _kind_lines(registry, kind))


def _kind_lines(registry: Registry, kind: str) -> Iterator[str]:
    for name, cls in sorted(registry.components(kind).items()):
        yield f"{kind}: {name}  [{registry.owner(kind, name)}]"
        yield from (f"    {line}" for line in (cls.__doc__ or "").strip().splitlines()[:1])
        for option, field in cls.model_fields.items():
            yield f"    {option} = {default_text(field)}  {description(field)}".rstrip()
        yield ""


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
    """A field's description, with its allowed words unless the description and the default already name them."""
    text = field.description or ""
    words = [value for value in _literals(field.annotation) if isinstance(value, str)]
    if all(word in f"{text} {default_text(field)}" for word in words):
        return text
    return "; ".join(filter(None, (text, f"one of {', '.join(words)}")))


def _literals(annotation: Any) -> Iterator[Any]:
    """The values of every ``Literal`` in a type."""
    for part in get_args(annotation):
        yield from (_literals(part) if get_args(part) else [part] if get_origin(annotation) is Literal else [])
