"""Compiles the layers of a language model, so that their small operators become few.

All layers run one function, whose graphs torch compiles. The compiler sees the attention of a packed row as one
operator: its code depends on the lengths in the row, and each row would need its own graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config

from mdpo_core.errors import MdpoError, RecipeError, first_line
from mdpo_core.scoring.attention import ATTENTIONS
from mdpo_core.types.layout import Packed

# Rows have a multiple of this many tokens: whole blocks of FlexAttention, which compiles another kernel for others.
ROW_MULTIPLE = 128
# The policy with gradients, the policy without, and the reference.
_MOST_GRAPHS = 3
_OLDEST_TORCH = (2, 13)  # older versions were not tried


def require_compiler(device: str) -> None:
    """Compile a small function for a device, as torch names it. Raises `RecipeError` if torch cannot."""
    found = tuple(int(number) for number in torch.__version__.split(".")[:2])
    if found < _OLDEST_TORCH:
        raise RecipeError(
            f"scoring.compile: needs torch {'.'.join(map(str, _OLDEST_TORCH))} or newer, and this is "
            f"{torch.__version__}; update torch, or set scoring.compile: false"
        )
    try:
        # Caches would hide that the compiler is gone.
        with functorch_config.patch(enable_autograd_cache=False), inductor_config.patch(fx_graph_cache=False):
            torch.compile(_add_one, fullgraph=True)(torch.zeros(8, device=device))
    except Exception as error:  # compilers raise anything
        raise RecipeError(
            f"scoring.compile: torch cannot compile for '{device}' here ({first_line(error)}); {_remedy(device)}, "
            "or set scoring.compile: false"
        ) from error


def _remedy(device: str) -> str:
    """What gives torch a compiler for the device. A variable of the environment may name one that is not there."""
    variable, needed = "CC", "Triton and a C compiler such as gcc"
    if device == "cpu":
        variable, needed = "CXX", "a C++ compiler such as g++"
    if variable not in os.environ:
        return f"install {needed}"
    named = f"the environment variable {variable} is '{os.environ[variable]}'"
    return f"{named}; unset it or name a compiler, or install {needed}"


def compile_layers(layers: Sequence[nn.Module], backend: str | Callable[..., Any] = "inductor") -> None:
    """Make layers compute packed rows in compiled graphs; other calls stay as they are.

    The layers take a hidden state ``(1, time, hidden)`` first, and the row as the keyword argument ``packed``, of which
    they call only `Packed.attend`. The last layer stays as it is: it may compute fewer positions than the others, in
    a graph of its own. Changes the layers permanently. ``backend``: of `torch.compile`.

    They are compiled when they are first called; then, and at each later call, they raise `MdpoError` if torch cannot
    compile them, or would have to make too many graphs.
    """
    compiled = torch.compile(  # type: ignore[call-overload]  # torch's types lack the last two
        _compute, backend=backend, fullgraph=True, recompile_limit=_MOST_GRAPHS, isolate_recompiles=True
    )
    for layer in layers[:-1]:
        layer.forward = partial(_forward, compiled, layer.forward)


def _compute(forward: Callable[..., Any], hidden: Tensor, options: dict[str, Any]) -> Any:
    return forward(hidden, **options)


def _forward(
    compiled: Callable[..., Any],
    forward: Callable[..., Any],
    hidden: Tensor,
    *,
    packed: Packed | None = None,
    **options: Any,
) -> Any:
    """A layer's forward: compiled for packed rows of the run, plain for what is tried before it and for generation."""
    if packed is None:
        return forward(hidden, **options)
    name = next((name for name, attention in ATTENTIONS.items() if attention is packed.attention), None)
    if name is None:
        return forward(hidden, packed=packed, **options)
    if "compiled" not in packed.masks:
        packed.masks["compiled"] = CompiledRow.of(packed, name)
    if torch.is_grad_enabled() and not hidden.requires_grad:
        # The first layer's input, if only later weights train: without a gradient it would need its own graph.
        hidden = hidden.detach().requires_grad_()
    _mark_time(hidden, options)
    with _errors_as_sentences():
        return compiled(forward, hidden, {**options, "packed": packed.masks["compiled"]})


def _mark_time(hidden: Tensor, options: dict[str, Any]) -> None:
    """Tell torch which sizes are the row's length, and so change: else it makes a graph for the first row alone."""
    time = hidden.shape[1]
    torch._dynamo.mark_dynamic(hidden, 1)
    values = [each for value in options.values() for each in (value if isinstance(value, tuple) else (value,))]
    for value in values:
        # Rotary embeddings are (..., time, dim), and positions are (..., time).
        place = -2 if isinstance(value, Tensor) and value.is_floating_point() else -1
        if isinstance(value, Tensor) and value.shape[place] == time:
            torch._dynamo.maybe_mark_dynamic(value, value.ndim + place)


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """A context for a compiled call."""
    try:
        # DDP would cut what is compiled inside of it into its buckets; a layer is small enough. Backward is compiled
        # with forward, so that its errors appear here.
        with (
            torch._dynamo.config.patch(optimize_ddp=False),
            functorch_config.patch(force_non_lazy_backward_lowering=True),
        ):
            yield
    except FailOnRecompileLimitHit as error:
        raise MdpoError(
            f"torch would have to compile the layers more than {_MOST_GRAPHS} times ({first_line(error)}); set "
            "scoring.compile: false, and report the model"
        ) from error
    except TorchDynamoException as error:
        raise MdpoError(
            f"the model's layers cannot be compiled ({_reason(error)}); set scoring.compile: false"
        ) from error


def _reason(error: TorchDynamoException) -> str:
    """One line: what the compiler raised, or the line with which Dynamo explains what it does not know."""
    lines = [line.strip() for line in str(error).splitlines()]
    explained = (line.removeprefix("Explanation: ") for line in lines if line.startswith("Explanation: "))
    return next(explained, first_line(getattr(error, "inner_exception", error)))


@dataclass(frozen=True)
class CompiledRow:
    """A packed row as compiled layers see it: they can only attend.

    ``lengths``: for each prompt, the number of lengths, then its length and those of its branches, all in one tensor
    of int64. ``dropped (time,)`` bool: the tokens that nothing attends to. Both are on the CPU, and tensors because
    torch makes a graph for each value of anything else. ``attention``: a name of `ATTENTIONS`.
    """

    lengths: Tensor
    dropped: Tensor
    attention: str

    @classmethod
    def of(cls, packed: Packed, attention: str) -> CompiledRow:
        """The row ``packed``."""
        lengths = torch.tensor([number for each in packed.lengths for number in (len(each), *each)])
        row = cls(lengths, packed.dropped_on_cpu, attention)
        for values in (row.lengths, row.dropped):
            torch._dynamo.mark_dynamic(values, 0)
        return row

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        """As `Packed.attend`."""
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        attended: Tensor = _attend(query, key, value, self.lengths, self.dropped, self.attention, scale)
        return attended.transpose(1, 2)


@torch.library.custom_op("mdpo::attend", mutates_args=())
def _attend(
    query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, dropped: Tensor, attention: str, scale: float
) -> Tensor:
    """``(1, time, heads, dim)``: attention by name, in the row that ``lengths`` and ``dropped`` describe."""
    attended = _attended(query, key, value, lengths, dropped, attention, scale)
    return attended.transpose(1, 2).contiguous()


def _attended(
    query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, dropped: Tensor, attention: str, scale: float
) -> Tensor:
    row = _row(lengths.numpy().tobytes(), dropped.numpy().tobytes(), query.device)
    # The types are those of the graph, which has obeyed autocast.
    with torch.autocast(query.device.type, enabled=False):
        return ATTENTIONS[attention](query, key, value, row, scale)


@lru_cache(maxsize=4)
def _row(lengths: bytes, dropped: bytes, device: torch.device) -> Packed:
    """The row for attention, the same for all layers, in forward and backward: it keeps their masks."""
    numbers = iter(torch.frombuffer(bytearray(lengths), dtype=torch.long).tolist())
    of_prompts = tuple(tuple(next(numbers) for _ in range(count)) for count in numbers)
    tokens = torch.frombuffer(bytearray(dropped), dtype=torch.bool)
    parts = torch.split(tokens, [sum(each) for each in of_prompts])
    drops = [part[: each[0]] for part, each in zip(parts, of_prompts, strict=True)]
    ids = torch.zeros(1, len(tokens), dtype=torch.long, device=device)
    return Packed(ids, ids, of_prompts, ATTENTIONS["auto"], tuple(each if each.any() else None for each in drops))


@_attend.register_fake
def _attend_fake(query: Tensor, key: Tensor, value: Tensor, *row: Any) -> Tensor:
    batch, heads, time, _ = query.shape
    return value.new_empty(batch, time, heads, value.shape[-1])


# Not a `custom_op`: inside of one, autograd is off.
torch.library.define(
    "mdpo::attend_backward",
    "(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor lengths, Tensor dropped, str attention, "
    "float scale) -> (Tensor, Tensor, Tensor)",
)


@torch.library.impl("mdpo::attend_backward", "default")
def _attend_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *row: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value. Attends again: a graph keeps tensors, and no derivatives of ours."""
    query, key, value = (each.detach().requires_grad_() for each in (query, key, value))
    with torch.enable_grad():
        attended = _attended(query, key, value, *row)
    gradients = torch.autograd.grad(attended, (query, key, value), gradient.transpose(1, 2))
    of_query, of_key, of_value = gradients
    return of_query.contiguous(), of_key.contiguous(), of_value.contiguous()


@torch.library.register_fake("mdpo::attend_backward")  # type: ignore[untyped-decorator]  # torch's
def _attend_backward_fake(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *row: Any) -> list[Tensor]:
    return [each.new_empty(each.shape) for each in (query, key, value)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.attention, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.mdpo.attend_backward(gradient, *ctx.saved_tensors, ctx.attention, ctx.scale)
    return *gradients, None, None, None, None


_attend.register_autograd(_differentiate, setup_context=_keep)


def _add_one(values: Tensor) -> Tensor:
    return values + 1
