"""Weights go straight to their device, tensor by tensor, with the numbers that they have on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_vlm.loading import pretrained
from torch import nn
from transformers import AutoModelForImageTextToText

from mdpo_core import Placement


class _Asked:
    """What transformers was asked for; it then reads the weights to the CPU, which every machine has."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self._read = AutoModelForImageTextToText.from_pretrained

    def from_pretrained(self, folder: Path, **options: Any) -> Any:
        self.options = options
        here = {"device_map": {"": "cpu"}} if "device_map" in options else {}
        return self._read(folder, **options | here)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> _Asked:
    asked = _Asked()
    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", asked.from_pretrained)
    # Where weights already are on their device, nothing moves them.
    monkeypatch.setattr(nn.Module, "to", lambda *arguments: pytest.fail(f"moved: {arguments[1:]}"))
    return asked


@pytest.mark.parametrize("device", ["cuda:1", "xpu:0", "cuda"])
def test_an_accelerator_s_weights_never_lie_in_main_memory(device: str, asked: _Asked, llava: Path) -> None:
    pretrained.read_weights(llava, Placement(device, "bfloat16"))
    assert asked.options["device_map"] == {"": torch.device(device)}


def test_on_a_cpu_nothing_changes(asked: _Asked, llava: Path) -> None:
    pretrained.read_weights(llava, Placement("cpu"))
    assert "device_map" not in asked.options


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_numbers_are_the_same_to_the_bit(dtype: Any, llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pretrained.read_weights(llava, Placement("cpu", dtype))
    asked = _Asked()
    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", asked.from_pretrained)
    placed = pretrained.read_weights(llava, Placement("cuda:1", dtype))
    assert asked.options["device_map"]
    tensors, wanted = (dict([*each.named_parameters(), *each.named_buffers()]) for each in (placed, plain))
    assert tensors.keys() == wanted.keys()
    assert all(
        torch.equal(values, wanted[name]) and values.dtype == wanted[name].dtype for name, values in tensors.items()
    )
