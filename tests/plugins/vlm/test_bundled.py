"""Models that come with a plugin: what their adapter leaves to LLaVA's, and that their files are those of the code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mdpo_digits.pretrain
import mdpo_scenes.building
import pytest
from mdpo_digits import DigitsAdapter
from mdpo_llava import Llava
from mdpo_scenes import ScenesAdapter
from mdpo_vlm import BundledAdapter, TinyLlava

from mdpo_core import ModelAdapter

# What is about options that it does not have, such as the path of the model.
_NOT_ASKED = {"beside_lora", "in_full", "only_training", "summarize", "unquantized", "without_kernels"}
_BUILT = [
    (DigitsAdapter, mdpo_digits.pretrain.SIZES, mdpo_digits.pretrain.build_processor),
    (ScenesAdapter, mdpo_scenes.building.SIZES, mdpo_scenes.building.build_processor),
]


def test_it_leaves_to_llava_all_that_llava_does_in_its_own_way() -> None:
    classes = Llava.__mro__[: Llava.__mro__.index(ModelAdapter)]
    in_its_own_way = {name for name in vars(ModelAdapter) if name[0] != "_" and any(name in vars(c) for c in classes)}
    assert {"encoder", "files", "load"} <= in_its_own_way
    assert in_its_own_way - vars(BundledAdapter).keys() == _NOT_ASKED


@pytest.mark.parametrize("adapter", [DigitsAdapter, ScenesAdapter])
def test_it_knows_the_longest_sequence_of_its_model(adapter: type[BundledAdapter]) -> None:
    """A longer row is bad; the model has never seen such positions."""
    assert adapter().max_positions == 128


@pytest.mark.parametrize(("adapter", "sizes", "build_processor"), _BUILT)
def test_the_shipped_files_are_those_that_the_code_builds(
    adapter: type[BundledAdapter], sizes: TinyLlava, build_processor: Callable[[], Any], tmp_path: Path
) -> None:
    """All but the weights, which take training."""
    processor = build_processor()
    processor.save_pretrained(tmp_path)
    sizes.model(processor).save_pretrained(tmp_path)
    shipped = {file.name for file in adapter.base.iterdir()}
    assert shipped == {file.name for file in tmp_path.iterdir()}
    for name in shipped - {"model.safetensors"}:
        assert _without_version(adapter.base / name) == _without_version(tmp_path / name), name


def _without_version(file: Path) -> Any:
    content = json.loads(file.read_text())
    content.pop("transformers_version", None)
    return content
