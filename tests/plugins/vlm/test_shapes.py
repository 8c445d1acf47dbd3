"""What a configuration says of a model, before its weights are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from mdpo_vlm.loading.shapes import depth_of
from support.builders.published_sizes import PUBLISHED, write_folder

from mdpo_core import Depth


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("LLaVA-1.5 7B", Depth(32)),
        ("Qwen3-VL 8B", Depth(36, special=3)),
        ("Gemma 3 12B", Depth(48, 6)),
        ("Qwen3.5 9B", Depth(32, 4)),
        ("Gemma 4 E4B", Depth(42, 42)),  # the last 18 layers take keys and values from others: nothing repeats
    ],
)
def test_depth_says_after_how_many_layers_their_kinds_repeat(model: str, expected: Depth, tmp_path: Path) -> None:
    assert depth_of(write_folder(PUBLISHED[model], tmp_path / "model")) == expected
