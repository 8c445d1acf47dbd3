"""A model that only says that it shares prompts ends its run before the first update; one that does is left alone."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from mdpo_vlm.forward.model import VlmModel
from support.builders.tiny_batches import VIEWS, Drawn, build_batch, drawn_rows, some_views
from support.builders.tiny_models import Tiny, build
from support.oracles.plain_attention import attend_as, right
from support.paths import RECIPES
from torch import Tensor

from mdpo_core import EncodedImage, Packed, PaddedView, PluginError, View, load_recipe, run
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.shared_prefix_check import require_shared_prefix
from mdpo_core.types.layout import Attention

RECIPE = RECIPES / "llava_mdpo.yaml"
ROW = [Drawn((0,), [5, 6], [7, 8, 9], [5, 9])]
PACKED, HIDDEN = VlmModel.packed_hidden_states, VlmModel.hidden_states
Images = Sequence[EncodedImage]
Lie = Callable[[VlmModel, Packed, Images], Tensor]


def ignores_packed(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    nowhere = torch.zeros_like(packed.token_ids, dtype=torch.bool)
    return HIDDEN(self, PaddedView(packed.token_ids, torch.ones_like(packed.token_ids), nowhere), images)


def sees_siblings(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    return PACKED(self, replace(packed, lengths=tuple((sum(sizes),) for sizes in packed.lengths)), images)


def one_too_far(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    moved = packed.position_ids + (packed.branches > 0)
    return PACKED(self, replace(packed, position_ids=moved), images)


def not_a_number(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    return PACKED(self, packed, images) * torch.nan


def sees_other_prompts(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    wrong = attend_as(lambda query, key: right(query, key) or (key.group < query.group and key.branch == 0))
    return PACKED(self, replace(packed, attention=wrong), images)


LIES: list[Lie] = [ignores_packed, sees_siblings, one_too_far, not_a_number, sees_other_prompts]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lie", LIES)
def test_a_run_with_a_lying_adapter_ends_before_any_update(
    lie: Lie, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VlmModel, "packed_hidden_states", lie)
    recipe = load_recipe(RECIPE, small)
    with pytest.raises(PluginError) as caught:
        run(recipe)
    text = str(caught.value)
    assert text.startswith("the adapter 'llava' says that its model computes a prompt once for all its responses")
    assert re.search(r"but the hidden states of '[a-z@]+' differ by (\d+\.\d|nan)% from a separate forward; set", text)
    assert text.endswith("set scoring.share_prefix: false, and tell the adapter's author")
    assert {Path(name).parts[0] for name in contents(recipe.output.dir)} == {"recipe.yaml", "manifest.json", "checked"}


def test_a_run_that_asks_for_sdpa_never_asks_for_anything_else(
    small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Attention] = []

    def record(self: VlmModel, packed: Packed, images: Images) -> Tensor:
        asked.append(packed.attention)
        return PACKED(self, packed, images)

    monkeypatch.setattr(VlmModel, "packed_hidden_states", record)
    run(load_recipe(RECIPE, [*small, "train.workers=0", "trackers=[]", "scoring.attention=sdpa"]))
    assert len(asked) > 1
    assert set(asked) == {sdpa_attention}


def test_without_a_corruption_one_row_may_not_see_another_either(
    small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VlmModel, "packed_hidden_states", sees_other_prompts)
    with pytest.raises(PluginError, match="the adapter 'llava' says that"):
        run(load_recipe(RECIPE.with_name("llava_dpo.yaml"), small))


@pytest.mark.parametrize(
    "more",
    [["reference=cached"], ["model.lora=null"], ["backend.precision=bf16"], ["backend.precision=bf16_autocast"]],
)
def test_lying_adapter_ends_run_for_every_way_of_training(
    more: list[str], small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends before an update, whatever is trained, in which precision, against which reference."""
    monkeypatch.setattr(VlmModel, "packed_hidden_states", ignores_packed)
    recipe = load_recipe(RECIPE, [*small, *more])
    with pytest.raises(PluginError, match="the adapter 'llava' says that"):
        run(recipe)
    assert {Path(name).parts[0] for name in contents(recipe.output.dir)} == {"recipe.yaml", "manifest.json", "checked"}


def test_a_model_without_the_method_is_named_too(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(VlmModel, "packed_hidden_states")
    with pytest.raises(
        PluginError, match=r"the adapter 'llava' says that .* its model has no packed_hidden_states; set"
    ):
        run(load_recipe(RECIPE, small))


def test_without_shared_prompts_the_same_adapter_trains(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VlmModel, "packed_hidden_states", ignores_packed)
    result = run(load_recipe(RECIPE, [*small, "scoring.share_prefix=false", "train.epochs=1"]))
    assert (result.final / "adapter_model.safetensors").is_file()


@pytest.mark.long
def test_run_resumed_with_lying_adapter_keeps_all_it_had(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(RECIPE, [*small, "train.epochs=1"])
    shutil.rmtree(run(recipe).final)
    before = contents(recipe.output.dir)
    assert any("checkpoints" in name for name in before)
    with monkeypatch.context() as patch:
        patch.setattr(VlmModel, "packed_hidden_states", ignores_packed)
        with pytest.raises(PluginError, match="shares_prefix"):
            run(recipe, resume=True)
    assert contents(recipe.output.dir) == before
    assert run(recipe, resume=True).final.is_dir()


KINDS = [
    Tiny("llama", "lora"),
    Tiny("grouped", "all", side=3),
    Tiny("phi", "lora_and_head", biased_head=True),
    Tiny("llama", "lora", dtype=torch.bfloat16),
    Tiny("phi", "language", biased_head=True, dtype=torch.bfloat16),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.text}-{kind.trains}-{kind.dtype}")
@settings(max_examples=10, deadline=None)
@given(rows=drawn_rows, views=some_views)
def test_a_model_that_shares_prompts_passes_with_any_rows(kind: Tiny, rows: list[Drawn], views: list[View]) -> None:
    require_shared_prefix("tiny", build(kind).model, build_batch(rows, views, kind), sdpa_attention)


def test_trying_a_row_costs_two_forwards_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Tiny("llama", "lora", dropout=0.3)
    model = build(kind).model
    tokens: dict[str, int] = {}

    def count(name: str, method: Any) -> None:
        def counted(self: VlmModel, *inputs: Any) -> Tensor:
            tokens[name] = tokens.get(name, 0) + inputs[0].token_ids.numel()
            found: Tensor = method(self, *inputs)
            assert not found.requires_grad
            return found

        monkeypatch.setattr(VlmModel, name, counted)

    count("packed_hidden_states", PACKED)
    count("hidden_states", HIDDEN)
    batch = build_batch(ROW, VIEWS, kind)
    before, state = copy.deepcopy(model.module.state_dict()), torch.get_rng_state()
    require_shared_prefix("tiny", model, batch, sdpa_attention)
    lengths = {view: len(batch.items[view][0].prompt) + len(batch.items[view][0].response) for view in VIEWS}
    assert tokens["hidden_states"] == sum(lengths.values())
    assert tokens["packed_hidden_states"] < tokens["hidden_states"]
    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[name]) for name, value in model.module.state_dict().items())
    # The run goes on with dropout.
    assert all(module.training for name, module in model.module.named_modules() if name.endswith("lora_dropout"))


def test_model_giving_only_nan_is_not_blamed_for_prompt_sharing() -> None:
    kind = Tiny("llama", "language")
    model = copy.deepcopy(build(kind).model)
    with torch.no_grad():
        for value in model.module.parameters():
            value.fill_(torch.nan)
    require_shared_prefix("tiny", model, build_batch(ROW, VIEWS, kind), sdpa_attention)
