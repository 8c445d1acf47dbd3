"""Training on a CPU or on accelerators; each process has the whole model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from mdpo_core import (
    Backend,
    Component,
    Dtype,
    KeptMemory,
    Placement,
    RecipeError,
    Train,
    TrainableScorer,
    WeightSizes,
    World,
    current_world,
    hookimpl,
    local_device,
    require_devices,
)

if TYPE_CHECKING:
    import torch

    from mdpo_local.engine import LocalEngine


_KINDS = "cuda|mps|xpu|hpu|npu|mlu|musa|mtia"
_WEIGHTS: Mapping[str, Dtype] = {"bf16": "bfloat16", "fp16": "float16"}
_DEVICE = rf"^(auto|cpu|({_KINDS})(:[0-9]{{1,3}})?)$"


class Local(Backend):
    """A CPU or an accelerator for each process; several processes split the pairs (torch's DDP)."""

    multi_process: ClassVar[bool] = True
    trains_probes: ClassVar[bool] = True
    takes_optimizers: ClassVar[bool] = True

    precision: Literal["fp32", "bf16_autocast", "bf16", "fp16_autocast", "fp16"] = Field(
        default="fp32",
        description="fp32: everything in float32; bf16_autocast: float32 weights, bfloat16 arithmetic; bf16: bfloat16 "
        "weights, with LoRA weights in float32; only LoRA may train. fp16_autocast, fp16: the same in float16, on CUDA "
        "only; a factor scales the gradients, and a step in which they overflow is skipped",
    )
    device: str = Field(
        default="auto",
        json_schema_extra={"pattern": _DEVICE},
        description="a torch device; auto: one GPU (CUDA, ROCm or XPU) for each process, or cpu if torch finds none",
    )

    @field_validator("device")
    @classmethod
    def _device_is_one_of_torch_s(cls, device: str) -> str:
        if re.fullmatch(_DEVICE, device) is None:
            kinds = _KINDS.replace("|", ", ")
            raise ValueError(f"not a device: write auto, cpu, or an accelerator such as cuda or cuda:0 ({kinds})")
        return device

    def check(self, train: Train, world: World) -> None:
        self._check_devices(world)
        device = self._device_in(world)
        if self.scales_gradients and device.partition(":")[0] != "cuda":
            raise RecipeError(
                f"backend.precision: {self.precision} needs CUDA, and this run trains on '{device}'; use "
                f"{self.precision.replace('fp16', 'bf16')} or fp32"
            )
        train.chosen_optimizer.check(device)

    def _check_devices(self, world: World) -> None:
        if world.size == 1 or self.device == "cpu":
            self._require_device()
            return
        if self.device != "auto":
            raise RecipeError(
                f"backend.device: '{self.device}' is one device, but each of {world.size} processes needs one; "
                "use 'auto'"
            )
        require_devices(world)

    def placement(self) -> Placement:
        device = self._require_device()
        if device.type != "cpu" and device.index is not None:
            import torch

            # Some libraries compute on the current device, whatever the device of their inputs.
            torch.accelerator.set_device_index(device.index)
        return Placement(str(device), self.computes_in)

    def _require_device(self) -> torch.device:
        """The device; raises `RecipeError` if it cannot be used here."""
        import torch

        try:
            device = torch.device(self._device())
        except RuntimeError as error:
            raise RecipeError(f"backend.device: this torch does not know '{self.device}'; use 'auto'") from error
        if device.type == "cpu":
            return device
        built = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]  # torch's
        if device.type == "cuda" and not built:
            raise RecipeError(
                f"backend.device: '{self.device}' needs a torch for CUDA; torch {torch.__version__} was built without: "
                "install another build, or use 'auto'"
            )
        here = torch.accelerator.current_accelerator(check_available=True)
        there = torch.accelerator.device_count() if here is not None and here.type == device.type else 0
        if (device.index or 0) >= there:
            raise RecipeError(
                f"backend.device: '{self.device}' is not on this machine, where torch finds {there} such devices; use "
                "'auto'"
            )
        self._require_float64(device)
        return device

    def _require_float64(self, device: torch.device) -> None:
        import torch

        if device.type == "cuda":
            return
        try:
            torch.ones(1, device=device).double().sum()
        except (TypeError, RuntimeError) as error:
            raise RecipeError(
                f"backend.device: '{self.device}' cannot add up in float64, as a run does: "
                f"{str(error).splitlines()[0]}; use 'cpu'"
            ) from error

    @property
    def refuses_full_training(self) -> str:
        kept = self.computes_in
        if kept == "float32":
            return ""
        return (
            f"{self.precision} keeps trained weights in {kept}, where most of AdamW's updates round to nothing; use "
            f"{self.precision}_autocast, which keeps them in float32, or the backend deepspeed, which updates a "
            "float32 copy"
        )

    @property
    def computes_in(self) -> Dtype:
        return _WEIGHTS.get(self.precision, "float32")

    @property
    def scales_gradients(self) -> bool:
        return self.arithmetic == "float16"

    def keeps(self, weights: WeightSizes, train: Train, num_processes: int) -> KeptMemory:
        trained, optimizer = weights.trained.bytes, train.chosen_optimizer.keeps(weights)
        # DDP keeps gradients in its buckets; alone, they are freed after each update.
        alone = num_processes == 1 and train.batch_size <= train.micro_batch_size
        return KeptMemory(
            weights=weights.total.bytes,
            gradients=trained,
            optimizer=optimizer.state,
            update=optimizer.update,
            widest_update=optimizer.widest_update,
            frees_gradients=alone,
        )

    @property
    def arithmetic(self) -> Literal["float32", "bfloat16", "float16"]:
        return _WEIGHTS.get(self.precision.removesuffix("_autocast"), "float32")

    def start(self, scorer: TrainableScorer, train: Train) -> LocalEngine:
        import torch

        from mdpo_local.engine import LocalEngine

        autocast = getattr(torch, self.arithmetic) if self.arithmetic != self.computes_in else None
        world, scales = current_world(), self.scales_gradients
        return LocalEngine(scorer, train, self._device(), autocast, world, scales=scales)

    def _device(self) -> str:
        return self._device_in(current_world())

    def _device_in(self, world: World) -> str:
        return local_device(world) if self.device == "auto" else self.device


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"local": Local}
