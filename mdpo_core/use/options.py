"""The options of an answer and of its device, checked before a model is loaded."""

from __future__ import annotations

import math

from mdpo_core.errors import DataError, RecipeError, first_line


def require_options(max_new_tokens: int, temperature: float, top_p: float) -> None:
    """Raise `DataError` unless a model can write an answer with these options."""
    if max_new_tokens < 1:
        raise DataError(f"max_new_tokens must be a whole number above 0, found {max_new_tokens}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise DataError(f"temperature must be 0 or more, found {temperature:g}; 0 takes the likeliest token each time")
    if not 0 < top_p <= 1:
        raise DataError(f"top_p must be above 0 and at most 1, found {top_p:g}")


def require_device(device: str) -> None:
    """Raise `RecipeError` unless torch has this device, such as ``cuda:1``, on this machine."""
    import torch

    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise _refused(device, f"torch does not know this device ({first_line(error)})") from error
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        raise _refused(device, f"this torch ({torch.__version__}) has no CUDA")
    try:
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _refused(device, f"torch does not find this device here ({first_line(error)})") from error


def _refused(device: str, reason: str) -> RecipeError:
    return RecipeError(
        f"device={device!r}: {reason}; leave device out, and a GPU is used if there is one, else the CPU"
    )
