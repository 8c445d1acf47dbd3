"""Training in one process, on a CPU or one accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdpo_core import Backend, Component, Placement, Train, hookimpl

if TYPE_CHECKING:
    from torch import nn

    from mdpo_local.engine import LocalEngine


class Local(Backend):
    """One process on a CPU or one accelerator."""

    precision: Literal["fp32", "bf16_autocast", "bf16"] = Field(
        default="fp32",
        description="everything in float32; float32 weights and bfloat16 arithmetic (autocast); or bfloat16 weights, "
        "with LoRA's own weights in float32",
    )
    device: str = Field(default="auto", description="a torch device; auto: the accelerator that torch finds, or cpu")

    def placement(self) -> Placement:
        return Placement(self._device(), "bfloat16" if self.precision == "bf16" else "float32")

    @property
    def arithmetic(self) -> Literal["float32", "bfloat16"]:
        return "float32" if self.precision == "fp32" else "bfloat16"

    def start(self, scorer: nn.Module, train: Train) -> LocalEngine:
        from mdpo_local.engine import LocalEngine

        return LocalEngine(scorer, train, self._device(), autocast=self.precision == "bf16_autocast")

    def _device(self) -> str:
        import torch

        if self.device != "auto":
            return self.device
        found = torch.accelerator.current_accelerator(check_available=True)
        return found.type if found else "cpu"


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"local": Local}
