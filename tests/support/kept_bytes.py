"""Counts the memory that autograd keeps from a forward until its backward."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorages(TorchDispatchMode):
    """``num_bytes``: the sizes of all storages that operators inside the block have made and that still exist.

    ``peak_bytes``: the largest that this was. Storages on the meta device have no bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self.peak_bytes = 0

    @property
    def num_bytes(self) -> int:
        return sum(self._sizes.values())

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        made = operator(*arguments, **(options or {}))
        # Views of what operators were given are not new.
        given = {storage._cdata for storage in _storages((arguments, options))}
        for storage in _storages(made):
            address = storage._cdata
            if address not in given and address not in self._sizes and storage.device.type != "meta":
                self._sizes[address] = storage.nbytes()
                weakref.finalize(storage, self._sizes.pop, address)
        self.peak_bytes = max(self.peak_bytes, self.num_bytes)
        return made


def _storages(tree: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def kept_bytes(forward: Callable[[Tensor], object], x: Tensor) -> int:
    """What is alive after a forward, its output included. A forward before it fills caches."""
    forward(x)
    with LiveStorages() as storages:
        output = forward(x)
        kept = storages.num_bytes
    del output
    return kept
