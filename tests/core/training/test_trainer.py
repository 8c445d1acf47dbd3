"""Accumulation, clipping and the optimizer's state, on a model small enough to compute by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.paths import RECIPES

from mdpo_core import MdpoError, load_recipe, run

RECIPE = RECIPES / "llava_mdpo.yaml"


def final_weights(changes: list[str]) -> dict[str, torch.Tensor]:
    return load_file(run(load_recipe(RECIPE, changes)).final / "adapter_model.safetensors")


@pytest.mark.parametrize("micro", [4, pytest.param(1, marks=pytest.mark.long)])
def test_accumulation_gives_weights_of_one_batch_even_incomplete(
    micro: int, changes: list[str], tmp_path: Path
) -> None:
    """Accumulation gives the weights of one batch, even where the batch is incomplete."""
    # Ten rows in batches of four: the last step of an epoch has two, which micro-batches of four do not fill.
    # Dropout depends on the rows that share a forward, so it is off; SGD-like steps are not: AdamW magnifies noise.
    same = [*changes, "model.lora.dropout=0", "train.learning_rate=1.0e-4"]
    two = final_weights([*same, f"output.dir={tmp_path / 'two'}"])
    other = final_weights([*same, f"output.dir={tmp_path / 'other'}", f"train.micro_batch_size={micro}"])
    for name, value in two.items():
        torch.testing.assert_close(other[name], value, atol=2e-5, rtol=0)


@pytest.mark.nightly(reason="test_resume.py compares a run of two workers, which is stopped, with one of none")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_no_bit_of_the_result(workers: int, changes: list[str], tmp_path: Path) -> None:
    # Corruptions that are drawn anew in each epoch, and from other rows, pass through the workers, too.
    same = [
        *changes,
        "corruptions.crop.draw=epoch",
        "corruptions.other={corruption: other_image, draw: epoch}",
        "objective.1.over=chosen@other",
        "train.length_window=2",
    ]

    def files(name: str, *more: str) -> dict[str, bytes]:
        final = run(load_recipe(RECIPE, [*same, *more, f"output.dir={tmp_path / name}"])).final
        return {path.name: path.read_bytes() for path in final.iterdir()}

    assert files("many", f"train.workers={workers}") == files("none")


def test_the_logged_rate_and_epoch_are_those_of_the_schedule(small: list[str]) -> None:
    result = run(load_recipe(RECIPE, [*small, "train.warmup_ratio=0.5", "train.schedule=constant"]))
    lines = [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3, 1e-3, 1e-3])
    assert [line["epoch"] for line in lines] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])


@pytest.mark.long
def test_metrics_between_two_lines_are_means_over_their_pairs(changes: list[str], tmp_path: Path) -> None:
    each = run(load_recipe(RECIPE, [*changes, f"output.dir={tmp_path / 'each'}"])).run_dir
    third = run(load_recipe(RECIPE, [*changes, f"output.dir={tmp_path / 'third'}", "train.log_every=3"])).run_dir
    fine = [json.loads(line) for line in (each / "metrics.jsonl").read_text().splitlines()]
    coarse = [json.loads(line) for line in (third / "metrics.jsonl").read_text().splitlines()]
    sizes = [4, 4, 2]
    expected = sum(size * line["loss"] for size, line in zip(sizes, fine, strict=False)) / 10
    assert [line["step"] for line in coarse] == [3, 6]
    assert coarse[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_only_the_newest_checkpoints_are_kept(small: list[str]) -> None:
    result = run(load_recipe(RECIPE, [*small, "output.save_every=1", "output.keep=2"]))
    kept = sorted(path.name for path in (result.run_dir / "checkpoints").iterdir())
    assert kept == ["step-000005", "step-000006"]


@pytest.mark.parametrize("objective", ["[{loss: dpo}]", "[{loss: simpo}]"])
def test_infinite_log_probs_are_noticed_before_the_first_update(
    objective: str, small: list[str], llava: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(llava, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["multi_modal_projector.linear_1.weight"].fill_(3e38)  # finite, but its sums are not
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changes = [*small, f"model.path={folder}", f"objective={objective}"]
    with pytest.raises(
        MdpoError, match=r"log-probs are not finite before .* on 'chosen', 'rejected': check its weights"
    ):
        run(load_recipe(RECIPE, changes))


def test_other_reference_weights_are_noticed_before_first_update(
    small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(RECIPE, [*small, "reference=frozen_copy"])
    load = type(recipe.model).load

    def disturbed(self, placement, *, trainable=True):  # type: ignore[no-untyped-def]
        model = load(self, placement, trainable=trainable)
        if not trainable:
            with torch.no_grad():
                model.module.lm_head.weight.mul_(2)
        return model

    monkeypatch.setattr(type(recipe.model), "load", disturbed)
    with pytest.raises(MdpoError, match="policy and reference differ before the first update"):
        run(recipe)
