"""Calling a plugin's code, and checking what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from mdpo_core.errors import PluginError, blame_on, shown
from mdpo_core.types.declared import Undeclared

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.interfaces.term import Term
    from mdpo_core.types.scores import Scores

Value = TypeVar("Value")
# What torch says of a tensor that nothing trains.
NO_GRADIENT = "does not require grad"


def call_plugin(source: str, compute: Callable[[], Value]) -> Value:
    """The result of ``compute``, which is code of a plugin; errors name ``source``, as in "term 'dpo' (DPO)".

    Raises `PluginError` if the code reads what its term did not declare. Other errors get a note and pass through.
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
            f"{source} asks for a gradient that is not there: the reference's log-probs have none"
        ) from error


def check_columns(term: Term, scores: Scores) -> None:
    """Call a term's `check_columns` with scores that hold only columns; it must return nothing."""
    source = f"check_columns() of {type(term).__name__}"
    answer: object = call_plugin(source, lambda: term.check_columns(scores))
    if answer is not None:
        raise PluginError(f"{source} must raise DataError, or return nothing; it returned {shown(answer)}")


def require_tensor(
    source: str, values: object, expected: str, shape: Sequence[int], kind: Literal["numbers", "bools"] = "numbers"
) -> Tensor:
    """``values`` if they are a tensor of ``shape`` of floating point ``numbers`` or of ``bools``, else `PluginError`.

    ``source``: whose code returned them. ``expected``: what was expected, such as "one number a pair". A size of -1 in
    ``shape`` allows any size.
    """
    import torch

    if isinstance(values, torch.Tensor) and len(values.shape) == len(shape):
        is_kind = values.is_floating_point() if kind == "numbers" else values.dtype == torch.bool
        if is_kind and all(size in (-1, found) for size, found in zip(shape, values.shape, strict=True)):
            return values
    found = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, torch.Tensor) else shown(values)
    sizes = ", ".join("any" if size < 0 else f"{size}" for size in shape)
    raise PluginError(f"{source} must return {expected}, shape ({sizes}{',' * (len(shape) == 1)}); it returned {found}")
