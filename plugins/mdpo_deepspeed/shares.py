"""The part of weights and moments that this process keeps, under the names of whole parameters.

AdamW updates float32 buffers. At stages 1 and 2 all parameters of a group are laid out flat, one after another, padded
(``.``) and cut into equal parts; each process keeps one part as its buffer. The parameters a (6 numbers) and b (5
numbers) among 3 processes:

    whole group            a0 a1 a2 a3 a4 a5 b0 b1 b2 b3 b4  .
    buffer of process 0    a0 a1 a2 a3
    buffer of process 1                a4 a5 b0 b1
    buffer of process 2                            b2 b3 b4  .

Process 1 then has two shares:

    parameter a    range_in_parameter [4, 6)    range_in_buffer [0, 2)    range_to_save [4, 6)
    parameter b    range_in_parameter [0, 2)    range_in_buffer [2, 4)    range_to_save [0, 2)

At stage 3 each parameter is cut by itself, and a buffer holds one part of each. At stage 0 nothing is cut: every
process keeps all numbers, and ``range_to_save`` is the part that it saves, so that each number is saved once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from deepspeed import comm
from torch import Tensor, nn

from mdpo_core import MOMENTS, CheckpointError, SavedEngineState, TensorSlice, place_step_count


class Range(NamedTuple):
    """Positions ``start`` to ``end`` of a flat tensor, without ``end``."""

    start: int
    end: int


@dataclass(frozen=True)
class Share:
    """The numbers of one parameter that this process keeps; there may be none.

    ``shape``: the shape of the whole parameter. ``buffer``: the float32 tensor that AdamW updates.
    ``range_in_parameter`` and ``range_in_buffer``: the positions of the share in either, laid out flat; equally long.
    ``range_to_save``: the numbers that this process saves, as positions in the parameter.
    """

    name: str
    shape: tuple[int, ...]
    buffer: Tensor
    range_in_parameter: Range
    range_in_buffer: Range
    range_to_save: Range

    def of(self, tensor: Tensor) -> Tensor:
        """The share ``(numbers,)`` of a tensor that is laid out as ``buffer`` is: the weights, or a moment."""
        return tensor.detach().view(-1)[slice(*self.range_in_buffer)]

    def to_save_of(self, tensor: Tensor) -> Tensor:
        """The part of `of` that this process saves."""
        first = self.range_in_parameter.start
        return self.of(tensor)[self.range_to_save.start - first : self.range_to_save.end - first]


def _share(name: str, shape: tuple[int, ...], buffer: Tensor, start: int, length: int, start_in_buffer: int) -> Share:
    """A share whose numbers are all saved by this process."""
    in_parameter = Range(start, start + length)
    in_buffer = Range(start_in_buffer, start_in_buffer + length)
    return Share(name, shape, buffer, in_parameter, in_buffer, range_to_save=in_parameter)


def shares_of(engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]) -> list[Share]:
    """One share for each parameter."""
    stage = engine.zero_optimization_stage()
    shares_at_stage = _at_stage_3 if stage == 3 else _at_stages_1_and_2 if stage else _at_stage_0
    return list(shares_at_stage(engine, trained, shapes))


def _at_stage_0(
    engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Share]:
    """Every process keeps all numbers, and saves an equal part of them."""
    optimizer, rank, size = engine.optimizer, comm.get_rank(), comm.get_world_size()
    buffers: dict[int, Tensor] = {}
    for updated, computed in zip(
        getattr(optimizer, "fp32_groups", ()), getattr(optimizer, "fp16_groups", ()), strict=True
    ):
        buffers |= {id(parameter): buffer for parameter, buffer in zip(computed, updated, strict=True)}
    for name, parameter in trained.items():
        numbers = parameter.numel()
        part = math.ceil(numbers / size)
        to_save = Range(min(rank * part, numbers), min((rank + 1) * part, numbers))
        everything = Range(0, numbers)
        buffer = buffers.get(id(parameter), parameter)
        yield Share(name, shapes[name], buffer, everything, everything, to_save)


def _at_stages_1_and_2(
    engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Share]:
    """The parameters of a group are laid out one after another; each process keeps an equal part of the group."""
    optimizer = engine.optimizer
    flat = getattr(optimizer, "single_partition_of_fp32_groups", None) or optimizer.fp32_groups_flat_partition
    for name, parameter in trained.items():
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]  # DeepSpeed's
        if mapping is None:
            yield _share(name, shapes[name], flat[0], start=0, length=0, start_in_buffer=0)
            continue
        in_parameter, in_buffer = mapping.lp_fragment_address, mapping.hp_fragment_address
        buffer = flat[mapping.param_group_index]
        yield _share(name, shapes[name], buffer, in_parameter.start, in_parameter.numel, in_buffer.start)


def _at_stage_3(
    engine: Any, trained: Mapping[str, nn.Parameter], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Share]:
    """Each process keeps an equal part of each parameter."""
    optimizer = engine.optimizer
    for name, parameter in trained.items():
        group, start_in_buffer, length = optimizer.grad_position[optimizer.get_param_id(parameter)]
        numbers = math.prod(shapes[name])
        start = min(comm.get_rank() * length, numbers)
        # The last part is padded to the size of the others.
        kept = min(length, numbers - start)
        buffer = optimizer.fp32_partitioned_groups_flat[group]
        yield _share(name, shapes[name], buffer, start, kept, start_in_buffer)


def written_pieces(shares: Iterable[Share], adamw: torch.optim.AdamW) -> Iterator[TensorSlice]:
    """The tensors that this process saves; the processes together save every number once."""
    for share in shares:
        start, end = share.range_to_save
        if start == end:
            continue
        state = adamw.state.get(share.buffer, {})
        tensors = {"weight": share.buffer} | {moment: state[moment] for moment in MOMENTS if moment in state}
        for kind, tensor in tensors.items():
            yield TensorSlice(f"{kind}:{share.name}", share.to_save_of(tensor).cpu(), start, share.shape)
        if "step" in state and start == 0:
            yield TensorSlice(f"step:{share.name}", state["step"].detach().reshape(1).cpu(), 0, ())


@torch.no_grad()
def read_shares(state: SavedEngineState, shares: Iterable[Share], adamw: torch.optim.AdamW) -> None:
    """Restore the shares of this process from the files of all processes; every process reads every name.

    A parameter that AdamW never updated (no gradient reached it) has no moments, which is the same as zeros.
    """
    adamw.state.clear()
    for share in shares:
        positions = share.range_in_parameter
        weight = state.read(f"weight:{share.name}", share.shape, *positions)
        share.of(share.buffer).copy_(weight)
        if f"step:{share.name}" not in state:
            continue
        step = state.whole(f"step:{share.name}", ())
        moments = {moment: state.read(f"{moment}:{share.name}", share.shape, *positions) for moment in MOMENTS}
        if positions.start < positions.end:
            adamw_state = _adamw_state(adamw, share, step)
            for moment, values in moments.items():
                share.of(adamw_state[moment]).copy_(values)


def _adamw_state(adamw: torch.optim.AdamW, share: Share, step: Tensor) -> dict[str, Tensor]:
    """AdamW's state of the buffer that holds a share; it is created if there is none yet."""
    state: dict[str, Tensor] = adamw.state[share.buffer]
    if not state:
        state["step"] = place_step_count(adamw, step.clone(), share.buffer)
        state |= {moment: torch.zeros_like(share.buffer) for moment in MOMENTS}
    if state["step"].cpu() != step:
        raise CheckpointError(
            f"{share.name} was updated {int(step)} times, others {int(state['step'])} times; ZeRO has one count for all"
        )
    return state
