"""Which images look alike: by perceptual hashes, or by embeddings that rows bring along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mdpo_core import DataError, Example, Problem

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Hashes = Sequence[tuple[int, ...]]
Found = TypeVar("Found")

_WIDTH, _HEIGHT = 8, 8
_MOST_REMEMBERED = 4
_memory: list[tuple[Sequence[Example], str, Any]] = []


def by_similarity(example: Example, data: Sequence[Example], places: Sequence[int]) -> list[int]:
    """Rows with as many images, sorted: most similar at ``places`` first, and of equally similar rows the earlier."""
    own = {place: difference_hash(example.images[place]) for place in places}
    hashes = _remembered(data, "", _hashes)

    def distance(row: int) -> int:
        return sum((hashes[row][place] ^ wanted).bit_count() for place, wanted in own.items())

    return sorted((row for row, found in enumerate(hashes) if len(found) == len(example.images)), key=distance)


def difference_hash(image: Image) -> int:
    """64 bits: which of 8 x 8 places are lighter than their right neighbours (dHash). Alike images differ in few."""
    from PIL.Image import Resampling

    levels = image.convert("L").resize((_WIDTH + 1, _HEIGHT), Resampling.BOX).tobytes()
    places = (row * (_WIDTH + 1) + column for row in range(_HEIGHT) for column in range(_WIDTH))
    return sum((levels[place] > levels[place + 1]) << bit for bit, place in enumerate(places))


def _hashes(data: Sequence[Example]) -> Hashes:
    """The hash of each image of each row."""
    return [tuple(map(difference_hash, row.images)) for row in data]


def by_cosine(example: Example, data: Sequence[Example], name: str) -> list[int]:
    """Rows with a vector of that name, sorted: the nearest direction first, and of equally near rows the earlier."""
    rows, directions = _remembered(data, name, lambda data: _directions(data, name))
    own = _direction(example, name)
    if not rows:
        return []
    if len(own) != directions.shape[1]:
        raise _vector_error(example, name, f"has {len(own)} numbers, and those of other rows {directions.shape[1]}")
    order = (directions @ own).argsort(descending=True, stable=True)
    return [rows[place] for place in order.tolist()]


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
                text = f"has {len(directions[-1])} numbers, and those before have {len(directions[0])}"
                raise _vector_error(example, name, text)
    return rows, torch.stack(directions) if rows else torch.empty(0, 0)


def _direction(example: Example, name: str) -> Tensor:
    import torch

    vector = torch.tensor(example.vectors[name], dtype=torch.float64)
    norm = vector.norm()
    if not norm > 0:
        raise _vector_error(example, name, "is zero, which has no direction")
    direction: Tensor = vector / norm
    return direction


def _vector_error(example: Example, name: str, text: str) -> DataError:
    return DataError([Problem(f"example '{example.id}'", "", f"the vector '{name}' {text}")])


def _remembered(data: Sequence[Example], name: str, found: Callable[[Sequence[Example]], Found]) -> Found:
    """What ``found`` gives for the data; the last results are kept, since each needs all images to be read."""
    place = next((place for place, (known, what, _) in enumerate(_memory) if known is data and what == name), None)
    _memory.append((data, name, found(data)) if place is None else _memory.pop(place))
    del _memory[:-_MOST_REMEMBERED]
    result: Found = _memory[-1][2]
    return result
