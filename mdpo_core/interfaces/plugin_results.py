"""Calls a plugin's code and checks what it returns. Errors name the plugin's component."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from mdpo_core.errors import PluginError, blame_on, shown
from mdpo_core.types.declared import Undeclared

if TYPE_CHECKING:
    from torch import Tensor


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
