"""Which images look alike: perceptual hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdpo_core import Example

if TYPE_CHECKING:
    from PIL.Image import Image

Hashes = Sequence[tuple[int, ...]]

_WIDTH, _HEIGHT = 8, 8
_KEPT = 4
_kept: list[tuple[Sequence[Example], Hashes]] = []


def by_similarity(example: Example, data: Sequence[Example], places: Sequence[int]) -> list[int]:
    """Rows with as many images, the most similar at some places first; of equally similar ones the earlier."""
    own = {place: difference_hash(example.images[place]) for place in places}
    hashes = _hashes(data)

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
    """Those of all images of all rows; the data last asked for are remembered, since their images have to be read."""
    place = next((place for place, (known, _) in enumerate(_kept) if known is data), None)
    if place is None:
        _kept.append((data, [tuple(map(difference_hash, row.images)) for row in data]))
        del _kept[:-_KEPT]
    else:
        _kept.append(_kept.pop(place))
    return _kept[-1][1]
