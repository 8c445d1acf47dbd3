"""Which runs are measured."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.scale.job import Job
from benchmarks.scale.stages import STAGES

LORA_RANK = 16
IN_BF16 = ("local (DDP)", "fsdp", "ZeRO 0", "ZeRO 1", "ZeRO 2", "ZeRO 3")
OF_FOUR = ("local (DDP)", "fsdp", "ZeRO 0", "ZeRO 1", "ZeRO 2", "ZeRO 3")
IN_PARTS = ("fsdp", "ZeRO 3")


def all_jobs(folder: str) -> Iterator[Job]:
    """Every stage in two processes, most in bfloat16 and in four processes, and where a reference is sent, too."""
    for lora_rank in (None, LORA_RANK):
        yield from (Job(stage, folder, 2, lora_rank) for stage in STAGES)
    for lora_rank in (LORA_RANK, None):
        # Without LoRA, DDP keeps float32 weights at any precision.
        stages = IN_BF16 if lora_rank else IN_BF16[1:]
        yield from (Job(stage, folder, 2, lora_rank, precision=_bf16(stage, lora_rank)) for stage in stages)
    yield from (Job(stage, folder, 2, LORA_RANK, reference="adapter_off") for stage in IN_PARTS)
    yield from (Job(stage, folder, 4, None) for stage in OF_FOUR)
    yield from (Job(stage, folder, 4, LORA_RANK) for stage in IN_PARTS)


def _bf16(stage: str, lora_rank: int | None) -> str:
    # Without LoRA FSDP keeps float32 weights and computes in bfloat16.
    return "bf16_mixed" if stage == "fsdp" and lora_rank is None else "bf16"
