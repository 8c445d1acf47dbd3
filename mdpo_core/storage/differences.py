"""The values in which two nested mappings differ, as lines of a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], counts: Callable[[str], bool] = lambda key: True
) -> list[str]:
    """One line for each value that differs, by its path: ``train.seed: 0 there, 1 here``.

    Only paths for which ``counts(path)`` is true are compared.
    """
    old, new = dict(_leaves(there, ())), dict(_leaves(here, ()))
    return [
        f"{key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} here"
        for key in sorted(old.keys() | new.keys())
        if counts(key) and old.get(key) != new.get(key)
    ]


def _leaves(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield ".".join(keys), value
        return
    for key, item in items:
        yield from _leaves(item, (*keys, str(key)))
