"""Sort rows by the similarity of their images, from perceptual hashes or from embeddings in the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mdpo_core import DataError, Example, Problem

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Hashes = Sequence[tuple[int, ...]]
Result = TypeVar("Result")

_WIDTH, _HEIGHT = 8, 8
_MOST_REMEMBERED = 4
_memory: list[tuple[Sequence[Example], str, Any]] = []


def by_similarity(example: Example, data: Sequence[Example], indices: Sequence[int]) -> list[int]:
    """The rows with as many images as the example, most similar first; equally similar rows stay in order.

    Only the images at ``indices`` are compared.
    """
    own = {index: difference_hash(example.images[index]) for index in indices}
    hashes = _remembered(data, "", _hashes)

    def distance(row: int) -> int:
        return sum((hashes[row][index] ^ own_hash).bit_count() for index, own_hash in own.items())

    rows = (row for row, of_images in enumerate(hashes) if len(of_images) == len(example.images))
    return sorted(rows, key=distance)


def difference_hash(image: Image) -> int:
    """A hash of 64 bits (dHash); the hashes of similar images differ in few bits.

    Each bit says whether one of 8 x 8 areas is lighter than its right neighbour.
    """
    from PIL.Image import Resampling

    levels = image.convert("L").resize((_WIDTH + 1, _HEIGHT), Resampling.BOX).tobytes()
    indices = (row * (_WIDTH + 1) + column for row in range(_HEIGHT) for column in range(_WIDTH))
    return sum((levels[index] > levels[index + 1]) << bit for bit, index in enumerate(indices))


def _hashes(data: Sequence[Example]) -> Hashes:
    """The hashes of the images of each row."""
    return [tuple(map(difference_hash, row.images)) for row in data]


def by_cosine(example: Example, data: Sequence[Example], name: str) -> list[int]:
    """The rows with a vector of that name, highest cosine first; rows with equal cosines stay in order."""
    rows, directions = _remembered(data, name, lambda data: _directions(data, name))
    direction = _direction(example, name)
    if not rows:
        return []
    if len(direction) != directions.shape[1]:
        raise _vector_error(example, name, f"has {len(direction)} numbers, but other rows have {directions.shape[1]}")
    order = (directions @ direction).argsort(descending=True, stable=True)
    return [rows[index] for index in order.tolist()]


def _directions(data: Sequence[Example], name: str) -> tuple[list[int], Tensor]:
    """The rows that have a vector, and their vectors scaled to length 1, ``(rows, length)``."""
    import torch

    rows: list[int] = []
    directions: list[Tensor] = []
    for row, example in enumerate(data):
        if example.vectors.get(name):
            rows.append(row)
            directions.append(_direction(example, name))
            if len(directions[-1]) != len(directions[0]):
                message = f"has {len(directions[-1])} numbers, but earlier rows have {len(directions[0])}"
                raise _vector_error(example, name, message)
    return rows, torch.stack(directions) if rows else torch.empty(0, 0)


def _direction(example: Example, name: str) -> Tensor:
    import torch

    vector = torch.tensor(example.vectors[name], dtype=torch.float64)
    norm = vector.norm()
    if not norm > 0:
        raise _vector_error(example, name, "contains only zeros, so it has no direction")
    direction: Tensor = vector / norm
    return direction


def _vector_error(example: Example, name: str, message: str) -> DataError:
    return DataError([Problem(f"example '{example.id}'", "", f"the vector '{name}' {message}")])


def _remembered(data: Sequence[Example], name: str, compute: Callable[[Sequence[Example]], Result]) -> Result:
    """The result of ``compute(data)``, which is stored under ``name``; only the last few results are kept.

    A result is stored because it takes a pass over all rows.
    """
    keys = ((known_data, known_name) for known_data, known_name, _ in _memory)
    index = next((index for index, (known, key) in enumerate(keys) if known is data and key == name), None)
    _memory.append((data, name, compute(data)) if index is None else _memory.pop(index))
    del _memory[:-_MOST_REMEMBERED]
    result: Result = _memory[-1][2]
    return result
