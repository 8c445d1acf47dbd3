"""Calls a plugin's code and checks what it returns. Errors name the plugin's component."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mdpo_core.errors import MdpoError, PluginError, blame_on, raised, shown
from mdpo_core.types.declared import Undeclared

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.interfaces.backend import Backend
    from mdpo_core.interfaces.component import Component
    from mdpo_core.interfaces.model import Placement

Value = TypeVar("Value")
# A part of torch's message for a tensor without gradients.
NO_GRADIENT = "does not require grad"


def call_plugin(source: str, compute: Callable[[], Value]) -> Value:
    """The result of ``compute``, which runs code of a plugin. ``source`` names the code: "term 'dpo' (DPO)".

    Raises `PluginError` if the code reads what its term did not declare, or asks for a gradient of the reference. Other
    errors get a note with ``source`` and pass through.
    """
    try:
        with blame_on(source):
            return compute()
    except Undeclared as error:
        raise PluginError(f"{source}: {error.args[0]}") from error
    except RuntimeError as error:
        if NO_GRADIENT not in str(error):
            raise
        raise PluginError(
            f"{source} asks for a gradient that does not exist: the reference's log-probs have none"
        ) from error


def code_of(component: Component, method: str) -> AbstractContextManager[None]:
    """The boundary around a method of a component, which runs inside the ``with``; see `blame_on`."""
    name = component.component_name() if component.has_name() else type(component).__name__
    return blame_on(f"{method}() of the {component.kind} '{name}'")


def placement_of(backend: Backend) -> Placement:
    """Where a backend places models; an error names the backend."""
    with code_of(backend, "placement"):
        return backend.placement()


def told_by_plugin(source: str, ask: Callable[[], Value], expected: type | tuple[type, ...], form: str) -> Value:
    """What a plugin's code tells while a recipe is read. ``source`` names the code: "gives() of the reader 'pairs'".

    Raises `PluginError`, with the file and line, for any error of the code, and for a value that is not of the type
    ``expected``, of which ``form`` is the name in the message.
    """
    try:
        with blame_on(source):
            told = ask()
    except MdpoError:
        raise
    except Exception as error:
        raise PluginError(f"{source} {raised(error)}; correct the plugin, or tell its author") from error
    if not isinstance(told, expected):
        raise PluginError(f"{source} must return {form}; it returned {shown(told)}")
    return told


def require_metrics(source: str, found: object) -> None:
    """Raise `PluginError` unless ``found`` has finite numbers by name. ``source``: the code that returned it."""
    if not isinstance(found, Mapping) or not all(map(_is_number, found.values())):
        raise PluginError(f"{source} must return numbers by name; it returned {found!r}")
    for name, value in found.items():
        if not isinstance(name, str) or not name:
            raise PluginError(f"{source} must return numbers by name; one has the name {shown(name)}")
        if not math.isfinite(value):
            raise PluginError(f"{source} must return finite numbers; its '{name}' is {float(value)}")


def _is_number(value: Any) -> bool:
    """Whether ``float(value)`` is meant: a number, or a tensor or an array of one element."""
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return not isinstance(value, (str, bytes))


def require_tensor(
    source: str, values: object, expected: str, shape: Sequence[int], kind: Literal["numbers", "bools"] = "numbers"
) -> Tensor:
    """``values``, if they are a tensor of this shape with floating point ``numbers`` or ``bools``; else `PluginError`.

    ``source``: the code that returned them. ``expected``: a description for the error, such as "one number a pair". In
    ``shape``, -1 allows any size.
    """
    import torch

    if isinstance(values, torch.Tensor) and len(values.shape) == len(shape):
        is_kind = values.is_floating_point() if kind == "numbers" else values.dtype == torch.bool
        if is_kind and all(size in (-1, actual) for size, actual in zip(shape, values.shape, strict=True)):
            return values
    returned = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, torch.Tensor) else shown(values)
    sizes = ", ".join("any" if size < 0 else f"{size}" for size in shape)
    raise PluginError(
        f"{source} must return {expected}, shape ({sizes}{',' * (len(shape) == 1)}); it returned {returned}"
    )
