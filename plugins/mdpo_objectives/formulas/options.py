"""Check options that go together, and use those that may have a number for each row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdpo_core import Term

if TYPE_CHECKING:
    from torch import Tensor


def require_default(term: Term, option: str, message: str) -> None:
    """Raise `ValueError` unless ``option`` has its default. Saved recipes contain defaults, so those are allowed."""
    if getattr(term, option) != type(term).model_fields[option].default:
        raise ValueError(message)


def is_always(number: float, option: object) -> bool:
    """Whether an option has this number for all rows; false for an option that differs by row."""
    return isinstance(option, (int, float)) and option == number


def per_token(option: float | Tensor) -> float | Tensor:
    """An option as a factor of tokens ``(batch, time)``."""
    return option if isinstance(option, (int, float)) else option[:, None]


def log(option: float | Tensor) -> float | Tensor:
    """The natural logarithm of an option."""
    return math.log(option) if isinstance(option, (int, float)) else option.log()


def log1p(option: float | Tensor) -> float | Tensor:
    """``log(1 + option)``, exact near 0."""
    return math.log1p(option) if isinstance(option, (int, float)) else option.log1p()
