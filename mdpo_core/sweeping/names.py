"""The name of a run in a sweep: the options that differ, as the name of a directory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_LONGEST = 24  # letters of a value
_OTHER = re.compile(r"[^\w.+-]+")


def name_of(values: Mapping[str, Any]) -> str:
    """``beta=0.1,seed=2`` for the values by option; it depends on nothing else."""
    short = short_keys(list(values))
    return ",".join(f"{short[key]}={_word(value)}" for key, value in values.items())


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The end of each option's path that no other has: ``seed`` of ``train.seed``."""
    return {key: next((end for end in _ends(key) if _is_only(end, keys)), key) for key in keys}


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[start:]).replace("*", "all") for start in range(len(parts) - 1, -1, -1)]


def _is_only(end: str, keys: Sequence[str]) -> bool:
    return sum(f".{key}".replace("*", "all").endswith(f".{end}") for key in keys) <= 1 and not end.isdecimal()


def _word(value: Any) -> str:
    """A value in letters that names of files have. Where letters are lost, some of its digest follow."""
    text = value if isinstance(value, str) else json.dumps(value)
    word = _OTHER.sub("-", text).strip("-.")[-_LONGEST:]
    if word == text and not (isinstance(value, str) and _is_json(text)):
        return word
    return f"{word}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _is_json(text: str) -> bool:
    """Whether a text could be taken for a number, true, false or null."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
