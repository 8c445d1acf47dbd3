"""Which processors of transformers need torchvision: the oracle is transformers, which has none here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.builders.small_vlms import build_vlm, every_family
from transformers import AutoProcessor

from mdpo_core import component


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("family", every_family())
def test_export_says_that_it_needs_torchvision_where_transformers_does(family: str, tmp_path: Path) -> None:
    folder = build_vlm(family, tmp_path / "model")
    said = component("adapter", "chat_vlm", path=str(folder)).needed_by_exports()  # type: ignore[attr-defined]
    try:
        AutoProcessor.from_pretrained(folder)
        refused = ""
    except (ImportError, ValueError) as error:
        refused = str(error).lower()
    except RecursionError:  # of LLaVA-NeXT-Video's: without torchvision, it looks for its video processor for ever
        refused = "torchvision"
    assert ("torchvision" in refused) == ('pip install "mdpo[torchvision]"' in said)
    assert bool(said) == bool(refused)
