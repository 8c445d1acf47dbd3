"""Options of terms that may have another number for each row."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SerializerFunctionWrapHandler, WrapSerializer
from pydantic.fields import FieldInfo

from mdpo_core.interfaces.strengths.strength import ColumnStrength, Strength

if TYPE_CHECKING:
    from torch import Tensor


class _RowMark:
    """Marks an option that a strength may take the place of."""


def as_plain(strength: Strength) -> dict[str, Any]:
    """A strength as a recipe has it."""
    if isinstance(strength, ColumnStrength):
        return {"column": strength.column}
    return {strength.kind: strength.component_name()} | strength.model_dump(mode="json")


def _shown(value: Any, dump: SerializerFunctionWrapHandler) -> Any:
    return as_plain(value) if isinstance(value, Strength) else dump(value)


# An option of a term that is a number for all rows, or differs by row: ``beta: ByRow = Field(default=0.1, gt=0)``.
# ``Literal["running"] | ByRow`` is one word besides. When the term is called, it is a float or a tensor (batch,), so it
# may only be used with tensors of that shape.
ByRow = Annotated[float, _RowMark(), WrapSerializer(_shown)]

_LIMITS = {Gt: ("gt", "above"), Ge: ("ge", "at least"), Lt: ("lt", "below"), Le: ("le", "at most")}


def options_by_row(cls: type[BaseModel]) -> tuple[str, ...]:
    """The options of a term that may differ by row."""
    return tuple(name for name, field in cls.model_fields.items() if may_differ_by_row(field))


def may_differ_by_row(field: FieldInfo) -> bool:
    """Whether a strength may take the place of this option."""
    return any(isinstance(each, _RowMark) for each in _marks(field))


def _marks(field: FieldInfo) -> Iterator[Any]:
    """The marks of an option's type, or of the types that it may have."""
    yield from field.metadata
    for each in get_args(field.annotation):
        yield from getattr(each, "__metadata__", ())


def strengths_of(term: BaseModel) -> dict[str, Strength]:
    """The strengths of a term, by the options whose place they take."""
    values = {name: getattr(term, name) for name in options_by_row(type(term))}
    return {name: value for name, value in values.items() if isinstance(value, Strength)}


def stand_ins(cls: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Valid numbers for ``options``. Each is close to the option's default, or 1 if the default is not a number.

    None is the default itself: terms refuse some options only if they differ from it.
    """
    return {name: _close_to_default(cls.model_fields[name]) for name in options}


def _close_to_default(field: FieldInfo) -> float:
    if not isinstance(field.default, (int, float)):
        return 1.0
    step = 2.0**-20 * max(1.0, abs(field.default))
    return next(each for each in (field.default + step, field.default - step) if _allows(field, each))


def within_limits(term: BaseModel, option: str, values: Tensor) -> Tensor:
    """Which values are finite and within the limits of an option, ``(batch,)`` bool."""
    allowed: Tensor = values.isfinite() & _allows(type(term).model_fields[option], values)
    return allowed


def _allows(field: FieldInfo, value: Any) -> Any:
    """Whether a number is within the limits of an option; of a tensor, which of its numbers are."""
    allowed: Any = True
    for limit in field.metadata:
        if type(limit) in _LIMITS:
            name, _ = _LIMITS[type(limit)]
            allowed = allowed & getattr(operator, name)(value, getattr(limit, name))
    return allowed


def limits_of(term: BaseModel, option: str) -> str:
    """The limits of an option in words: "finite and above 0"."""
    known = [limit for limit in type(term).model_fields[option].metadata if type(limit) in _LIMITS]
    words = [f"{_LIMITS[type(limit)][1]} {getattr(limit, _LIMITS[type(limit)][0]):g}" for limit in known]
    return " and ".join(["finite", *words])
