"""Makes a batch of encoded rows, with each distinct image once and a digest of the inputs of each view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mdpo_core.types.batch import Batch, EncodedRow, ImageInputs
from mdpo_core.types.view import View


def collate(rows: Sequence[EncodedRow], views: Iterable[View]) -> Batch:
    """The batch of some encoded rows."""
    images: dict[bytes, ImageInputs] = {}
    for row in rows:
        for condition, prompt in row.prompts.items():
            images |= zip(row.image_digests[condition], prompt.images, strict=True)
    index = {digest: index for index, digest in enumerate(images)}
    return Batch(
        rows=tuple(_with_shared_images(row, images) for row in rows),
        images=tuple(images.values()),
        image_indices=tuple(
            {condition: tuple(index[digest] for digest in digests) for condition, digests in row.image_digests.items()}
            for row in rows
        ),
        digests={view: tuple(row.digest(view) for row in rows) for view in views},
    )


def _with_shared_images(row: EncodedRow, images: Mapping[bytes, ImageInputs]) -> EncodedRow:
    """The row, with one object for equal images of all rows: it takes memory and travels to other processes once."""
    prompts = {
        condition: replace(prompt, images=tuple(images[digest] for digest in row.image_digests[condition]))
        for condition, prompt in row.prompts.items()
    }
    return replace(row, prompts=prompts)
