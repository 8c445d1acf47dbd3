"""Mappings that plugins are told, and cannot change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class ReadOnly(dict[str, Any]):
    """A copy of a mapping, with the mappings in it, that raises `TypeError` when it is changed.

    It is a ``dict``, so that ``json.dumps`` takes it; ``dict(told)`` is a copy that can be changed.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__({key: ReadOnly(value) if isinstance(value, Mapping) else value for key, value in told.items()})

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a plugin cannot change what it is told; change a copy: dict(metrics)")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)
