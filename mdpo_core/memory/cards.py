"""Memory of graphics cards, and what a card needs beside the tensors."""

from __future__ import annotations

import difflib
import re

from mdpo_core.errors import RecipeError

# GB (1e9 bytes) by the makers' data sheets. A card with error correction has a little less, so fits are decided with
# room to spare.
CARDS = {
    "t4": 16,
    "v100": 32,
    "rtx3090": 24,
    "rtx4090": 24,
    "rtx5090": 32,
    "a10": 24,
    "l4": 24,
    "a40": 48,
    "a6000": 48,
    "l40s": 48,
    "a100": 80,
    "h100": 80,
    "h200": 141,
    "b200": 180,
    "mi300x": 192,
}
FRAGMENTS = 1.06  # torch's allocator with expandable segments
CONTEXT = 1e9  # bytes of CUDA's context and libraries
_LARGEST = 10_000  # GB


def card_memory(text: str) -> float:
    """The bytes of a card, given in GB or by name, such as ``80`` or ``H100``. Raises `RecipeError`."""
    name = re.sub(r"[^a-z0-9]", "", text.lower().removeprefix("nvidia"))
    if name in CARDS:
        return CARDS[name] * 1e9
    number = re.fullmatch(r"([0-9]{1,6}(\.[0-9]{1,6})?) ?(gb)?", text.lower().strip())
    if number and 0 < float(number[1]) <= _LARGEST:
        return float(number[1]) * 1e9
    close = difflib.get_close_matches(name, CARDS, 1)
    meant = f"; did you mean {close[0]}, which has {CARDS[close[0]]} GB?" if close else "."
    raise RecipeError(
        f"--gpu: the card {text!r} is not known{meant} Give its memory in GB, for example --gpu 80, or one of "
        f"{', '.join(CARDS)}"
    )


def needed_card(tensors: float) -> float:
    """The memory that a card must have, in bytes, for ``tensors`` bytes of tensors."""
    return tensors * FRAGMENTS + CONTEXT
