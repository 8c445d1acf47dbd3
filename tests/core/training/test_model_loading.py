"""Which process reads a model, and what the others have of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_llava.adapter import Llava

from mdpo_core import DataError, Lora, ModelAdapter, Train, component
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.processes.world import World
from mdpo_core.training.model_loading import load_model


@dataclass(frozen=True)
class _Second(World):
    """The second of two processes; ``main`` is what the first computes."""

    rank: int = 1
    size: int = 2
    main: Any = None

    def computed_by_main(self, compute: Callable[[], Any]) -> Any:
        if isinstance(self.main, Exception):
            raise self.main
        return self.main


def tensors_of(model: VisionLanguageModel) -> list[Any]:
    named = [*model.module.named_parameters(), *model.module.named_buffers()]
    return [(name, tuple(values.shape), values.dtype, values.requires_grad) for name, values in named]


def loaded(adapter: ModelAdapter, backend: str, main: Any, **options: Any) -> set[str]:
    """The devices of the model that the second process has."""
    model = load_model(adapter, component("backend", backend), Train(), _Second(main=main), **options)  # type: ignore[arg-type]
    return {values.device.type for values in [*model.module.parameters(), *model.module.buffers()]}


@pytest.mark.parametrize("lora", [Lora(rank=2), None])
@pytest.mark.parametrize("trainable", [True, False])
def test_fsdp_s_other_processes_read_no_weight(lora: Lora | None, trainable: bool, llava: Path) -> None:
    adapter = Llava(path=str(llava), lora=lora)
    main = tensors_of(adapter.load(component("backend", "fsdp").placement(), trainable=trainable))  # type: ignore[attr-defined]
    assert loaded(adapter, "fsdp", main, trainable=trainable) == {"meta"}


def test_they_read_what_is_not_as_its_configuration_says(llava: Path) -> None:
    """Some properties show only when the weights are read: such a model is read by every process."""
    assert loaded(Llava(path=str(llava)), "fsdp", [("of another model", (1,), torch.float32, True)]) == {"cpu"}


def test_backends_that_keep_the_whole_model_read_it_in_every_process(llava: Path) -> None:
    assert loaded(Llava(path=str(llava)), "local", AssertionError("asked")) == {"cpu"}


def test_so_does_a_model_without_a_sketch(llava: Path) -> None:
    class Unsketched(Llava):
        sketch = ModelAdapter.sketch

    assert loaded(Unsketched(path=str(llava)), "fsdp", AssertionError("asked")) == {"cpu"}


def test_an_error_of_the_main_process_is_one_of_all(llava: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        loaded(Llava(path=str(llava)), "fsdp", DataError("damaged"))
