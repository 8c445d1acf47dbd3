"""What was measured beside the formulas, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.scale.formulas import FP32, FSDP_MIXED, LORA_BF16, ZERO_BF16, ZERO_FP32, Setting, Widths
from benchmarks.scale.job import Found, Job
from benchmarks.scale.parts import Parts, Share
from benchmarks.scale.stages import STAGES

MB = 1e6
TOLERANCE = 0.02
PARTS = ("layers", "vision", "rest")


def widths_of(backend: str, precision: str) -> Widths:
    """The bytes of a number in a backend at a precision."""
    if backend == "deepspeed":
        return ZERO_FP32 if precision == "fp32" else ZERO_BF16
    if precision == "bf16":
        return LORA_BF16
    return FSDP_MIXED if precision == "bf16_mixed" else FP32


def setting_of(job: Job, found: Found) -> Setting:
    """The setting that a job was measured in."""
    shares = {name: Share(**found.parameters[name]) for name in PARTS}
    counts = (found.parameters[name] for name in ("largest_layer", "vision_layers", "words"))
    return Setting(
        Parts(shares["layers"], shares["vision"], shares["rest"], *counts),
        widths_of(STAGES[job.stage].backend[0], job.precision),
        job.world,
        job.micro_batches,
        reference=int(job.reference == "adapter_off"),
    )


def measured(results: Iterable[tuple[Job, Sequence[Found]]]) -> str:
    """One row a job: the most that a rank sent and held."""
    lines = [
        "| stage | N | trains | precision | sent a step, MB | formula | ratio | kept, MB | formula | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for job, found in results:
        what = "all but vision" if job.lora_rank is None else "LoRA"
        if job.reference != "cached":
            what += f", reference {job.reference}"
        cells = [
            f"{number / MB:.2f} | {wanted / MB:.2f} | {number / wanted:.3f}" for number, wanted in _pairs(job, found)
        ]
        lines.append(f"| {job.stage} | {job.world} | {what} | {job.precision} | {' | '.join(cells)} |")
    return "\n".join(lines)


def all_agree(results: Iterable[tuple[Job, Sequence[Found]]]) -> bool:
    """Whether every figure is within `TOLERANCE` of its formula."""
    pairs = [pair for job, found in results for pair in _pairs(job, found)]
    return all(abs(number / wanted - 1) <= TOLERANCE for number, wanted in pairs)


def _pairs(job: Job, found: Sequence[Found]) -> list[tuple[float, float]]:
    """Bytes sent and kept: the most of any rank, and by formula."""
    setting, stage = setting_of(job, found[0]), STAGES[job.stage]
    return [
        (max(each.sent for each in found), stage.traffic(setting).sent(job.world, gloo=True)),
        (max(each.with_gradients for each in found), stage.kept(setting).lasting),
    ]


def formulas() -> str:
    """Each stage's formulas in words."""
    lines = ["| stage | bytes that a rank sends in a step | bytes that it keeps |", "|---|---|---|"]
    lines += [f"| {name} | {stage.sent_in_words} | {stage.kept_in_words} |" for name, stage in STAGES.items()]
    return "\n".join(lines)
