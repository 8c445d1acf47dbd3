"""The language-model head, open to more than one product a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

Head = Callable[[Tensor], Tensor]


def open_head(module: nn.Module) -> None:
    """Let calls of the head take ``compute``: they then give ``compute(head, hidden_states)``.

    Whatever hooks a backend puts around the call see one, however often ``head`` is used. The module is changed for
    good.
    """
    module.forward = partial(_forward, module.forward)


def _forward(head: Head, hidden_states: Tensor, compute: Callable[[Head, Tensor], Tensor] | None = None) -> Tensor:
    return head(hidden_states) if compute is None else compute(head, hidden_states)
