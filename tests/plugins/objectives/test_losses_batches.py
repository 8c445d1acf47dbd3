"""Losses that hold pairs against others: sorted beside them, or against the mean of all that were seen."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.effort import num_examples
from support.paths import RECIPES
from support.processes.launching import launch, records

from mdpo_core import Scores, Term, component, load_recipe, run
from mdpo_core.objective.objective import Objective
from mdpo_core.testing import score_cases, scores

PROPERTY = settings(deadline=None, max_examples=num_examples(15, 40))
PAIR = ["chosen", "rejected"]
LABEL = {"label": st.sampled_from([0.0, 1.0])}
MISMATCHED = "chosen@mismatched"


def loss(name: str, **options: Any) -> Term:
    made = component("loss", name, **options)
    assert isinstance(made, Term)
    return made


def only_rows(found: Scores, rows: list[int]) -> Scores:
    return Scores.from_sums(
        {view: sums[rows] for view, sums in found.policy.items()},
        {view: sums[rows] for view, sums in found.reference.items()},
        columns={name: values[rows] for name, values in found.columns.items()},
    )


@PROPERTY
@given(scores(PAIR), st.booleans(), st.floats(0, 0.4))
def test_aot_compares_what_has_the_same_rank(found: Scores, paired: bool, smoothing: float) -> None:
    values = loss("aot", paired=paired, label_smoothing=smoothing, beta=0.2)(found)
    policy, reference = ({view: side[view].tolist() for view in PAIR} for side in (found.policy, found.reference))
    margins = [[w - v for w, v in zip(side["chosen"], side["rejected"], strict=True)] for side in (policy, reference)]
    ratios = [[p - q for p, q in zip(policy[view], reference[view], strict=True)] for view in PAIR]
    high, low = map(sorted, margins if paired else ratios)
    logits = [0.2 * (h - v) for h, v in zip(high, low, strict=True)]
    expected = sum((1 - smoothing) * math.log1p(math.exp(-x)) + smoothing * math.log1p(math.exp(x)) for x in logits)
    assert float(values.sum()) == pytest.approx(expected)


@PROPERTY
@given(scores([*PAIR, "chosen@crop"]), st.booleans(), st.integers(0, 3))
def test_rows_without_an_image_are_not_sorted_among_the_others(found: Scores, paired: bool, row: int) -> None:
    row %= len(found.corruptible)
    term = loss("aot", paired=paired, over="chosen@crop")
    corruptible = torch.arange(len(found.corruptible)) != row
    without = Scores(found.policy, found.reference, found.num_tokens, corruptible)
    rows = corruptible.nonzero()[:, 0].tolist()
    torch.testing.assert_close(Objective({"aot": term})(without).loss[corruptible], term(only_rows(found, rows)))
    torch.testing.assert_close(loss("aot", paired=paired)(without), loss("aot", paired=paired)(found))


@PROPERTY
@given(scores(["prompt+chosen", "prompt+rejected"]), st.booleans())
def test_rows_without_image_are_sorted_among_clean_views(found: Scores, paired: bool) -> None:
    term = loss("aot", paired=paired, scored="prompt_and_response")
    without = Scores(found.policy, found.reference, found.num_tokens, torch.zeros_like(found.corruptible))
    torch.testing.assert_close(term(without), term(found))


@PROPERTY
@given(scores(PAIR), st.booleans())
def test_a_pair_s_value_in_aot_is_that_of_its_own_rank(found: Scores, paired: bool) -> None:
    term = loss("aot", paired=paired)
    high = (found.policy["chosen"] - found.policy["rejected"]) if paired else found.log_ratio("chosen")
    if len(set(high.tolist())) == len(high):
        torch.testing.assert_close(term(score_cases.backwards(found)), term(found).flip(0))


def running_terms() -> dict[str, Term]:
    return {
        "bco": loss("bco"),
        "unpaired": loss("bco_unpaired", on="rejected"),
        "kto": loss("kto", desirable=0.8, undesirable=1.2),
    }


def trained(batches: list[Scores], micro_batch: int) -> list[dict[str, torch.Tensor]]:
    """The loss of every pair, step by step, as training gives it with micro-batches of a size."""
    objective, found = Objective(running_terms()), []
    for batch in batches:
        rows = list(range(len(batch.corruptible)))
        parts = [rows[start : start + micro_batch] for start in range(0, len(rows), micro_batch)]
        outcomes = [objective(only_rows(batch, part)) for part in parts]
        for outcome in outcomes:
            objective.running.add(outcome.running)
        objective.running.finish_step()
        found.append(
            {name: torch.cat([outcome.metrics[f"loss/{name}"] for outcome in outcomes]) for name in objective.terms}
        )
    return found


STEPS = st.lists(scores([*PAIR, MISMATCHED], LABEL), min_size=2, max_size=4)


@PROPERTY
@given(STEPS, st.integers(1, 3))
def test_micro_batches_have_no_part_in_running_means(batches: list[Scores], micro_batch: int) -> None:
    for parts, whole in zip(trained(batches, micro_batch), trained(batches, 4), strict=True):
        torch.testing.assert_close(parts, whole)


@PROPERTY
@given(STEPS)
def test_means_cover_all_pairs_of_earlier_steps_or_the_last_one(batches: list[Scores]) -> None:
    rewards: dict[str, list[float]] = {"bco": [], "unpaired": [], "kto": []}
    for batch, values in zip(batches, trained(batches, 2), strict=True):
        mean = {name: sum(seen) / len(seen) if seen else 0.0 for name, seen in rewards.items()}
        given_means = {
            "bco": loss("bco", shift=mean["bco"]),
            "unpaired": loss("bco_unpaired", on="rejected", shift=mean["unpaired"]),
            "kto": loss("kto", baseline=max(0.0, mean["kto"]), desirable=0.8, undesirable=1.2),
        }
        for name, term in given_means.items():
            torch.testing.assert_close(values[name], term(batch), rtol=1e-6, atol=1e-9)
        chosen, rejected, mismatched = (batch.log_ratio(view).tolist() for view in (*PAIR, MISMATCHED))
        # Of both responses: as many chosen as rejected ones.
        rewards["bco"] += [0.1 * r for r in (*chosen, *rejected)]
        rewards["unpaired"] += [0.1 * r for r in rejected]
        rewards["kto"] = mismatched


def test_given_number_needs_no_running_mean_and_no_view_for_it() -> None:
    assert loss("bco", shift=0).means == loss("bco_unpaired", shift=0.5).means == {}
    kto = loss("kto", baseline=0)
    assert (kto.means, kto.views()) == ({}, loss("bco_unpaired").views())


# Runs of a small model.


@pytest.fixture(scope="module")
def recipe(pairs: Path, changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All terms that need more than sums of two views, over labelled pairs."""
    folder = tmp_path_factory.mktemp("losses")
    rows = json.loads(pairs.read_text())
    labelled = [
        {**row, "label": number % 2, "chosen_score": 2.5, "rejected_score": number / 10, "rationale": "Because it is."}
        for number, row in enumerate(rows)
    ]
    (folder / "rows.json").write_text(json.dumps(labelled))
    base = RECIPES / "llava_mdpo.yaml"
    content = {
        "extends": str(base),
        "data": {
            "columns": ["label", "chosen_score", "rejected_score"],
            "responses": {"chosen": "chosen", "rejected": "rejected", "rationale": "rationale"},
        },
        "reference": "adapter_off",
        "corruptions": {"mismatched": {"corruption": "mismatched"}, "crop": {"corruption": "blank"}},
        "objective": [
            {"loss": "kto", "beta": 0.5},
            {"loss": "bco", "beta": 0.5},
            {"loss": "tdpo"},
            {"loss": "wpo"},
            {"loss": "ld_dpo"},
            {"loss": "odpo"},
            {"loss": "softmax_dpo", "over": ["rejected", "chosen@crop"]},
            {"loss": "rationale", "weight": 0.1},
            {"anchor": "sft"},
        ],
    }
    file = folder / "recipe.yaml"
    with file.open("w") as out:
        YAML().dump(content, out)
    return file


@pytest.fixture(scope="module")
def steady(recipe: Path, changes: list[str]) -> list[str]:
    """Nothing random in a step, and the rows with columns."""
    more = [f"data.path={recipe.parent / 'rows.json'}", "model.lora.dropout=0.0", "trackers=[]", "train.epochs=1"]
    return [*changes, *more, "train.batch_size=2"]


@pytest.fixture(scope="module")
def one(recipe: Path, steady: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("one") / "run"
    return records(run(load_recipe(recipe, [*steady, f"output.dir={folder}"])).run_dir)


def test_an_untrained_model_pays_what_indifference_costs(one: list[dict[str, Any]]) -> None:
    first = one[0]
    log_2 = math.log(2)
    assert first["loss/0:kto"] == pytest.approx(0.5, abs=1e-4)
    assert first["loss/1:bco"] == pytest.approx(2 * log_2, abs=1e-4)
    for name in ("2:tdpo", "4:ld_dpo"):
        assert first[f"loss/{name}"] == pytest.approx(log_2, abs=1e-4)
    assert 0 < first["loss/3:wpo"] <= log_2
    assert first["loss/6:softmax_dpo"] == pytest.approx(math.log(3), abs=1e-4)
    assert first["loss/7:rationale"] == pytest.approx(-first["logps/rationale"], rel=1e-5)


def differences(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    assert [record["step"] for record in one] == [record["step"] for record in other]
    losses = [name for name in one[0] if name.startswith("loss")]
    return max(abs(a[name] - b[name]) for a, b in zip(one, other, strict=True) for name in losses)


@pytest.mark.long
def test_micro_batches_of_one_pair_train_alike(
    recipe: Path, steady: list[str], one: list[dict[str, Any]], tmp_path: Path
) -> None:
    parts = run(load_recipe(recipe, [*steady, "train.micro_batch_size=1", f"output.dir={tmp_path / 'run'}"]))
    assert differences(one, records(parts.run_dir)) < 1e-4
    assert all(a["loss/1:bco"] != b["loss/1:bco"] for a, b in pairwise(one))


@pytest.mark.long
def test_two_processes_train_alike(recipe: Path, steady: list[str], one: list[dict[str, Any]], tmp_path: Path) -> None:
    finished = launch([*steady, "train.micro_batch_size=1"], tmp_path / "run", "--processes", "2", recipe=recipe)
    assert finished.returncode == 0, finished.stderr
    assert differences(one, records(tmp_path / "run")) < 1e-4


@pytest.mark.long
def test_a_resumed_run_goes_on_with_the_means_that_it_had(
    recipe: Path, steady: list[str], one: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run(load_recipe(recipe, [*steady, f"output.dir={folder}", "output.keep=9"]))
    # As if the run had been killed after its second step.
    for checkpoint in sorted((folder / "checkpoints").iterdir())[1:]:
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    run(load_recipe(recipe, [*steady, f"output.dir={folder}", "output.keep=9"]), resume=True)
    assert differences(one, records(folder)) == 0


def test_responses_to_questions_without_a_picture_count_in_kto(recipe: Path, steady: list[str], tmp_path: Path) -> None:
    """Of a whole step of them, as of rows with a picture, the first loss is 0.5."""
    rows = json.loads((recipe.parent / "rows.json").read_text())
    text = [{**row, "prompt": f"USER: Question {number}? ASSISTANT:"} for number, row in enumerate(rows)]
    (tmp_path / "rows.json").write_text(json.dumps(text))
    changes = [
        *steady,
        f"data.path={tmp_path / 'rows.json'}",
        "data.image=null",
        "data.unread=[img_path]",
        "objective=[{loss: kto, beta: 0.5}, {loss: kto, beta: 0.5, baseline: 0}]",
    ]
    first, *_ = records(run(load_recipe(recipe, [*changes, f"output.dir={tmp_path / 'run'}"])).run_dir)
    assert first["loss/0:kto"] == pytest.approx(0.5, abs=1e-4)
    assert first["loss/1:kto"] == pytest.approx(0.5, abs=1e-4)
    assert first["logps/chosen@mismatched"] < 0


# Data that makes no sense.


@pytest.mark.parametrize(
    ("name", "options", "columns", "message"),
    [
        ("odpo", {}, {"chosen_score": 1, "rejected_score": 1}, "odpo needs scores that differ, found chosen_score = 1"),
        (
            "odpo",
            {},
            {"chosen_score": 1, "rejected_score": 2},
            "odpo with 'offset: log' needs a chosen_score above the rejected_score, found chosen_score = 1, "
            "rejected_score = 2",
        ),
        ("odpo", {"offset": "linear"}, {"chosen_score": 3, "rejected_score": 3}, "needs scores that differ"),
        ("odpo", {}, {"chosen_score": math.nan, "rejected_score": 3}, "finite number, found chosen_score = nan"),
        ("soft_dpo", {}, {"preference_probability": 1.5}, "from 0 to 1, found preference_probability = 1.5"),
        ("soft_dpo", {}, {"preference_probability": math.nan}, "found preference_probability = nan"),
        ("sppo", {}, {"chosen_probability": -0.1, "rejected_probability": 0.1}, "found chosen_probability = -0.1"),
        ("gpo", {}, {"chosen_score": 1, "rejected_score": math.inf}, "finite number, found rejected_score = inf"),
        ("spa", {}, {"low_confidence": 0.5}, "a label must be 0 or 1, found low_confidence = 0.5"),
        ("kto", {"baseline": 0}, {"label": -1}, "a label must be 0 or 1, found label = -1"),
        ("bco_unpaired", {"shift": 0}, {"label": 2}, "a label must be 0 or 1, found label = 2"),
        ("wpo", {"weights": "columns"}, {"chosen_weight": -1, "rejected_weight": 1}, "wpo needs finite weights"),
        ("wpo", {"weights": "columns"}, {"chosen_weight": 1, "rejected_weight": -1}, "wpo needs finite weights"),
        ("wpo", {"weights": "columns"}, {"chosen_weight": math.inf, "rejected_weight": 1}, "wpo needs finite weights"),
        ("wpo", {"weights": "columns"}, {"chosen_weight": 1, "rejected_weight": math.inf}, "wpo needs finite weights"),
        ("c3po", {}, {"scope": 0.5}, "2 (near), found scope = 0.5"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(
    name: str, options: dict[str, Any], columns: dict[str, float], message: str
) -> None:
    from mdpo_core import DataError

    good = {"chosen_score": 9.0, "chosen_probability": 0.5, "rejected_probability": 0.5, "preference_probability": 0.5}
    sums = {view: torch.zeros(3) for view in PAIR}
    made = {
        column: torch.tensor([good.get(column, 1.0), value, good.get(column, 1.0)]) for column, value in columns.items()
    }
    with pytest.raises(DataError) as caught:
        loss(name, **options)(Scores.from_sums(sums, sums, columns=made))
    assert message in str(caught.value)
    assert "row 2 of 3: " in str(caught.value)
    assert len(caught.value.problems) == 1


def test_linear_odpo_offset_allows_scores_in_wrong_order() -> None:
    sums = {view: torch.zeros(1) for view in PAIR}
    columns = {"chosen_score": torch.tensor([1.0]), "rejected_score": torch.tensor([2.0])}
    value = loss("odpo", offset="linear", alpha=0.5)(Scores.from_sums(sums, sums, columns=columns))
    assert float(value) == pytest.approx(math.log1p(math.exp(-0.5)))
