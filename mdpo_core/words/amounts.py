"""Amounts in the words of messages: numbers of things, sizes of memory, and times."""

from __future__ import annotations

# Bytes: a size of at least so many is shown in this unit.
_UNITS = ((1e8, 1e9, "GB"), (1e5, 1e6, "MB"), (1.0, 1e3, "kB"))


def counted(number: int, one: str, many: str = "") -> str:
    """``1 row``, ``1,200 rows`` or ``2 processes``. ``many``: the plural of ``one``, where it is irregular."""
    plural = many or f"{one}{'es' if one.endswith('s') else 's'}"
    return f"{number:,} {one if number == 1 else plural}"


def memory_of(size: float) -> str:
    """A size in bytes: ``1.2 GB``; ``43 MB`` below 0.1 GB, and ``12 kB`` below 0.1 MB. A GB has 1e9 bytes."""
    for least, unit, name in _UNITS:
        if size >= least:
            return f"{size / unit:.1f} {name}" if size >= unit or name == "GB" else f"{size / unit:.2g} {name}"
    return "0 GB"


def duration(seconds: float) -> str:
    """``0.4 s``, ``42 s``, ``3 min 5 s`` or ``1 h 12 min``."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
