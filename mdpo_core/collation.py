"""Encoded rows side by side: every distinct image once, every view with a digest of what a model sees of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mdpo_core.batch import Batch, EncodedPrompt, ImageInputs
from mdpo_core.view import View

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EncodedRow:
    """One row under every condition, before it is put into a batch.

    ``applies``, ``text_starts`` and ``turns`` are as in `Batch`; ``turns`` of those responses that are conversations.
    """

    id: str
    prompts: Mapping[str, EncodedPrompt]
    responses: Mapping[str, Tensor]
    columns: Mapping[str, float]
    applies: bool
    text_starts: Mapping[str, int] = field(default_factory=dict)
    turns: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def pictures(self) -> Mapping[str, tuple[bytes, ...]]:
        """Digests of each condition's images."""
        return {condition: tuple(map(_digest, prompt.images)) for condition, prompt in self.prompts.items()}

    def digest(self, view: View) -> bytes:
        """Of everything that a model sees of a view: token ids and image inputs."""
        prompt, response = self.prompts[view.condition], self.responses[view.response]
        found = hashlib.sha256(b"".join(self.pictures[view.condition]))
        for ids in (prompt.token_ids, response):
            found.update(len(ids).to_bytes(8, "little") + _bytes(ids))
        # What few rows have adds nothing to the digests of the others.
        if prompt.hidden is not None:
            found.update(b"hidden" + _bytes(prompt.hidden))
        if view.response in self.turns:
            found.update(b"turns" + _bytes(self.turns[view.response]))
        if view.with_prompt:
            found.update(b"text" + self.text_starts[view.condition].to_bytes(8, "little"))
        return found.digest()


def collate(rows: Sequence[EncodedRow], views: Iterable[View]) -> Batch:
    """Put encoded rows side by side."""
    import torch

    conditions, names = rows[0].prompts, rows[0].responses
    distinct: dict[bytes, ImageInputs] = {}
    for row in rows:
        for condition, prompt in row.prompts.items():
            distinct |= zip(row.pictures[condition], prompt.images, strict=True)
    place = {digest: number for number, digest in enumerate(distinct)}
    return Batch(
        ids=tuple(row.id for row in rows),
        prompts={condition: tuple(row.prompts[condition].token_ids for row in rows) for condition in conditions},
        responses={name: tuple(row.responses[name] for row in rows) for name in names},
        pictures={
            condition: tuple(tuple(place[digest] for digest in row.pictures[condition]) for row in rows)
            for condition in conditions
        },
        images=tuple(distinct.values()),
        digests={view: tuple(row.digest(view) for row in rows) for view in views},
        columns={name: torch.tensor([row.columns[name] for row in rows]) for name in rows[0].columns},
        applies=torch.tensor([row.applies for row in rows]),
        text_starts={condition: tuple(row.text_starts[condition] for row in rows) for condition in rows[0].text_starts},
        turns={name: tuple(_turns(row, name) for row in rows) for name in dict.fromkeys(_with_turns(rows))},
        hidden={
            condition: tuple(row.prompts[condition].hidden for row in rows)
            for condition in conditions
            if any(row.prompts[condition].hidden is not None for row in rows)
        },
    )


def _with_turns(rows: Sequence[EncodedRow]) -> Iterator[str]:
    return (name for row in rows for name in row.turns)


def _turns(row: EncodedRow, name: str) -> Tensor:
    return row.turns[name] if name in row.turns else row.responses[name].new_ones(len(row.responses[name]))


def _digest(image: ImageInputs) -> bytes:
    found = hashlib.sha256()
    for name, values in sorted(image.items()):
        found.update(f"{name}{tuple(values.shape)}{values.dtype}".encode() + _bytes(values))
    return found.digest()


def _bytes(values: Tensor) -> bytes:
    import torch

    return values.contiguous().view(torch.uint8).numpy().tobytes()
