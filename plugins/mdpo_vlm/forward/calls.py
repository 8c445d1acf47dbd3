"""Modules that do more than their forward in a call of theirs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn


def open_calls(module: nn.Module) -> None:
    """Let calls of a module take ``compute``: they then give ``compute(forward, *inputs)``.

    Backends that keep weights in parts put those of a module together for the time of a call. Their hooks see one,
    however often ``compute`` uses ``forward``, or other methods. The module is changed for good.
    """
    module.forward = partial(_forward, module.forward)


def _forward(
    forward: Callable[..., Any], *inputs: Any, compute: Callable[..., Any] | None = None, **options: Any
) -> Any:
    return forward(*inputs, **options) if compute is None else compute(forward, *inputs)
