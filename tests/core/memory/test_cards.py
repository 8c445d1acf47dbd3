"""The memory of cards, by name and in GB."""

from __future__ import annotations

import pytest

from mdpo_core import RecipeError
from mdpo_core.memory.cards import CARDS, card_memory, needed_card


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [
        ("80", 80),
        ("24GB", 24),
        ("23.5 gb", 23.5),
        ("H100", 80),
        ("NVIDIA H200", 141),
        ("rtx 4090", 24),
        ("rtx-4090", 24),
        ("L40S", 48),
        ("a100-40", 40),
        ("A100 40 GB", 40),
        ("v100-16gb", 16),
        # As nvidia-smi prints them.
        ("NVIDIA A100-SXM4-80GB", 80),
        ("NVIDIA A100-PCIE-40GB", 40),
        ("Tesla V100-SXM2-16GB", 16),
        ("NVIDIA GeForce RTX 4090", 24),
        ("NVIDIA H100 80GB HBM3", 80),
        ("NVIDIA RTX A6000", 48),
    ],
)
def test_a_card_is_a_name_or_a_number_of_gigabytes(text: str, gigabytes: float) -> None:
    assert card_memory(text) == gigabytes * 1e9


@pytest.mark.parametrize(
    "text",
    ["", "0", "-80", "nan", "inf", "80 TB", "gpu", "H1000", "99999999", "rtx a1000", "80 90", "1e3", "\uff18\uff10"],
)
def test_a_card_that_nobody_knows_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--gpu 80"):
        card_memory(text)


def test_a_misspelled_card_is_suggested() -> None:
    with pytest.raises(RecipeError, match="did you mean rtx4090"):
        card_memory("rtx4009")


def test_a_card_needs_more_than_the_tensors() -> None:
    assert needed_card(10e9) > 10e9
    assert all(needed_card(0) < size * 1e9 for size in CARDS.values())
