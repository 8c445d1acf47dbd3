"""What the device itself does, and whether attention on it is right."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.stages import GB, Bench, Skipped
from benchmarks.speed.measure import machine as name_of
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.flex_attention import flex_attention
from mdpo_core.training.speed.matrix_rate import matrix_rate
from mdpo_core.types.layout import Attention, Packed

PACKAGES = ("torch", "transformers", "peft", "trl", "deepspeed", "triton")
# Lengths of prompts and their responses, heads, key heads, width of a head, whether prompts drop tokens.
ROWS = (
    (((616, 100, 100), (616, 100)), 8, 8, 128, False),
    (((130, 40, 7), (3, 1)), 4, 2, 64, False),
    (((200, 60), (616, 9)), 4, 4, 128, True),
)


def machine(bench: Bench) -> None:
    """The ceilings: matrix product, copy, launch of a kernel."""
    large, small = (
        torch.empty((2**28 if bench.cuda else 2**22), device=bench.device),
        torch.zeros(1, device=bench.device),
    )
    other = torch.empty_like(large)
    bench.note(
        name=name_of(bench.device),
        versions={name: _version(name) for name in PACKAGES},
        cpus=os.cpu_count(),
        matrix_tflops=matrix_rate(torch.device(bench.device), bench.dtype, 1.0 if bench.cuda else 0.1) / 1e12,
        copy_gb_s=2 * large.numel() * 4 / bench.timed(lambda: other.copy_(large), 5) / GB,
        launch_us=bench.timed(lambda: [small.add_(1) for _ in range(1000)], 3) * 1e3,
        memory_gb=torch.cuda.mem_get_info()[1] / GB if bench.cuda else None,
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def attention(bench: Bench) -> None:
    """Values and gradients of both attentions against float64 on the CPU."""
    for lengths, heads, key_heads, width, drops in ROWS:
        torch.manual_seed(0)
        row = _row(lengths, drops)
        time = row.token_ids.shape[1]
        exact = [torch.randn(1, each, time, width, dtype=torch.float64) for each in (heads, key_heads, key_heads)]
        expected = _with_gradients(sdpa_attention, exact, row)
        for dtype in (torch.float32, torch.bfloat16) if bench.cuda else (torch.float32,):
            for name, attend in _attentions(bench).items():
                states = [each.to(bench.device, dtype) for each in exact]
                bench.tried(
                    lambda: {"apart": _apart(_with_gradients(attend, states, row.to(states[0].device)), expected)},  # noqa: B023
                    attention=name,
                    dtype=dtype,
                    lengths=lengths,
                    drops=drops,
                )
    if not bench.cuda:
        raise Skipped("FlexAttention's kernel is for CUDA; SDPA was compared")


def _attentions(bench: Bench) -> dict[str, Attention]:
    return {"sdpa": sdpa_attention} | ({"flex": flex_attention} if bench.cuda else {})


def _row(lengths: tuple[tuple[int, ...], ...], drops: bool) -> Packed:
    ids = torch.zeros(1, sum(map(sum, lengths)), dtype=torch.long)
    dropped = tuple(torch.arange(prompt) % 3 == 1 for prompt, *_ in lengths) if drops else ()
    return Packed(ids, ids, lengths, sdpa_attention, dropped)


def _with_gradients(attend: Attention, states: list[Tensor], row: Packed) -> list[Tensor]:
    inputs = [each.clone().requires_grad_() for each in states]
    query, key, value = inputs
    attended = attend(query, key, value, row, None)
    return [attended.detach(), *torch.autograd.grad(attended.square().sum(), inputs)]


def _apart(found: list[Tensor], expected: list[Tensor]) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float((one.cpu().double() - other).norm() / other.norm()) for one, other in pairs)


def compiles(bench: Bench) -> None:
    """How often FlexAttention is compiled over rows of other lengths, and a layer's attention both ways."""
    if not bench.cuda:
        raise Skipped("FlexAttention is compiled on CUDA only")
    from torch._dynamo.utils import counters

    counters.clear()
    drawn = torch.Generator().manual_seed(1)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=drawn))

    rows = [tuple((576 + draw(5, 200), draw(2, 300), draw(2, 300)) for _ in range(draw(1, 5))) for _ in range(16)]
    seconds = [bench.timed(_layer(bench, _row(lengths, False), flex_attention), 1, warm=0) for lengths in rows]
    graphs = counters["stats"].get("unique_graphs")
    bench.note(rows=len(rows), graphs=graphs, first_s=seconds[0], slowest_other_s=max(seconds[1:]))
    lengths = ((616, 100, 100), (616, 100)) * 4
    for name, attend in _attentions(bench).items():
        step = _layer(bench, _row(lengths, False), attend)
        bench.tried(lambda: {"ms": bench.timed(step, 5) * 1e3}, attention=name, tokens=sum(map(sum, lengths)))  # noqa: B023


def _layer(bench: Bench, row: Packed, attend: Attention) -> Any:
    """A call that computes a layer's attention forward and backward."""
    on_device = replace(row).to(torch.device(bench.device))
    time = row.token_ids.shape[1]
    states = [torch.randn(1, 32, time, 128, dtype=bench.dtype, device=bench.device) for _ in range(3)]
    return lambda: _with_gradients(attend, states, on_device)
