"""Stores the cached reference on the disk: shards of token log-probs, their digests, and their key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.errors import CheckpointError
from mdpo_core.storage.differences import differences
from mdpo_core.storage.files import atomic_write
from mdpo_core.types.view import View

if TYPE_CHECKING:
    from torch import Tensor

# The stage of the reference pass for listeners. The first call tells how many rows the store already holds.
CACHING = "caching the reference"
INDEX = "cache.json"
ELSEWHERE = "choose another folder with output.reference, or remove this one to compute it again"


@dataclass(frozen=True, eq=False)
class CachedView:
    """The log-probs of one view for some rows, concatenated.

    ``values``: ``(tokens,)`` float32, nats. ``lengths``: ``(rows,)`` int64. ``digests``: ``(rows, 32)`` uint8, of the
    model's input for each row.
    """

    values: Tensor
    lengths: Tensor
    digests: Tensor

    def log_probs(self, row: int) -> Tensor:
        """Log-probs of one row, ``(time,)``, nats."""
        end = self._ends[row]
        return self.values[end - int(self.lengths[row]) : end]

    def digest(self, row: int) -> bytes:
        """The digest of the model's input for one row."""
        return self.digests[row].numpy().tobytes()

    @cached_property
    def _ends(self) -> list[int]:
        ends: list[int] = self.lengths.cumsum(0).tolist()
        return ends


@dataclass(frozen=True, eq=False)
class Shard:
    """Log-probs of some rows under the views of a group; ``ids`` are the rows' ids, in order."""

    ids: Sequence[str]
    views: Mapping[View, CachedView]

    def to_bytes(self) -> bytes:
        """The content of the shard's file."""
        import torch
        from safetensors.torch import save

        tensors = {"ids": torch.frombuffer(bytearray(json.dumps(list(self.ids)).encode()), dtype=torch.uint8)}
        for view, rows in self.views.items():
            tensors |= {f"{view}:{name}": getattr(rows, name) for name in CachedView.__dataclass_fields__}
        content: bytes = save(tensors)
        return content

    @classmethod
    def from_bytes(cls, content: bytes, views: Sequence[View]) -> Shard:
        """Read a shard. Raises an error of one of many types if ``content`` is damaged or has other views."""
        from safetensors.torch import load

        tensors = load(content)
        ids = json.loads(tensors["ids"].numpy().tobytes())
        shard = cls(ids, {view: CachedView(*_parts(tensors, view)) for view in views})
        for rows in shard.views.values():
            shapes = [tuple(part.shape) for part in (rows.values, rows.lengths, rows.digests)]
            if shapes != [(int(rows.lengths.sum()),), (len(ids),), (len(ids), hashlib.sha256().digest_size)]:
                raise ValueError(f"shapes {shapes} for {len(ids)} rows")
        return shard


def _parts(tensors: Mapping[str, Tensor], view: View) -> list[Tensor]:
    return [tensors[f"{view}:{name}"] for name in CachedView.__dataclass_fields__]


@dataclass
class ReferenceStore:
    """The folder of a cached reference.

    ``key``: everything that its numbers depend on, as JSON values. ``cache.json`` holds the key and the digest of
    each finished shard. The store never removes a file; a shard whose file is removed counts as not computed.
    """

    folder: Path
    key: Mapping[str, Any]
    _digests: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Read the index, and write nothing. Raises `CheckpointError` for another key or a damaged index."""
        self._digests = {}
        if not self._index.is_file():
            self._require_empty()
            return
        try:
            index = json.loads(self._index.read_text())
            key, digests = dict(index["key"]), {str(name): str(digest) for name, digest in index["shards"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{self._index} is damaged ({type(error).__name__}: {error}); {ELSEWHERE}") from error
        different = differences(key, self.key)
        if different:
            raise CheckpointError(
                f"{self.folder} holds the reference of another model, data or precision; {ELSEWHERE}\n  "
                + "\n  ".join(different)
            )
        self._digests = digests

    def begin(self) -> None:
        """Check the folder; if it is empty, make it the store of this key."""
        self.check()
        if not self._index.is_file():
            self._write_index()

    def read(self, name: str, views: Sequence[View]) -> Shard | None:
        """A finished shard; None if it is not computed yet. Raises `CheckpointError` if it was changed."""
        path = self.folder / name
        if name not in self._digests or not path.is_file():
            return None
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self._digests[name]:
            raise CheckpointError(f"{path} differs from what was saved; remove this file to compute it again")
        return _parsed(content, views, path)

    def write(self, name: str, shard: Shard) -> None:
        """Save a shard, then its digest: after a kill in between, the shard counts as not computed."""
        content = shard.to_bytes()
        atomic_write(self.folder / name, content)
        self._digests[name] = hashlib.sha256(content).hexdigest()
        self._write_index()

    def _write_index(self) -> None:
        index = {"key": self.key, "shards": dict(sorted(self._digests.items()))}
        atomic_write(self._index, json.dumps(index, indent=2).encode() + b"\n")

    @property
    def _index(self) -> Path:
        return self.folder / INDEX

    def _require_empty(self) -> None:
        paths = self.folder.iterdir() if self.folder.is_dir() else [self.folder] if self.folder.exists() else []
        if any(not path.name.startswith(".") for path in paths):
            raise CheckpointError(
                f"{self.folder} is not empty and does not hold a cached reference ({INDEX} is missing); choose another "
                "folder with output.reference"
            )


def _parsed(content: bytes, views: Sequence[View], path: Path) -> Shard:
    from safetensors import SafetensorError

    try:
        return Shard.from_bytes(content, views)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove this file to compute it again"
        ) from error
