"""NEFTune: noise by its formula, on embeddings alone, and only while the policy trains."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mdpo_digits import DigitsAdapter
from support.builders.tiny_batches import Drawn, build_batch
from support.builders.tiny_models import HIDDEN, Loaded, Tiny, build
from support.paths import LLAVA_MDPO, RECIPES
from support.processes.launching import contents
from torch import Tensor
from transformers.integrations.neftune import neftune_post_forward_hook

from mdpo_core import RecipeError, View, load_recipe, run
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN, Scorer

ALPHA = 5.0
CHOSEN, REJECTED = View("chosen"), View("rejected")
# Prompts of 3 and 4 tokens; with the end token, chosen responses of 4 and 2, rejected ones of 2 and 6.
ROWS = [Drawn((), [5, 6], [7, 8, 9], [5]), Drawn((), [5, 6, 7], [4], [6, 7, 8, 4, 5])]


def scorer_of(loaded: Loaded, options: Scoring, noise: float | None = ALPHA) -> Scorer:
    return Scorer(loaded.model, TermInputs((CHOSEN, REJECTED)), loaded.reference, options, noise=noise)


@contextmanager
def embedded(loaded: Loaded) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The token ids and the embeddings of each call, after all hooks that were there before."""
    found: list[tuple[Tensor, Tensor]] = []
    module = loaded.model.input_embeddings()
    hook = module.register_forward_hook(lambda _, inputs, output: found.append((inputs[0], output.detach().clone())))
    try:
        yield found
    finally:
        hook.remove()


def expected_of(loaded: Loaded, ids: Tensor, lengths: list[list[int]]) -> Tensor:
    """The formula of the paper, in a line; ``lengths``: that of each token's sequence."""
    clean = torch.nn.functional.embedding(ids, loaded.model.input_embeddings().weight)  # type: ignore[arg-type]
    draws = torch.empty(clean.shape).uniform_(-1, 1)
    return clean + draws * torch.tensor([[[ALPHA / math.sqrt(each * HIDDEN)] for each in row] for row in lengths])


@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        # A shared prompt counts with the longest of its sequences.
        (Scoring(), [[[*[7] * 3, *[7] * 4, *[5] * 2, *[10] * 4, *[6] * 2, *[10] * 6]]]),
        # A forward for each view; padding has noise, too, and nothing attends to it.
        (PLAIN, [[[7] * 7, [6] * 7], [[5] * 10, [10] * 10]]),
    ],
    ids=["shared", "separate"],
)
def test_noise_is_that_of_the_formula(options: Scoring, lengths: list[list[list[int]]]) -> None:
    loaded = build.__wrapped__(Tiny())
    scorer = scorer_of(loaded, options)
    batch = build_batch(ROWS, (CHOSEN, REJECTED), Tiny())
    with embedded(loaded) as found:
        torch.manual_seed(3)
        scorer(batch)
    torch.manual_seed(3)
    for (ids, noisy), sequence in zip(found, lengths, strict=False):
        torch.testing.assert_close(noisy, expected_of(loaded, ids, sequence), rtol=0, atol=1e-6)
    # What follows is the reference.
    assert len(found) == 2 * len(lengths)
    for ids, clean in found[len(lengths) :]:
        assert clean.equal(torch.nn.functional.embedding(ids, loaded.model.input_embeddings().weight))  # type: ignore[arg-type]


def test_one_sequence_gets_what_transformers_gives_it() -> None:
    loaded = build.__wrapped__(Tiny())
    scorer = scorer_of(loaded, PLAIN)
    with embedded(loaded) as found:
        torch.manual_seed(3)
        scorer(build_batch(ROWS[:1], (CHOSEN,), Tiny()))
    ids, noisy = found[0]
    clean = torch.nn.functional.embedding(ids, loaded.model.input_embeddings().weight)  # type: ignore[arg-type]
    torch.manual_seed(3)
    theirs = neftune_post_forward_hook(SimpleNamespace(training=True, neftune_noise_alpha=ALPHA), None, clean)
    torch.testing.assert_close(noisy, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [Scoring(), PLAIN], ids=["shared", "separate"])
def test_only_the_policy_with_gradients_has_noise(options: Scoring) -> None:
    loaded, batch = build.__wrapped__(Tiny()), build_batch(ROWS, (CHOSEN, REJECTED), Tiny())
    plain, noisy = scorer_of(loaded, options, None), scorer_of(loaded, options)
    with torch.no_grad():
        evaluated, expected = noisy(batch), plain(batch)
    trained = noisy(batch)
    for view in (CHOSEN, REJECTED):
        assert evaluated.policy[view].values.equal(expected.policy[view].values)
        assert trained.reference[view].values.equal(expected.reference[view].values)
        assert not trained.policy[view].values.allclose(expected.policy[view].values)
    trained.policy[CHOSEN].values.sum().backward()
    with torch.no_grad():
        assert noisy(batch).policy[CHOSEN].values.equal(expected.policy[CHOSEN].values)


def lines(folder: Path, name: str) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record[name] for record in records if name in record]


@pytest.mark.long
def test_a_run_with_noise_evaluates_without_and_goes_on_to_the_byte(changes: list[str], tmp_path: Path) -> None:
    """It stops after three of six steps: a schedule that is constant does not depend on their number."""
    noise = "train.neftune_noise_alpha=5.0"
    measured = ["data.hold_out={rows: 2}", "evaluators=[{evaluator: preference}]"]
    steady = [*changes, *measured, "train.schedule=constant", "train.warmup_steps=0"]
    for name, more in (("plain", ["train.max_steps=1"]), ("short", [noise, "train.max_steps=3"])):
        run(load_recipe(LLAVA_MDPO, [*steady, *more]), run_dir=tmp_path / name)
    run(load_recipe(LLAVA_MDPO, [*steady, noise, "train.max_steps=4"]), run_dir=tmp_path / "whole")
    run(load_recipe(LLAVA_MDPO, [*steady, noise, "train.max_steps=4"]), run_dir=tmp_path / "short", resume=True)
    assert contents(tmp_path / "short" / "final") == contents(tmp_path / "whole" / "final")
    name = "eval/preference/logps/margin/picture"
    assert lines(tmp_path / "whole", name)[0] == lines(tmp_path / "plain", name)[0]
    assert lines(tmp_path / "whole", "loss")[0] != lines(tmp_path / "plain", "loss")[0]


class Without(DigitsAdapter):
    """An adapter whose embeddings nobody knows."""

    @property
    def takes_noise(self) -> bool:
        return False


def test_it_is_refused_where_it_has_no_place(tmp_path: Path) -> None:
    Without.set_component_name("without")
    changes: dict[str, Any] = {"train.neftune_noise_alpha": 5.0, "model": Without()}
    with pytest.raises(RecipeError, match="neftune_noise_alpha: the adapter 'without' has no embeddings for noise"):
        load_recipe(RECIPES / "quickstart.yaml", changes)
    assert load_recipe(RECIPES / "quickstart.yaml", ["train.neftune_noise_alpha=5.0"]).train.neftune_noise_alpha == 5
    with pytest.raises(RecipeError, match="neftune_noise_alpha: input should be greater than 0"):
        load_recipe(RECIPES / "quickstart.yaml", ["train.neftune_noise_alpha=0"])
