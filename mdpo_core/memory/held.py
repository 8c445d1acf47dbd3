"""The bytes that live tensors hold while code runs, as a GPU's allocator would count them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_BLOCK = 512  # bytes: torch's allocator for CUDA rounds every tensor up to them


@dataclass
class Span:
    """A stretch of the computation: bytes held ``before`` and ``after`` it, and the ``peak`` in it."""

    before: int
    peak: int
    after: int = 0


class HeldBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Counts the storages of all tensors that operators make inside its ``with``, each until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.now = 0
        self._known: dict[int, weakref.ref[Any]] = {}
        self._spans: list[Span] = []

    def add(self, tensors: Iterable[Any]) -> None:
        """Count tensors that were made before, such as weights."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                self._add(tensor)
        for span in self._spans:
            span.peak = max(span.peak, self.now)

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = -(-storage.nbytes() // _BLOCK) * _BLOCK

        def freed(_: object) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, freed)
        self.now += size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.add([made] if isinstance(made, Tensor) else tree_leaves(made))
        return made

    @contextmanager
    def span(self) -> Iterator[Span]:
        """Measure what runs inside it; spans may lie within spans."""
        span = Span(self.now, self.now)
        self._spans.append(span)
        try:
            yield span
        finally:
            self._spans.remove(span)
            span.after = self.now
