"""Families whose layers have a state that goes from token to token: responses take it over from their prompt."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_vlm import TransformersAdapter
from mdpo_vlm.families import FAMILIES, Family
from mdpo_vlm.forward.recurrent import start_branches_from_prompts
from support.builders.small_vlms import NIGHTLY, OFTEN, build_vlm
from support.oracles.plain_gradients import require_gradients_of_plain_forwards
from support.oracles.plain_vlms import VIEWS, examples
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from mdpo_core import IMAGE_MARK, Placement, PluginError, RecipeError, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.scorer import PLAIN, Scorer
from mdpo_core.scoring.shared_prefix_check import require_shared_prefix
from mdpo_core.testing import check_adapter
from mdpo_core.types.layout import Packed

RECURRENT = [
    pytest.param(name, marks=() if name in OFTEN else NIGHTLY)
    for name, family in FAMILIES.items()
    if family.recurrent is not None
]
NATS, SHARE = 2e-5, 1e-4

# A prompt's length, the lengths of its branches, and how many tokens are dropped at a place in it.
PROMPTS = st.tuples(
    st.integers(1, 9) | st.integers(60, 70), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(0, 3)
)


@pytest.fixture(scope="module", params=RECURRENT)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def layers(family: str, folder: Path) -> tuple[nn.Module, nn.Module]:
    """A layer's module with a state, as transformers makes it, and the same one for packed rows."""
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    changed, recurrent = copy.deepcopy(plain), FAMILIES[family].recurrent
    assert recurrent is not None
    start_branches_from_prompts(changed, recurrent)
    one, other = (model.get_decoder().layers[0].get_submodule(recurrent.module) for model in (plain, changed))
    return one, other


def packed_row(prompts: Sequence[tuple[int, list[int], int]]) -> Packed:
    lengths = tuple((prompt, *branches) for prompt, branches, _ in prompts)
    dropped = [torch.zeros(prompt, dtype=torch.bool) for prompt, _, _ in prompts]
    for mask, (length, _, number) in zip(dropped, prompts, strict=True):
        mask[length // 3 : length // 3 + number] = True
    ids = torch.zeros(1, sum(map(sum, lengths)), dtype=torch.long)
    return Packed(ids, ids, lengths, sdpa_attention, tuple(mask if mask.any() else None for mask in dropped))


def one_by_one(layer: nn.Module, hidden: Tensor, packed: Packed) -> Tensor:
    """Each prompt with each of its branches as a sequence of its own, in the layout of the packed row."""
    parts, start = [], 0
    for number, (prompt, *branches) in enumerate(packed.lengths):
        of_prompt, start = hidden[:, start : start + prompt], start + prompt
        drops = packed.drops(number)
        for place, branch in enumerate(branches):
            of_branch, start = hidden[:, start : start + branch], start + branch
            mask = torch.ones(1, prompt + branch)
            if drops is not None:
                mask[0, :prompt] -= drops.float()
            whole = layer(torch.cat([of_prompt, of_branch], dim=1), attention_mask=mask)
            parts.append(whole if place == 0 else whole[:, prompt:])
    return torch.cat(parts, dim=1)


@settings(max_examples=25)
@given(prompts=st.lists(PROMPTS, min_size=1, max_size=3), seed=st.integers(0, 99))
def test_a_layer_gives_each_branch_what_it_has_alone(
    layers: tuple[nn.Module, nn.Module], prompts: list[tuple[int, list[int], int]], seed: int
) -> None:
    plain, changed = layers
    packed, generator = packed_row(prompts), torch.Generator().manual_seed(seed)
    width = plain.out_proj.out_features  # type: ignore[union-attr]
    states, weights = (torch.randn(1, packed.token_ids.shape[1], width, generator=generator) for _ in range(2))
    found, expected = states.clone().requires_grad_(), states.clone().requires_grad_()
    one, other = changed(found, packed=packed, attention_mask=None), one_by_one(plain, expected, packed)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    (one * weights).sum().backward()
    (other * weights).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [PLAIN, Scoring(), Scoring(max_logits=700)], ids=["plain", "shared", "chunks"])
def test_gradients_equal_those_of_one_plain_forward_for_each_view(
    options: Scoring, family: str, folder: Path, photographs: Path
) -> None:
    require_gradients_of_plain_forwards(family, folder, photographs, options)


class WithoutStates(TransformersAdapter):
    """Claims that a prompt can be shared, and says nothing of the states."""

    prompts: Any = "chat"

    def family(self) -> Family:
        return replace(super().family(), separate="", recurrent=None)


def test_a_false_claim_of_sharing_fails_the_contract(family: str, folder: Path, photographs: Path) -> None:
    claimed = WithoutStates(path=str(folder), lora={"rank": 2, "alpha": 4})  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=r"with a shared prompt: the policy's log-probs of .* differ by"):
        check_adapter(claimed, examples(family, photographs))


def test_a_false_claim_of_sharing_stops_a_run_before_it_trains(family: str, folder: Path, photographs: Path) -> None:
    data = examples(family, photographs)
    claimed = WithoutStates(path=str(folder), lora={"rank": 2, "alpha": 4})  # type: ignore[arg-type]
    batch = BatchBuilder(claimed.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    with pytest.raises(PluginError, match=r"differ by .*% from a separate forward"):
        require_shared_prefix("claimed", claimed.load(Placement()), batch, sdpa_attention)


def test_kernels_that_nobody_tried_with_states_are_refused(family: str, folder: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"model.kernels: nobody has tried .* with recurrent states; leave kernels out"
    ):
        component("adapter", "chat_vlm", path=str(folder), kernels="liger").check()  # type: ignore[attr-defined]


@NIGHTLY
def test_a_line_break_after_an_image_has_its_place_even_in_a_response(tmp_path: Path, photographs: Path) -> None:
    """MiniCPM-V 4.7 gives line breaks after an image positions of the image, so a response can change them."""
    folder = build_vlm("minicpmv4_7", tmp_path)
    made = component("adapter", "chat_vlm", path=str(folder), prompts="ready", unusual_texts="keep")
    answers = {"chosen": "\nA temple", "rejected": "A flower"}
    data = [
        replace(row, prompt=f"Look: {IMAGE_MARK}", responses=answers)
        for row in examples("llava_onevision", photographs)[:2]
    ]
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(2), epoch=0)  # type: ignore[attr-defined]
    model = made.load(Placement())  # type: ignore[attr-defined]
    with torch.no_grad():
        shared, plain = (
            Scorer(model, TermInputs(tuple(VIEWS)), options=options)(batch).policy for options in (Scoring(), PLAIN)
        )
    for view in VIEWS:
        torch.testing.assert_close(shared[view].values, plain[view].values, atol=NATS, rtol=NATS)
