"""Estimates on fake weights, against the tensors of real steps on real engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from support.builders.small_llava import build_llava
from support.builders.small_vlms import NIGHTLY, build_vlm
from support.real_memory import real_phases

from mdpo_core import Example, Placement, Recipe, Train, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.model import Depth
from mdpo_core.memory.estimate import Estimate, Estimator, depths_to_try
from mdpo_core.memory.simulation import Trial
from mdpo_core.recipe.recipe import Output, Scoring
from mdpo_core.scoring import head
from mdpo_core.types.batch import Batch

LORA = {"rank": 8, "alpha": 8, "dropout": 0.05}
# Within 1 % of what the real tensors hold.
CLOSE = 0.01
ANSWERS = {"chosen": "A pink flower. ", "rejected": "A Chinese temple. "}
LOCAL = {"backend": "local"}
ZERO_2 = {"backend": "deepspeed", "zero_stage": 2, "precision": "bf16"}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llava(tmp_path_factory.mktemp("llava"), hidden=128, layers=8)


def recipe_of(
    folder: Path, backend: dict[str, Any], lora: dict[str, Any] | None, reference: Any = "cached", **scoring: Any
) -> Recipe:
    named = {**backend}
    return Recipe(
        model=component("adapter", "chat_vlm", path=str(folder), prompts="chat", lora=lora),
        data=component("reader", "pairs", path="rows.jsonl"),
        corruptions={"crop": component("corruption", "random_crop")},
        objective=(component("loss", "dpo"), component("loss", "dpo", over="chosen@crop")),
        backend=component("backend", named.pop("backend"), **named),
        train=Train(batch_size=3, micro_batch_size=3),
        scoring=Scoring(**scoring),
        reference=reference,
        output=Output(dir=Path("run")),
    )


def batch_of(recipe: Recipe) -> Batch:
    rows = [
        Example(
            str(number),
            "<image>\nWhat is in the picture?",
            {name: text * (4 + number) for name, text in ANSWERS.items()},
            (PIL.Image.linear_gradient("L").rotate(90 * number).convert("RGB").resize((56, 56)),),
        )
        for number in range(3)
    ]
    encoder = recipe.model.encoder()
    return BatchBuilder.for_terms(recipe.objective, recipe.corruptions, encoder, 2048, seed=0).build(rows, range(3), 0)


def estimate_of(recipe: Recipe, batch: Batch) -> Estimate:
    return Estimator(recipe, on_gpu=False).estimate(batch, recipe.train, 1)


def require_close(recipe: Recipe) -> None:
    batch = batch_of(recipe)
    real, found = real_phases(recipe, batch), estimate_of(recipe, batch)
    assert found.peak == pytest.approx(max(real.values()), rel=CLOSE)
    for phase in ("forward", "backward"):
        assert found.phases[phase] == pytest.approx(real[phase], rel=CLOSE)


@pytest.mark.parametrize(
    "lora", [pytest.param(LORA, id="lora"), pytest.param(None, id="all weights", marks=pytest.mark.long)]
)
def test_peak_is_that_of_real_tensors(llava: Path, lora: Any) -> None:
    require_close(recipe_of(llava, LOCAL, lora))


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_peak_counts_the_copy_of_an_adapter_that_trains_on(precision: str, llava: Path, tmp_path: Path) -> None:
    """Of a rank at which the copy is more than a twentieth of the peak."""
    lora = {"rank": 64, "alpha": 64, "dropout": 0.0}
    plain = recipe_of(llava, {**LOCAL, "precision": precision}, lora, "adapter_off")
    plain.model.load(Placement()).export(tmp_path)
    model = component("adapter", "chat_vlm", path=str(tmp_path), continue_lora=True, prompts="chat", lora=lora)
    continued = plain.model_copy(update={"model": model})
    require_close(continued)
    batch = batch_of(continued)
    assert estimate_of(continued, batch).peak > 1.05 * estimate_of(plain, batch).peak


def test_it_counts_the_logits_that_its_device_holds_at_once(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "ON_CPU", 4_000)
    monkeypatch.setattr(head, "ON_GPU", 40_000)
    batch = batch_of(recipe_of(llava, LOCAL, LORA))

    def logits(on_gpu: bool, **scoring: Any) -> float:
        with_limit = recipe_of(llava, LOCAL, LORA, **scoring)
        return Trial(with_limit, 1, on_gpu=on_gpu).step(batch, frees_gradients=True).logits

    assert logits(True) == logits(True, max_logits=40_000) > logits(False) == logits(False, max_logits=4_000)


@pytest.mark.long
@pytest.mark.parametrize("reference", ["adapter_off", "frozen_copy"])
def test_peak_counts_the_reference(llava: Path, reference: str) -> None:
    require_close(recipe_of(llava, LOCAL, LORA, reference))


@pytest.mark.long
@pytest.mark.parametrize(
    "scoring",
    [
        {"activation_checkpointing": "full"},
        {"activation_checkpointing": 3},
        {"share_prefix": False},
        {"max_logits": 4096},
        {"compile": True},  # the row is longer; layers are not compiled here, nor for the estimate
    ],
    ids=str,
)
def test_peak_follows_the_options_of_scoring(llava: Path, scoring: dict[str, Any]) -> None:
    require_close(recipe_of(llava, LOCAL, LORA, **scoring))


@pytest.mark.long
@pytest.mark.parametrize("precision", ["bf16", "bf16_autocast"])
def test_peak_follows_the_precision(llava: Path, precision: str) -> None:
    require_close(recipe_of(llava, {**LOCAL, "precision": precision}, LORA))


@pytest.mark.long
@pytest.mark.parametrize(
    "family",
    [
        "qwen2_5_vl",
        "qwen3_vl",
        "gemma3",
        "smolvlm",  # its code counts the pictures that are not empty
        *(
            pytest.param(name, marks=NIGHTLY)
            for name in (
                *("qwen3_5", "lfm3_vl", "minicpmv4_7", "gemma4", "mistral3", "llava_next", "idefics3", "mllama"),
                "molmo2",
            )
        ),
    ],
)
def test_peak_is_right_for_other_families(family: str, tmp_path: Path) -> None:
    require_close(recipe_of(build_vlm(family, tmp_path), LOCAL, LORA))


@NIGHTLY
@pytest.mark.parametrize("targets", [["all-linear"], ["all-linear", "experts"], None], ids=str)
@pytest.mark.parametrize("family", ["qwen3_vl_moe", "glm4v_moe", "mistral4", "llama4"])
def test_peak_is_right_for_experts(family: str, targets: list[str] | None, tmp_path: Path) -> None:
    lora = None if targets is None else {**LORA, "targets": targets}
    require_close(recipe_of(build_vlm(family, tmp_path), LOCAL, lora))


@pytest.mark.long
@pytest.mark.parametrize("stage", [1, 2])
def test_peak_is_that_of_a_zero_engine(llava: Path, stage: int) -> None:
    require_close(recipe_of(llava, {**ZERO_2, "zero_stage": stage}, LORA))


def test_an_estimate_reads_no_weights(llava: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in llava.iterdir():
        if file.suffix != ".safetensors":
            (bare / file.name).write_bytes(file.read_bytes())
    recipes = [recipe_of(folder, LOCAL, LORA) for folder in (llava, bare)]
    estimates = [estimate_of(recipe, batch_of(recipe)) for recipe in recipes]
    assert estimates[0] == estimates[1]


def test_processes_share_what_the_backend_splits(llava: Path) -> None:
    recipe = recipe_of(llava, {**ZERO_2, "zero_stage": 3}, LORA)
    estimator, batch = Estimator(recipe), batch_of(recipe)
    # The first estimate of a process also counts what torch keeps from its first step on, a kilobyte.
    _, alone, shared = (estimator.estimate(batch, recipe.train, number) for number in (1, 1, 4))
    whole = sum(each.nbytes for each in recipe.model.load(Placement()).module.buffers())  # in each process
    assert shared.weights - whole == pytest.approx((alone.weights - whole) / 4)
    assert shared.optimizer == pytest.approx(alone.optimizer / 4)
    assert shared.activations == alone.activations


@pytest.mark.parametrize(
    ("depth", "every", "expected"),
    [
        (Depth(32), 1, (2, 4)),
        (Depth(36, special=3), 1, (3, 5)),
        (Depth(48, 6), 1, (6, 12)),
        (Depth(32), 4, (4, 8)),
        (Depth(8), 3, (2, 5)),
        (Depth(4), 1, (4,)),
        (Depth(12, 6), 1, (12,)),
    ],
)
def test_two_depths_lie_on_the_line_of_the_whole_model(depth: Depth, every: int, expected: tuple[int, ...]) -> None:
    assert depths_to_try(depth, every) == expected
