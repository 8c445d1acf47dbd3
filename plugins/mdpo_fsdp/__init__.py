"""Training with every weight, gradient and moment cut into as many parts as there are processes (torch's FSDP2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mdpo_core import (
    Backend,
    Component,
    Placement,
    RecipeError,
    Train,
    TrainableScorer,
    VisionLanguageModel,
    World,
    current_world,
    hookimpl,
    local_device,
    require_devices,
)

if TYPE_CHECKING:
    from mdpo_fsdp.engine import FSDPEngine
    from mdpo_fsdp.sharding import Sharding


class FSDP(Backend):
    """Each process holds its part of every layer; a layer is put together for the time that it computes."""

    multi_process: ClassVar[bool] = True

    precision: Literal["fp32", "bf16_mixed", "bf16"] = Field(
        default="fp32",
        description="everything in float32; float32 weights and moments, bfloat16 arithmetic; or bfloat16 weights, "
        "with LoRA's own weights in float32",
    )
    reshard_after_forward: bool = Field(
        default=True,
        description="put each layer together twice a step, for forward and for backward; false: keep it in between",
    )
    exchange: Literal["step", "micro_batch"] = Field(
        default="step",
        description="gradients travel once a step, and each process holds all of them until then; or after each "
        "micro-batch, and it never holds more than its part",
    )
    offload: bool = Field(default=False, description="weights, gradients and moments rest in the machine's memory")

    def check(self, train: Train, world: World) -> None:
        require_devices(world)
        if self.offload and local_device(world) == "cpu":
            raise RecipeError("backend.offload: there is no accelerator here whose memory it would save")

    def placement(self) -> Placement:
        # Loaded beside the accelerator: a model that needs sharding may not fit into one.
        return Placement("cpu", "bfloat16" if self.precision == "bf16" else "float32")

    @property
    def arithmetic(self) -> Literal["float32", "bfloat16"]:
        return "float32" if self.precision == "fp32" else "bfloat16"

    def place_reference(self, model: VisionLanguageModel, train: Train) -> None:
        self._sharding().place_frozen(model)

    def start(self, scorer: TrainableScorer, train: Train) -> FSDPEngine:
        from mdpo_fsdp.engine import FSDPEngine

        return FSDPEngine(scorer, train, self._sharding(), each_time=self.exchange == "micro_batch")

    def _sharding(self) -> Sharding:
        from mdpo_fsdp.sharding import Sharding

        return Sharding(
            local_device(current_world()),
            mixed=self.precision == "bf16_mixed",
            reshard_after_forward=self.reshard_after_forward,
            offload=self.offload,
        )


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"fsdp": FSDP}
