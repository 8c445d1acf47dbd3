"""The load-balancing loss of routers against transformers' own function, on plain forwards of each view."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest
import torch
from mdpo_vlm.families import FAMILIES
from support.builders.small_vlms import NIGHTLY, build_vlm
from support.oracles.plain_vlms import VIEWS, adapter, examples, plain_inputs
from support.paths import RECIPES
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import load_balancing_loss_func

from mdpo_core import Example, Placement, load_recipe
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.scorer import PLAIN, Scorer

EXPERTS = [
    pytest.param(name, marks=() if name == "qwen3_vl_moe" else NIGHTLY)
    for name, family in FAMILIES.items()
    if family.experts
]


def router_weights(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: each for name, each in module.named_parameters() if name.endswith(("mlp.gate.weight", "router.weight"))
    }


def of_transformers(plain: nn.Module, family: str, folder: Path, data: Sequence[Example]) -> Tensor:
    """The loss of all tokens of all views, each view of each row in a plain forward of its own."""
    logits: dict[str, list[Tensor]] = {name: [] for name in router_weights(plain)}
    masks: list[Tensor] = []
    number = 1 if family == "llama4" else 0  # of the logits among the outputs of a router
    for name, kept in logits.items():
        router = plain.get_submodule(name.removesuffix(".weight"))
        router.register_forward_hook(lambda module, inputs, output, kept=kept: kept.append(output[number]))
    for example in data:
        for view in VIEWS:
            inputs, _ = plain_inputs(family, folder, example, example.responses[view.response])
            plain(**inputs)
            masks.append(inputs["attention_mask"])
    layers = tuple(torch.cat(kept) for kept in logits.values())
    chosen = plain.config.get_text_config().num_experts_per_tok
    return load_balancing_loss_func(layers, layers[0].shape[-1], chosen, torch.cat(masks, dim=1))


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "shared"])
@pytest.mark.parametrize("family", EXPERTS)
def test_it_is_transformers_own_over_the_tokens_of_every_view(
    family: str, options: Scoring, tmp_path: Path, photographs: Path
) -> None:
    """With layers computed again in backward."""
    folder = build_vlm(family, tmp_path)
    data = [*examples(family, photographs), examples(family, photographs)[0]]  # one is there twice, and counts twice
    made = adapter(family, folder, freeze=())
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    model = made.load(Placement())
    recompute_in_backward(model.layers(), "full")
    scorer = Scorer(model, TermInputs(tuple(VIEWS)), options=options, balanced=True)
    found = scorer(batch).router_aux_loss
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    expected = of_transformers(plain, family, folder, data)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.backward()
    expected.backward()
    for value, wanted in zip(router_weights(model.module).values(), router_weights(plain).values(), strict=True):
        torch.testing.assert_close(value.grad, wanted.grad, atol=1e-4 * float(wanted.grad.abs().max()), rtol=0)
    with torch.no_grad():
        assert scorer(batch).router_aux_loss is None


def test_a_forward_that_fails_leaves_nothing_in_the_loss_of_the_next(tmp_path: Path, photographs: Path) -> None:
    """As one does that has too little memory: some views are computed, then one is not."""
    folder = build_vlm("qwen3_vl_moe", tmp_path)
    data, made = examples("qwen3_vl_moe", photographs), adapter("qwen3_vl_moe", folder)
    builder = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0)
    batch, other = (builder.build(data, [row], epoch=0) for row in (0, 1))
    model = made.load(Placement())
    scorer = Scorer(model, TermInputs(tuple(VIEWS)), options=PLAIN, balanced=True)
    expected = scorer(batch).router_aux_loss
    calls = count()

    def fail_at_the_second(module: nn.Module, inputs: object) -> None:
        if next(calls):
            raise MemoryError

    hook = model.layers()[-1].register_forward_pre_hook(fail_at_the_second)
    with pytest.raises(MemoryError):
        scorer(other)
    hook.remove()
    assert next(calls) == 2
    assert scorer(batch).router_aux_loss.equal(expected)


def test_where_it_has_no_place_it_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    recipe, weight = RECIPES / "qwen2_5_vl_mdpo.yaml", "train.router_aux_loss_coef=0.001"
    folder, experts = build_vlm("qwen3_vl", tmp_path / "dense"), build_vlm("qwen3_vl_moe", tmp_path / "experts")
    with pytest.raises(RecipeError, match=r"train.router_aux_loss_coef: the model has no routers to balance"):
        load_recipe(recipe, [f"model.path={folder}", weight])
    assert load_recipe(recipe, [f"model.path={experts}", weight]).train.router_aux_loss_coef == 0.001
    with pytest.raises(RecipeError, match=r"scoring.compile: compiled layers hide what routers say"):
        load_recipe(recipe, [f"model.path={experts}", weight, "scoring.compile=true"])
