"""What the code of terms gives, checked where it is called: plugins are free to write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from mdpo_core.declared import Undeclared
from mdpo_core.errors import PluginError, during, shown

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.scores import Scores
    from mdpo_core.terms import Term

Value = TypeVar("Value")
# What torch says of a tensor that nothing trains.
NO_GRADIENT = "does not require grad"


def given(who: str, compute: Callable[[], Value]) -> Value:
    """What ``who`` computes; `PluginError` if it reads what was not declared, and a note on its own errors."""
    try:
        with during(who):
            return compute()
    except Undeclared as error:
        raise PluginError(f"{who}: {error.args[0]}") from error
    except RuntimeError as error:
        if NO_GRADIENT not in str(error):
            raise
        raise PluginError(
            f"{who} asks for a gradient that is not there: the reference's log-probs have none"
        ) from error


def check_columns(term: Term, scores: Scores) -> None:
    """`Term.check_columns` of scores that hold columns alone."""
    who = f"check_columns() of {type(term).__name__}"
    answer: object = given(who, lambda: term.check_columns(scores))
    if answer is not None:
        raise PluginError(f"{who} must raise DataError, or return nothing; it returned {shown(answer)}")


def numbers(
    who: str, values: object, what: str, shape: Sequence[int], kind: Literal["numbers", "bools"] = "numbers"
) -> Tensor:
    """``values`` if they are a tensor of ``shape`` of floating point ``numbers`` or of ``bools``, else `PluginError`.

    ``what``: they are, in words, as in "one number a pair". -1 in ``shape`` is any size.
    """
    import torch

    if isinstance(values, torch.Tensor) and len(values.shape) == len(shape):
        is_kind = values.is_floating_point() if kind == "numbers" else values.dtype == torch.bool
        if is_kind and all(size in (-1, found) for size, found in zip(shape, values.shape, strict=True)):
            return values
    found = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, torch.Tensor) else shown(values)
    sizes = ", ".join("any" if size < 0 else f"{size}" for size in shape)
    raise PluginError(f"{who} must return {what}, shape ({sizes}{',' * (len(shape) == 1)}); it returned {found}")
