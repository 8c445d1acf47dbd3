"""The JSON Schema of recipes, for `mdpo schema`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from mdpo_core.interfaces.strengths.by_row import options_by_row
from mdpo_core.recipe.loading import MANY, SECTIONS
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.recipe.yaml_document import PLUGINS
from mdpo_core.registry.discovery import Registry, current_registry
from mdpo_core.types.view import View

_BY_ROW = "by_row"
_COLUMN = {
    "type": "object",
    "description": "a column of the data that has the number of each row",
    "properties": {"column": {"type": "string"}},
    "required": ["column"],
    "additionalProperties": False,
}


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, with the components that are installed."""
    registry = current_registry()
    sections = {name: _section_schema(registry, name, field) for name, field in Recipe.model_fields.items()}
    extends = {"type": "string", "description": "a recipe beside this one, which this one changes"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mdpo recipe",
        "type": "object",
        "properties": {"extends": extends, **sections},
        "additionalProperties": False,
        "$defs": {_BY_ROW: {"oneOf": [_COLUMN, *_choices(registry, "strength")]}},
    }


def _section_schema(registry: Registry, name: str, field: FieldInfo) -> dict[str, Any]:
    if name == PLUGINS:
        return {"description": field.description, "type": "array", "items": {"type": "string"}}
    if name == "train":
        return _train_schema(registry, field)
    if name not in SECTIONS:
        return _inlined(_plain_schema(name, field))
    form = MANY.get(name)
    choices = [choice for kind in SECTIONS[name] for choice in _choices(registry, kind)]
    one: dict[str, Any] = {"oneOf": choices if form is list else [*choices, _changes(name)]}
    if form is dict:
        one = {"type": "object", "additionalProperties": one}
    elif form is list:
        one = {"type": "array", "items": one}
    return {"description": field.description, **one}


def _train_schema(registry: Registry, field: FieldInfo) -> dict[str, Any]:
    """The section `train`; its optimizer is a component, or the name of one."""
    schema = _inlined(_plain_schema("train", field))
    optimizer = schema["properties"]["optimizer"]
    names = {"enum": [*sorted(registry.components("optimizer")), None]}
    schema["properties"]["optimizer"] = {
        "description": optimizer["description"],
        "default": None,
        "oneOf": [names, *_choices(registry, "optimizer"), _changes_of(("optimizer",))],
    }
    return schema


def _plain_schema(name: str, field: FieldInfo) -> dict[str, Any]:
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_json_schema()
    return {"description": field.description, "enum": list(getattr(kind, "__args__", ()))}


def _choices(registry: Registry, kind: str) -> Iterator[dict[str, Any]]:
    for name, cls in sorted(registry.components(kind).items()):
        schema = _inlined(cls.model_json_schema(schema_generator=_Schema))
        schema["properties"] = {kind: {"const": name}, **schema.get("properties", {})}
        for option in options_by_row(cls):
            schema["properties"][option] = _number_or_by_row(schema["properties"][option])
        schema["required"] = [kind]  # nothing else: the recipe that this one extends may set the other options
        yield schema


def _number_or_by_row(option: dict[str, Any]) -> dict[str, Any]:
    """An option that is a number for all rows, or differs by row."""
    told: dict[str, Any] = {name: option.pop(name) for name in ("title", "description", "default") if name in option}
    return {**told, "anyOf": [option, {"$ref": f"#/$defs/{_BY_ROW}"}]}


def _changes(name: str) -> dict[str, Any]:
    """The schema of options for a component that the extended recipe names. Lists cannot be changed like this."""
    return _changes_of(SECTIONS[name])


def _changes_of(kinds: tuple[str, ...]) -> dict[str, Any]:
    named = [{"required": [kind]} for kind in kinds]
    return {"type": "object", "description": "changes to this section of the extended recipe", "not": {"anyOf": named}}


class _Schema(GenerateJsonSchema):
    """Writes views as recipes do."""

    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(f"{dft}" if isinstance(dft, View) else dft)


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its ``$defs`` put in place, so that it can stand inside another."""
    definitions = schema.pop("$defs", {})
    schema.pop("required", None)

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(schema)
    return resolved
