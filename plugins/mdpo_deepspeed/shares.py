"""What this process keeps of weights and moments, by the names and in the order of whole parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from deepspeed import comm
from torch import Tensor, nn

from mdpo_core import MOMENTS, CheckpointError, Piece, SavedState


@dataclass(frozen=True)
class Share:
    """A parameter's numbers from ``start`` on, of which this process keeps those from ``place`` on in ``master``.

    ``master``: a float32 tensor that AdamW updates, of one parameter or of several laid out flat. ``written``: those
    numbers that this process is the one to save, as a range within its share.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    length: int
    master: Tensor
    place: int
    written: tuple[int, int]

    def of(self, tensor: Tensor) -> Tensor:
        """The share ``(numbers,)`` of a tensor that is laid out as ``master`` is."""
        return tensor.detach().view(-1)[self.place : self.place + self.length]


def shares_of(engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]) -> list[Share]:
    """One share for each parameter, which may be of no numbers."""
    stage = engine.zero_optimization_stage()
    find = _at_stage_3 if stage == 3 else _at_stages_1_and_2 if stage else _at_stage_0
    return list(find(engine, trained, shapes))


def _at_stage_0(
    engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Share]:
    """Every process keeps everything, and saves its part."""
    optimizer, rank, size = engine.optimizer, comm.get_rank(), comm.get_world_size()
    masters: dict[int, Tensor] = {}
    for updated, computed in zip(
        getattr(optimizer, "fp32_groups", ()), getattr(optimizer, "fp16_groups", ()), strict=True
    ):
        masters |= {id(parameter): master for parameter, master in zip(computed, updated, strict=True)}
    for name, parameter in trained.items():
        numbers = parameter.numel()
        part = math.ceil(numbers / size)
        written = (min(rank * part, numbers), min((rank + 1) * part, numbers))
        yield Share(name, shapes[name], 0, numbers, masters.get(id(parameter), parameter), 0, written)


def _at_stages_1_and_2(
    engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Share]:
    """All parameters of a group lie behind one another, and each process keeps an equal part of the whole."""
    optimizer = engine.optimizer
    flat = getattr(optimizer, "single_partition_of_fp32_groups", None) or optimizer.fp32_groups_flat_partition
    for name, parameter in trained.items():
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]  # DeepSpeed's
        if mapping is None:
            yield Share(name, shapes[name], 0, 0, flat[0], 0, (0, 0))
            continue
        here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
        master = flat[mapping.param_group_index]
        yield Share(name, shapes[name], here.start, here.numel, master, there.start, (0, here.numel))


def _at_stage_3(
    engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Share]:
    """Each process keeps an equal part of each parameter."""
    optimizer = engine.optimizer
    for name, parameter in trained.items():
        group, place, length = optimizer.grad_position[optimizer.get_param_id(parameter)]
        numbers = math.prod(shapes[name])
        start = min(comm.get_rank() * length, numbers)
        # The last part is filled up to the size of the others.
        kept = min(length, numbers - start)
        yield Share(name, shapes[name], start, kept, optimizer.fp32_partitioned_groups_flat[group], place, (0, kept))


def written_pieces(shares: Iterable[Share], adamw: torch.optim.AdamW) -> Iterator[Piece]:
    """What this process saves: over all of them, every number once."""
    for share in shares:
        begin, end = share.written
        if begin == end:
            continue
        state = adamw.state.get(share.master, {})
        tensors = {"weight": share.master} | {what: state[what] for what in MOMENTS if what in state}
        for what, tensor in tensors.items():
            values = share.of(tensor)[begin:end].cpu()
            yield Piece(f"{what}:{share.name}", values, share.start + begin, share.shape)
        if "step" in state and share.start + begin == 0:
            yield Piece(f"step:{share.name}", state["step"].detach().reshape(1).cpu(), 0, ())


@torch.no_grad()
def read_shares(state: SavedState, shares: Iterable[Share], adamw: torch.optim.AdamW) -> None:
    """Take back what all processes saved, as far as it is this one's; every process reads every name.

    A parameter that AdamW had never updated (no gradient reached it) has no moments, which is the same as zeros.
    """
    adamw.state.clear()
    for share in shares:
        span = (share.start, share.start + share.length)
        weight = state.read(f"weight:{share.name}", share.shape, *span)
        share.of(share.master).copy_(weight)
        if f"step:{share.name}" not in state:
            continue
        step = state.whole(f"step:{share.name}", ())
        moments = {what: state.read(f"{what}:{share.name}", share.shape, *span) for what in MOMENTS}
        if share.length:
            kept = _record(adamw, share, step)
            for what, values in moments.items():
                share.of(kept[what]).copy_(values)


def _record(adamw: torch.optim.AdamW, share: Share, step: Tensor) -> dict[str, Tensor]:
    """AdamW's own of the tensor that a share is in, made if there is none yet."""
    state: dict[str, Tensor] = adamw.state[share.master]
    if not state:
        # A fused AdamW counts its steps beside the parameter, any other one on the CPU.
        state["step"] = step.to(share.master.device) if adamw.defaults["fused"] else step.clone()
        state |= {what: torch.zeros_like(share.master) for what in MOMENTS}
    if state["step"].cpu() != step:
        raise CheckpointError(
            f"{share.name} was updated {int(step)} times, others {int(state['step'])} times; ZeRO counts them as one"
        )
    return state
