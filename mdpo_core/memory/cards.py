"""Memory of graphics cards, and what a card needs beside the tensors."""

from __future__ import annotations

import difflib
import re
from itertools import pairwise

from mdpo_core.errors import RecipeError

# GB (1e9 bytes) by the makers' data sheets, without spaces and dashes; of cards that exist in several sizes, the usual
# one. A card with error correction has a little less, so fits are decided with room to spare.
CARDS = {
    "t4": 16,
    "p100": 16,
    "v100": 32,
    "rtx3090": 24,
    "rtx4090": 24,
    "rtx5090": 32,
    "rtx6000": 48,
    "a10": 24,
    "a10g": 24,
    "a30": 24,
    "a40": 48,
    "a5000": 24,
    "a6000": 48,
    "l4": 24,
    "l40": 48,
    "l40s": 48,
    "a100": 80,
    "a800": 80,
    "h20": 96,
    "h100": 80,
    "h800": 80,
    "gh200": 96,
    "h200": 141,
    "b200": 180,
    "mi250": 128,
    "mi300x": 192,
    "mi325x": 256,
}
FRAGMENTS = 1.06  # torch's allocator with expandable segments
CONTEXT = 1e9  # bytes of CUDA's context and libraries
_LARGEST = 10_000  # GB
_GIGABYTES = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(?:gb?)?", re.ASCII)


def card_memory(text: str) -> float:
    """The bytes of a card, given in GB or by name: ``80``, ``H100``, ``a100-40``, ``NVIDIA A100-SXM4-80GB``.

    Raises `RecipeError`.
    """
    words = re.sub(r"(?<=[0-9]) +(?=gb?\b)", "", text.lower()).replace("-", " ").replace("_", " ").split()
    card = next((joined for joined in _joined(words) if joined in CARDS), None)
    sizes = [size for word in words if (size := _gigabytes(word)) and (card is None or word not in card)]
    if card is not None:
        return (sizes[-1] if sizes else CARDS[card]) * 1e9
    if len(words) == 1 and sizes and text[:1] != "-":
        return sizes[0] * 1e9
    name = "".join(words).removeprefix("nvidia")
    close = difflib.get_close_matches(name, CARDS, 1)
    meant = f"; did you mean {close[0]}, which has {CARDS[close[0]]} GB?" if close else "."
    raise RecipeError(
        f"--gpu: the card {text!r} is not known{meant} Give its memory in GB, for example --gpu 80, or one of "
        f"{', '.join(CARDS)}"
    )


def _joined(words: list[str]) -> list[str]:
    """Words that may name a card: two side by side, then each."""
    return [*(one + other for one, other in pairwise(words)), *words]


def _gigabytes(word: str) -> float | None:
    number = _GIGABYTES.fullmatch(word)
    size = float(number[1]) if number else 0
    return size if 0 < size <= _LARGEST else None


def needed_card(tensors: float) -> float:
    """The memory that a card must have, in bytes, for ``tensors`` bytes of tensors."""
    return tensors * FRAGMENTS + CONTEXT
