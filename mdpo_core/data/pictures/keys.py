"""Which rows belong together: those that share a picture, and those without pictures that share a prompt."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdpo_core.types.example import Example, Prompt
from mdpo_core.types.stored_bytes import content_digest

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 16  # bytes of a key, of which the first one tells its kind
# Of a picture, of the prompt of a row without pictures, and of the prompt of a row with some.
_PICTURE, _PROMPT, _ASKED = b"i", b"p", b"q"


def keys_of(example: Example) -> bytes:
    """A key for each of the row's pictures, one after the other, and then one for its prompt.

    The keys of two rows are equal if and only if both show the same pictures under the same prompt.
    """
    pictures = [_key(_PICTURE, _content(image)) for image in example.images]
    return b"".join([*pictures, _key(_ASKED if pictures else _PROMPT, _words(example.prompt))])


def row_groups(keys: Sequence[bytes]) -> list[bytes]:
    """The name of each row's group: rows that share a picture, directly or through other rows, are in one group.

    So are rows without pictures that share the prompt. The name is the smallest key of the group, so it does not depend
    on the order of the rows.
    """
    parents: dict[bytes, bytes] = {}
    for of_row in keys:
        for start in range(SIZE, len(of_row), SIZE):
            key = of_row[start : start + SIZE]
            if key.startswith(_ASKED):
                continue
            one, other = _root(of_row[:SIZE], parents), _root(key, parents)
            if one != other:
                parents[max(one, other)] = min(one, other)
    return [_root(of_row[:SIZE], parents) for of_row in keys]


def num_shared_pictures(keys: Sequence[bytes], others: Sequence[bytes]) -> int:
    """The number of different pictures that both have."""
    return len(_pictures(keys) & _pictures(others))


def warn_of_shared_pictures(keys: Sequence[bytes], held_out: Sequence[bytes]) -> None:
    """Tell how many pictures of ``held_out`` are also in the rows to train on, which have ``keys``."""
    shared = num_shared_pictures(keys, held_out)
    if shared:
        logging.getLogger(__name__).warning(
            "validation: %d of its pictures are also in the rows to train on, so what is measured on them may be what "
            "the model remembers",
            shared,
        )


def has_picture(keys: bytes) -> bool:
    """Whether a row with these keys has a picture."""
    return keys.startswith(_PICTURE)


def keys_of_pictures(keys: bytes) -> list[bytes]:
    """The keys of a row's pictures, among the keys of the row."""
    parts = (keys[start : start + SIZE] for start in range(0, len(keys), SIZE))
    return [key for key in parts if key.startswith(_PICTURE)]


def _pictures(keys: Sequence[bytes]) -> set[bytes]:
    return {key for of_row in keys for key in keys_of_pictures(of_row)}


def _root(key: bytes, parents: dict[bytes, bytes]) -> bytes:
    while key in parents:
        above = parents[key]
        parents[key] = parents.get(above, above)  # halves the way for the next search
        key = above
    return key


def _content(image: Image) -> bytes:
    return content_digest(image) or f"{image.mode}{image.size}".encode() + image.tobytes()


def _words(prompt: Prompt) -> bytes:
    texts = [prompt] if isinstance(prompt, str) else [f"{turn.role}: {turn.text}" for turn in prompt]
    return "\n".join(texts).encode("utf-8", "surrogatepass")


def _key(kind: bytes, content: bytes) -> bytes:
    return kind + hashlib.sha256(content).digest()[: SIZE - 1]
