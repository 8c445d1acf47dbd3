"""Training on a device that is not the CPU: every tensor is where it must be, and the numbers are those of the CPU.

There is no GPU here: see `support.pretended.device`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
import torch
from support.builders.tiny_models import Tiny
from support.pretended.device import DEVICE, MixedDevicesError, process_with_device
from support.pretended.steps import MEASURED, Case, take_steps
from torch import Tensor

from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring import flex_attention

SDPA, SEPARATE = Scoring(attention="sdpa"), Scoring(share_prefix=False)
DROPOUT = {"text": "grouped", "dropout": 0.3}
# Policy and adapter off, statistics and probes, a frozen copy: most of what there is.
FEW = {
    "bf16 recomputed": Case(
        Tiny(**DROPOUT, dtype=torch.bfloat16), options=Scoring(activation_checkpointing="full"), fused=True
    ),
    "fp16 with a factor": Case(Tiny(**DROPOUT, dtype=torch.float16), scales=True),
    "autocast measured": Case(terms=MEASURED, autocast=True),
    "all weights": Case(Tiny(trains="all"), options=Scoring(max_logits=200, share_prefix=False)),
}
MORE = {
    "lora": Case(),
    "lora by sdpa": Case(options=SDPA),
    "lora separate": Case(options=SEPARATE),
    "lora cached": Case(cached=True),
    "lora fused": Case(fused=True),
    "lora recomputed": Case(options=Scoring(activation_checkpointing=2)),
    "lora measured": Case(terms=MEASURED),
    "bf16 by sdpa": Case(Tiny(**DROPOUT, dtype=torch.bfloat16), options=SDPA),
    "bf16 separate": Case(Tiny(**DROPOUT, dtype=torch.bfloat16), MEASURED, SEPARATE),
    "fp16": Case(Tiny(**DROPOUT, dtype=torch.float16)),
    "fp16 autocast with a factor": Case(options=SEPARATE, autocast=True, half=torch.float16, scales=True),
    "fp16 by sdpa": Case(Tiny(**DROPOUT, dtype=torch.float16), options=SDPA),
    "autocast by sdpa": Case(options=SDPA, autocast=True),
    "autocast separate": Case(options=SEPARATE, autocast=True),
    "autocast all weights": Case(Tiny(trains="all"), options=Scoring(max_logits=200), autocast=True),
    "trained head": Case(Tiny("phi", "lora_and_head", True, dropout=0.3), options=Scoring(max_logits=200)),
    "all weights": Case(Tiny(trains="all"), options=Scoring(max_logits=200)),
    "language measured": Case(Tiny(trains="language"), MEASURED, SEPARATE),
}


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    with process_with_device() as process:
        yield process


def require_as_on_cpu(case: Case, process: ProcessPoolExecutor) -> None:
    found = process.submit(take_steps, case, DEVICE).result()
    expected = process.submit(take_steps, case, "cpu").result()
    assert found.keys() == expected.keys()
    rounding = 1e-4 if case.tiny.dtype == torch.float32 and not case.autocast else 0.1
    for name, values in expected.items():
        # Rewards are small differences of log-probs, which are compared, too.
        scale = max(1.0, float(values.abs().max()))
        torch.testing.assert_close(found[name], values, atol=rounding * scale, rtol=0, msg=name)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name != "bf16 recomputed")) for name in FEW]
)
def test_steps_on_a_device_are_those_on_the_cpu(name: str, process: ProcessPoolExecutor) -> None:
    require_as_on_cpu(FEW[name], process)


@pytest.mark.long
@pytest.mark.parametrize("name", MORE)
def test_every_way_to_train_works_on_a_device(name: str, process: ProcessPoolExecutor) -> None:
    require_as_on_cpu(MORE[name], process)


def stays(values: Any, device: object) -> Any:
    return values


def blocks_stay(packed: Any) -> Any:
    return _BLOCK_MASK(packed).to("cpu")


def ones(packed: Tensor, shape: torch.Size) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def as_saved(parameter: Tensor, value: Tensor, *_: Any) -> Tensor:
    return value


_BLOCK_MASK = flex_attention.block_mask
# What stays on the CPU, as the place in the code and what is there instead.
MUTANTS: dict[str, tuple[Callable[..., Any], Case]] = {
    "mdpo_core.scoring.attention.to_device": (stays, Case(options=SDPA)),
    "mdpo_core.scoring.hidden_states.to_device": (stays, Case()),
    "mdpo_core.types.layout.to_device": (stays, Case()),
    "mdpo_core.types.scores.to_device": (stays, Case()),
    "mdpo_core.scoring.reference.to_device": (stays, Case(cached=True)),
    "mdpo_core.scoring.scorer.all_to_device": (stays, Case()),
    "mdpo_core.scoring.flex_attention.block_mask": (blocks_stay, Case()),
    "mdpo_vlm.parts.dropout._unpacked": (ones, Case()),
    "torch.optim.Optimizer._process_value_according_to_param_policy": (staticmethod(as_saved), Case(fused=True)),
}


def take_mutated_steps(place: str) -> None:
    mutant, case = MUTANTS[place]
    with patch(place, mutant):
        take_steps(case, DEVICE)


@pytest.mark.parametrize("place", MUTANTS)
def test_what_stays_on_the_cpu_is_noticed(place: str, process: ProcessPoolExecutor) -> None:
    # The trial of FlexAttention tells of it in its own words.
    with pytest.raises((MixedDevicesError, AssertionError), match="was given from the CPU"):
        process.submit(take_mutated_steps, place).result()
