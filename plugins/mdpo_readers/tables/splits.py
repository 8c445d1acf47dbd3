"""Splits and slices of them: ``train``, ``train[:10%]``, ``train[100:200]``."""

from __future__ import annotations

import re
from typing import NamedTuple

_SLICE = re.compile(r"([^\[\]]+)\[(-?\d+%?)?:(-?\d+%?)?\]", re.ASCII)


class Split(NamedTuple):
    """A split, and the ends of a slice of it as they are written; None: there is none."""

    name: str
    start: str | None = None
    stop: str | None = None

    @classmethod
    def of(cls, written: str) -> Split:
        """The split that is written. Raises `ValueError`."""
        found = _SLICE.fullmatch(written.strip())
        if found and not any(_is_too_much(end) for end in found.groups()[1:]):
            return cls(found[1].strip(), found[2], found[3])
        if not written.strip() or "[" in written or "]" in written:
            raise ValueError("must be a split, such as train, or a slice, such as train[:10%] or train[100:200]")
        return cls(written.strip())

    def rows(self, count: int) -> range:
        """The rows of the slice among ``count`` rows; a share is rounded to the nearest row."""
        start = 0 if self.start is None else _number(self.start, count)
        stop = count if self.stop is None else _number(self.stop, count)
        return range(count)[start:stop]


def _number(written: str, count: int) -> int:
    if not written.endswith("%"):
        return int(written)
    return round(int(written[:-1]) * count / 100)


def _is_too_much(written: str | None) -> bool:
    return written is not None and written.endswith("%") and abs(int(written[:-1])) > 100
