"""Training in many processes with DeepSpeed's ZeRO, stages 0 to 3."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from mdpo_core import (
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
from mdpo_deepspeed.options import decided_elsewhere, deepspeed_options

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_deepspeed.engine import DeepSpeedEngine

_DTYPES: dict[str, Dtype] = {
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
}


class DeepSpeed(Backend):
    """One process for each device, with ZeRO (arXiv:1910.02054), which splits state over processes from stage 1 on."""

    multi_process: ClassVar[bool] = True

    zero_stage: Literal[0, 1, 2, 3] = Field(
        default=2,
        description="what is split over processes: nothing (0), optimizer state (1), also gradients (2), also weights "
        "(3)",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="bf16",
        description="dtype of weights and arithmetic; AdamW updates a float32 copy of the trained weights. fp16: CUDA "
        "only, a fixed factor scales the gradients (config: {fp16: {loss_scale: ...}})",
    )
    offload: Literal["none", "optimizer", "optimizer_and_parameters"] = Field(
        default="none",
        description="what the machine's memory holds: nothing; the optimizer's state, which is updated there (from "
        "stage 1 on); also the weights (stage 3)",
    )
    config: dict[str, Any] = Field(
        default={}, description="further options, as in DeepSpeed's configuration files; they replace those of mdpo"
    )

    @field_validator("config")
    @classmethod
    def _no_option_has_two_places(cls, config: dict[str, Any]) -> dict[str, Any]:
        problems = decided_elsewhere(config)
        if problems:
            raise ValueError("; ".join(problems))
        return config

    @model_validator(mode="after")
    def _offload_fits_the_stage(self) -> Self:
        needed = {"none": 0, "optimizer": 1, "optimizer_and_parameters": 3}[self.offload]
        if self.zero_stage < needed:
            raise ValueError(f"offload: {self.offload} needs zero_stage {needed} or more, found {self.zero_stage}")
        return self

    def check(self, train: Train, world: World) -> None:
        if importlib.util.find_spec("deepspeed") is None:
            raise RecipeError('backend: deepspeed is not installed; pip install "mdpo[deepspeed]"')
        require_devices(world)
        if self.precision == "fp16" and local_device(world) == "cpu":
            raise RecipeError("backend.precision: fp16 needs a GPU, but there is none; use bf16 or fp32 on a CPU")
        from mdpo_deepspeed.process import require_valid

        require_valid(self._options(train))

    def placement(self) -> Placement:
        return Placement(local_device(current_world()), self.computes_in)

    @property
    def computes_in(self) -> Dtype:
        return _DTYPES[self.precision]

    @property
    def trains_in(self) -> Dtype | None:
        return self.computes_in

    def keeps(self, weights: WeightSizes, train: Train, num_processes: int) -> KeptMemory:
        from mdpo_deepspeed.kept import kept_memory

        accumulates = train.batch_size > train.micro_batch_size * num_processes
        width = 4 if self.precision == "fp32" else 2
        return kept_memory(weights, self._options(train), self.offload, width, num_processes, accumulates)

    def keeps_frozen(self, weights: WeightSizes, num_processes: int) -> float:
        if self.offload == "optimizer_and_parameters":
            return 0.0
        return weights.total.bytes / (num_processes if self.zero_stage == 3 else 1)

    def loading(self, train: Train) -> AbstractContextManager[None]:
        return self._splitting(train) if self.zero_stage == 3 else nullcontext()

    @property
    def splits_frozen_copy(self) -> bool:
        return self.zero_stage == 3

    @property
    def refuses_compiling(self) -> str:
        if self.zero_stage < 3:
            return ""
        return "ZeRO 3 gathers weights inside of layers, which torch does not compile (zero_stage 2 and fsdp work)"

    def place_reference(self, model: VisionLanguageModel, train: Train) -> None:
        from mdpo_deepspeed.stage3 import split_reference

        if self.zero_stage == 3:
            split_reference(model, self._options(train))

    def shape_of(self, parameter: Tensor) -> tuple[int, ...]:
        from mdpo_deepspeed.stage3 import shape_of

        return shape_of(parameter)

    def start(self, scorer: TrainableScorer, train: Train) -> DeepSpeedEngine:
        from mdpo_deepspeed.engine import DeepSpeedEngine

        placement = self.placement()
        return DeepSpeedEngine(scorer, train, placement, self._options(train))

    @contextmanager
    def _splitting(self, train: Train) -> Iterator[None]:
        from mdpo_deepspeed.stage3 import split_while_loading

        with split_while_loading(self._options(train)):
            yield

    def _options(self, train: Train) -> dict[str, Any]:
        return deepspeed_options(self.zero_stage, self.precision, self.offload, self.config, train)


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"deepspeed": DeepSpeed}
