"""Training with weights, gradients and moments split over all processes (torch's FSDP2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mdpo_core import (
    Amount,
    Backend,
    Component,
    Dtype,
    KeptMemory,
    Placement,
    RecipeError,
    Train,
    TrainableScorer,
    VisionLanguageModel,
    WeightSizes,
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

    def compute_device(self, world: World) -> str:
        return local_device(world)

    @property
    def sends_weights(self) -> bool:
        return True

    @property
    def refuses_full_training(self) -> str:
        if self.precision != "bf16":
            return ""
        return (
            "bf16 keeps trained weights in bfloat16, where most of AdamW's updates round to nothing; "
            "use bf16_mixed, which keeps them in float32"
        )

    @property
    def computes_in(self) -> Dtype:
        return self.arithmetic

    def keeps(self, weights: WeightSizes, train: Train, num_processes: int) -> KeptMemory:
        kept = self._keeps(weights, train, num_processes)
        return kept._replace(weights=0, gradients=0, optimizer=0) if self.offload else kept

    def _keeps(self, weights: WeightSizes, train: Train, num_processes: int) -> KeptMemory:
        trained = self._stored(weights.trained)
        # FSDP sums gradients in float32. It keeps all of them until the last micro-batch of a step.
        waits = self.exchange == "step" and train.batch_size > train.micro_batch_size * num_processes
        return KeptMemory(
            weights=self._stored(weights.total) / num_processes,
            gradients=4 * weights.trained.numbers if waits else trained / num_processes,
            optimizer=2 * trained / num_processes,
            passing=self._gathered(weights),
            widest_update=self._stored(weights.widest) / num_processes,
        )

    def keeps_frozen(self, weights: WeightSizes, num_processes: int) -> float:
        width = 2 if self.precision == "bf16_mixed" else weights.total.bytes / weights.total.numbers
        outside = width * weights.outside.numbers
        inside = 0.0 if self.offload else width * (weights.total.numbers - weights.outside.numbers) / num_processes
        return outside + inside

    def _gathered(self, weights: WeightSizes) -> float:
        """What is whole at once: the layer that computes, the next one, and what is in no layer."""
        if not self.reshard_after_forward:
            return self._computed(weights.total)
        return 2 * self._computed(weights.layer) + self._computed(weights.outside)

    def _stored(self, amount: Amount) -> float:
        return 4 * amount.numbers if self.precision == "bf16_mixed" else amount.bytes

    def _computed(self, amount: Amount) -> float:
        return 2 * amount.numbers if self.precision == "bf16_mixed" else amount.bytes

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
