"""Every component of ours against the contract of its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import Example, component
from mdpo_core.registry import KINDS, current_registry
from mdpo_core.testing import (
    PILLOW_MODES,
    check_adapter,
    check_anchor,
    check_backend,
    check_corruption,
    check_evaluator,
    check_loss,
    check_reader,
    check_tracker,
)

LOG_2 = math.log(2)


class SteadyPolicy:
    """Says the same of every picture; the least that an evaluator needs."""

    def generate(self, examples: Sequence[Example], max_new_tokens: int) -> list[str]:
        return ["the picture shows a one , a two , a three and a four ."] * len(examples)

    def metrics(self, examples: Sequence[Example]) -> dict[str, float]:
        return {"loss": 1.0, "rewards/chosen": 0.25}


def digits_rows() -> Sequence[Example]:
    return component("reader", "digits", num_pairs=4).open()[:]  # type: ignore[attr-defined,no-any-return]


def make(kind: str, name: str, **options: Any) -> Any:
    return component(kind, name, **options)


def corruption_contract(name: str, varies: bool) -> Callable[[Path, Path, Path], None]:
    return lambda *_: check_corruption(make("corruption", name), varies=varies, modes=PILLOW_MODES)


# Which of them draw something.
CORRUPTIONS = {
    "random_crop": True,
    "moco_v2": True,
    "other_image": True,
    "color_jitter": True,
    "gaussian_noise": True,
    "diffusion_noise": True,
    "patch_mask": True,
    "rotate": True,
    "flip": False,
    "blur": False,
    "pixelate": False,
    "no_image": False,
    "blank": False,
}
CONTRACTS: dict[tuple[str, str], Callable[[Path, Path, Path], None]] = {
    ("loss", "dpo"): lambda *_: check_loss(make("loss", "dpo"), indifference=LOG_2),
    ("anchor", "reward"): lambda *_: check_anchor(make("anchor", "reward"), indifference=LOG_2),
    **{("corruption", name): corruption_contract(name, varies) for name, varies in CORRUPTIONS.items()},
    ("backend", "fsdp"): lambda *_: check_backend(make("backend", "fsdp")),
    ("backend", "local"): lambda *_: check_backend(make("backend", "local", device="cpu")),
    ("backend", "deepspeed"): lambda *_: check_backend(make("backend", "deepspeed", precision="fp32")),
    ("reader", "digits"): lambda *_: check_reader(make("reader", "digits")),
    ("reader", "pairs"): lambda folder, pairs, images: check_reader(
        make("reader", "pairs", path=str(pairs), images=images)
    ),
    ("adapter", "digits"): lambda *_: check_adapter(make("adapter", "digits"), digits_rows()),
    ("evaluator", "digits"): lambda folder, *_: check_evaluator(
        make("evaluator", "digits", num_mosaics=8), SteadyPolicy(), folder
    ),
    ("tracker", "curves"): lambda folder, *_: check_tracker(make("tracker", "curves"), folder),
    ("tracker", "tensorboard"): lambda folder, *_: check_tracker(make("tracker", "tensorboard"), folder),
}
ELSEWHERE = {("adapter", "llava")}  # in test_llava.py, with photographs


@pytest.mark.parametrize(("kind", "name"), CONTRACTS)
def test_a_component_keeps_the_contract_of_its_kind(
    kind: str, name: str, tmp_path: Path, pairs: Path, photographs: Path
) -> None:
    CONTRACTS[kind, name](tmp_path, pairs, photographs)


def test_no_component_is_left_out() -> None:
    ours = {(kind, name) for kind in KINDS for name in current_registry().components(kind)}
    assert ours == CONTRACTS.keys() | ELSEWHERE
