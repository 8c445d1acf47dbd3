"""The operations of a step, against those that torch counts while real steps run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from support.builders.small_llava import build_llava
from support.builders.small_vlms import build_vlm
from support.builders.vlms import shapes
from support.real_memory import real_engine
from torch.utils.flop_counter import FlopCounterMode

from mdpo_core import Batch, Example, Placement, Recipe, Train, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.recipe.recipe import Output, Scoring
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.scorer import encode_images
from mdpo_core.training.speed.arithmetic import Arithmetic, Flops
from mdpo_core.types.packing import pack

LORA = {"rank": 8, "alpha": 8, "dropout": 0.05}
# The class token of the vision encoder is not counted; it is one of 65 here.
CLOSE = 0.02
# torch does not compute again what only the layer's output needs. One of two layers of the vision encoder has no
# gradient here, because its output is not read.
LESS_CLOSE = {"lora, all layers again": 0.025, "lora in the vision encoder, too": 0.04}
HIDDEN, LAYERS = 128, 4
ANSWERS = {"chosen": "A pink flower. ", "rejected": "A Chinese temple. "}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llava(tmp_path_factory.mktemp("llava"), hidden=HIDDEN, layers=LAYERS, image_size=112)


def recipe_of(folder: Path, reference: Any = "adapter_off", scoring: Any = None, **model: Any) -> Recipe:
    return Recipe(
        model=component("adapter", "chat_vlm", path=str(folder), prompts="chat", **model),
        data=component("reader", "pairs", path="rows.jsonl"),
        corruptions={"crop": component("corruption", "random_crop")},
        objective=(component("loss", "dpo"), component("loss", "dpo", over="chosen@crop")),
        backend=component("backend", "local"),
        train=Train(batch_size=3, micro_batch_size=3),
        scoring=Scoring(**(scoring or {})),
        reference=reference,
        output=Output(dir=Path("run")),
    )


def batch_of(recipe: Recipe, num_pictures: int = 1) -> Batch:
    rows = [
        Example(
            str(number),
            "<image>" * num_pictures + "\nWhat is in the picture?",
            {name: text * (8 + number) for name, text in ANSWERS.items()},
            tuple(
                PIL.Image.linear_gradient("L").rotate(45 * number + 5 * place).convert("RGB").resize((112, 112))
                for place in range(num_pictures)
            ),
        )
        for number in range(3)
    ]
    encoder = recipe.model.encoder()
    return BatchBuilder.for_terms(recipe.objective, recipe.corruptions, encoder, 2048, seed=0).build(rows, range(3), 0)


def counted(engine: Any, batch: Batch) -> int:
    """torch's count of a step, without attention: it counts scores that masks hide, and those computed again."""
    with FlopCounterMode(display=False) as counter:
        scored = engine.forward(batch)
        engine.backward(torch.stack([tokens.values.sum() for tokens in scored.policy.values()]).sum())
    total: int = counter.get_total_flops()
    return total


def attended(recipe: Recipe, batch: Batch, hidden: int = HIDDEN, layers: int = LAYERS) -> int:
    """The operations of attention, by trying every pair of tokens; backward does twice the work of forward."""
    items = [item for items in batch.items.values() for item in items]
    if recipe.shares_prefix():
        packed = pack(items, sdpa_attention).packed
        query, key = torch.meshgrid(*[torch.arange(packed.token_ids.numel())] * 2, indexing="ij")
        groups, branches = packed.groups, packed.branches
        sees = (groups[query] == groups[key]) & ((branches[key] == 0) | (branches[key] == branches[query]))
        seen = int((sees & (query >= key)).sum())
    else:
        seen = sum(
            int(torch.ones(size, size).tril().sum()) for size in (len(i.prompt) + len(i.response) for i in items)
        )
    again = {"off": 0, "full": layers, 2: layers // 2}[recipe.scoring.activation_checkpointing]
    passes = layers * (3 + (recipe.reference_kind() != "cached")) + again
    return 2 * 2 * hidden * seen * passes


def computed(recipe: Recipe, engine: Any, batch: Batch) -> Flops:
    found = Arithmetic.of(recipe, engine._scorer.model, recipe.model.encoder().image_token)
    assert found is not None
    return found.flops(batch)


CASES = {
    "lora": {"lora": LORA},
    "lora, cached reference": {"lora": LORA, "reference": "cached"},
    "lora, a forward for each view": {"lora": LORA, "scoring": {"share_prefix": False, "max_logits": None}},
    "lora, all layers again": {"lora": LORA, "scoring": {"activation_checkpointing": "full"}},
    "lora, every second layer again": {"lora": LORA, "scoring": {"activation_checkpointing": 2}},
    "lora in the vision encoder, too": {"lora": LORA, "parts": {"vision": {"train": "lora"}}},
    "projector trains, too": {"lora": LORA, "parts": {"projector": {"train": "full"}}},
    "all weights": {"freeze": ()},
    "language model in full": {"freeze": ("vision", "projector")},
}


FAST = ("lora", "lora, a forward for each view", "all weights")


@pytest.mark.parametrize(
    "case", [case if case in FAST else pytest.param(case, marks=pytest.mark.long) for case in CASES]
)
def test_a_step_has_the_operations_that_torch_counts(llava: Path, case: str) -> None:
    options = {"reference": "adapter_off" if "lora" in CASES[case] else "frozen_copy", **CASES[case]}
    recipe = recipe_of(llava, **options)
    engine, batch = real_engine(recipe), batch_of(recipe)
    flops = computed(recipe, engine, batch)
    expected = counted(engine, batch) + attended(recipe, batch)
    assert flops.needed + flops.again == pytest.approx(expected, rel=LESS_CLOSE.get(case, CLOSE))


@pytest.mark.parametrize("num_pictures", [1, 3])
def test_features_are_those_that_the_model_gives(llava: Path, num_pictures: int) -> None:
    recipe = recipe_of(llava, lora=LORA)
    model, batch = recipe.model.load(Placement()), batch_of(recipe, num_pictures)
    units = Arithmetic(recipe, model, recipe.model.encoder().image_token)._units(batch)
    assert units["feature"] == sum(len(image.features) for image in encode_images(model, batch))


@pytest.mark.long
@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "idefics3"])
def test_operations_of_other_families_are_close(family: str, tmp_path: Path) -> None:
    recipe = recipe_of(build_vlm(family, tmp_path), lora=LORA)
    engine, batch = real_engine(recipe), batch_of(recipe)
    flops = computed(recipe, engine, batch)
    expected = counted(engine, batch) + attended(recipe, batch, shapes.HIDDEN, shapes.LAYERS)
    assert flops.needed == pytest.approx(expected, rel=0.04)


def test_operations_of_experts_are_not_known(llava: Path) -> None:
    recipe = recipe_of(llava, lora=LORA)
    model = recipe.model.load(Placement())
    model.layers()[0].mlp.add_module("experts", torch.nn.Linear(2, 2))
    assert Arithmetic.of(recipe, model, 3) is None
