"""The digits' world, and the paper's effect in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_digits.evaluation import hallucinated, num_wrong, wrong_digits
from mdpo_digits.mosaics import _atlas, _labels, _numbers, caption, mentioned, with_mistakes
from mdpo_digits.pairs import DigitPairs
from support.paths import RECIPES

from mdpo_core import load_recipe, run

four_digits = st.tuples(*[st.integers(0, 9)] * 4)


def test_the_pictures_are_those_of_optdigits() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    atlas = np.asarray(_atlas())
    tiles = [atlas[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] for row in range(42) for column in range(43)]
    assert np.array_equal(np.stack(tiles[:1797]), digits.images * 15)
    assert _labels() == tuple(digits.target)


def test_no_picture_is_both_trained_on_and_held_out() -> None:
    train, held_out = set(_numbers("train")), set(_numbers("held_out"))
    assert not train & held_out
    assert len(train | held_out) == 1797
    assert {_labels()[number] for number in held_out} == set(range(10))


@given(four_digits, st.integers(0, 1), st.integers(0, 2), st.randoms())
def test_caption_mentions_its_digits_with_mistakes_as_asked(digits, style, mistakes, rng) -> None:  # type: ignore[no-untyped-def]
    wrong = with_mistakes(digits, mistakes, rng)
    assert mentioned(caption(wrong, style)) == wrong
    assert sum(one != other for one, other in zip(digits, wrong, strict=True)) == mistakes


@given(st.integers(0, 10_000))
def test_row_is_reproducible_with_one_or_two_wrong_digits(row: int) -> None:
    """A row is a function of seed and number, and its rejected caption has one or two digits wrong."""
    pairs = DigitPairs(10_001, style_cue=0.95, seed=3, split="train")
    example, again = pairs[row], pairs[row]
    assert example.responses == again.responses
    assert example.images[0].tobytes() == again.images[0].tobytes()
    chosen, rejected = (mentioned(example.responses[name]) for name in ("chosen", "rejected"))
    assert num_wrong(rejected, chosen) in (1, 2)


def test_style_gives_chosen_caption_away_as_often_as_asked() -> None:
    pairs = DigitPairs(1000, style_cue=0.95, seed=0, split="train")
    told = [pair.responses["chosen"].split()[0] != pair.responses["rejected"].split()[0] for pair in pairs]
    assert 0.92 < sum(told) / len(told) < 0.98


def test_wrong_and_hallucinated_digits_are_counted_as_by_hand() -> None:
    truth = [(1, 2, 3, 4), (5, 5, 6, 7)]
    captions = [caption((1, 2, 4, 3), 0), "a five , a nine"]
    assert wrong_digits(captions, truth) == (2 + 3) / 8
    assert hallucinated(captions, truth) == 1 / 6
    assert wrong_digits(["", ""], truth) == 1
    assert hallucinated(["", ""], truth) == 0
    assert num_wrong((1, 2, 3, 4, 5), (1, 2, 3, 4)) == 1


@pytest.mark.long
def test_short_quickstart_evaluates_when_due_and_draws_pictures(tmp_path: Path) -> None:
    changes = ["data.num_pairs=48", "train.batch_size=16", "train.micro_batch_size=16", "evaluators.0.num_mosaics=16"]
    recipe = load_recipe(RECIPES / "quickstart.yaml", [*changes, "evaluators.0.every=2"])
    result = run(recipe, run_dir=tmp_path / "run")
    assert list(result.evaluations) == [0, 2, 3]
    assert result.evaluations[0]["eval/digits/chosen_reward"] == pytest.approx(0, abs=1e-5)
    assert {"samples.png", "curves.png", "digits"} <= {path.name for path in result.run_dir.iterdir()}
    assert len(json.loads((result.run_dir / "digits" / "captions-000003.json").read_text())) == 16


def require_the_effect_of_the_paper(steps: int, seed: int, folder: Path, *more: str) -> None:
    """After ``steps``, mDPO hallucinates less than the base and than DPO, and keeps the chosen reward above 0."""
    measured = {}
    for name in ("quickstart", "quickstart_dpo"):
        recipe = load_recipe(RECIPES / f"{name}.yaml", [f"train.seed={seed}", f"data.seed={seed}", *more])
        measured[name] = run(recipe, run_dir=folder / name).evaluations
    mdpo, dpo = measured["quickstart"], measured["quickstart_dpo"]
    assert mdpo[steps]["eval/digits/wrong_digits"] < mdpo[0]["eval/digits/wrong_digits"]
    assert mdpo[steps]["eval/digits/wrong_digits"] < dpo[steps]["eval/digits/wrong_digits"]
    assert mdpo[steps]["eval/digits/chosen_reward"] > 0


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_mdpo_hallucinates_less_than_the_base_and_than_dpo(tmp_path: Path) -> None:
    """After two thirds of the quickstart's steps."""
    shorter = ["data.num_pairs=3200", "evaluators=[{evaluator: digits}]", "trackers=[]"]
    require_the_effect_of_the_paper(100, 0, tmp_path, *shorter)


@pytest.mark.nightly(reason="a shorter run is in `long`; these are the whole ones, of which other seeds show no luck")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_whole_quickstart_hallucinates_less_than_the_base_and_than_dpo(seed: int, tmp_path: Path) -> None:
    require_the_effect_of_the_paper(150, seed, tmp_path)


@pytest.mark.long
def test_pretraining_takes_the_same_first_steps_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from mdpo_digits import pretrain

    monkeypatch.setattr(pretrain, "STEPS", 3)
    one, other = (pretrain.pretrain()[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
