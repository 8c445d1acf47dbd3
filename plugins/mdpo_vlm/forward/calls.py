"""Calls of a module that run other code than its forward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn


def open_calls(module: nn.Module) -> None:
    """Let calls of a module take an argument ``compute``: they then return ``compute(forward, *inputs)``.

    Backends that shard weights gather those of a module for the duration of a call. Their hooks see one call, even if
    ``compute`` uses ``forward`` several times, or other methods of the module. This changes the module permanently.
    """
    module.forward = partial(_forward, module.forward)


def _forward(
    forward: Callable[..., Any], *inputs: Any, compute: Callable[..., Any] | None = None, **options: Any
) -> Any:
    return forward(*inputs, **options) if compute is None else compute(forward, *inputs)
