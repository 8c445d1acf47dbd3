"""Training with weights, gradients and moments split over all processes (torch's FSDP2)."""

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
    """Each process keeps a part of every layer; a layer is gathered while it computes."""

    multi_process: ClassVar[bool] = True

    precision: Literal["fp32", "bf16_mixed", "bf16"] = Field(
        default="fp32",
        description="fp32: everything in float32; bf16_mixed: float32 weights and moments, bfloat16 arithmetic; bf16: "
        "bfloat16 weights, with LoRA weights in float32; only LoRA may train",
    )
    reshard_after_forward: bool = Field(
        default=True,
        description="gather each layer twice a step, for forward and for backward; false: keep it in between",
    )
    exchange: Literal["step", "micro_batch"] = Field(
        default="step",
        description="step: processes exchange gradients once a step, and each keeps all of them until then; "
        "micro_batch: they exchange them after each micro-batch, and each keeps only its part",
    )
    offload: bool = Field(default=False, description="keep weights, gradients and moments in the machine's memory")

    def check(self, train: Train, world: World) -> None:
        require_devices(world)
        if self.offload and local_device(world) == "cpu":
            raise RecipeError("backend.offload: this machine has no accelerator whose memory it would save")

    def placement(self) -> Placement:
        # Load the model on the CPU: it may be too large for one accelerator.
        return Placement("cpu", "bfloat16" if self.precision == "bf16" else "float32")

    @property
    def refuses_full_training(self) -> str:
        if self.precision != "bf16":
            return ""
        return (
            "bf16 keeps trained weights in bfloat16, where most of AdamW's updates round to nothing; "
            "use bf16_mixed, which keeps them in float32"
        )

    @property
    def arithmetic(self) -> Literal["float32", "bfloat16"]:
        return "float32" if self.precision == "fp32" else "bfloat16"

    def place_reference(self, model: VisionLanguageModel, train: Train) -> None:
        self._sharding().place_frozen(model)

    def start(self, scorer: TrainableScorer, train: Train) -> FSDPEngine:
        from mdpo_fsdp.engine import FSDPEngine

        return FSDPEngine(scorer, train, self._sharding(), every_micro_batch=self.exchange == "micro_batch")

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
