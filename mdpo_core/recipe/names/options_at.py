"""The options of the models that a component's options may hold."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def options_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> dict[str, FieldInfo]:
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
