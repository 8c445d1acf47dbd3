"""Runs side by side: groups over seeds, options that differ, means, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.paths import RECIPES
from support.stored_runs import MANIFEST, QUICKSTART, stored_run, with_seeds

import mdpo
from mdpo import MdpoError, RecipeError

WRONG = "eval/digits/wrong_digits"
DPO = RECIPES / "quickstart_dpo.yaml"


def row_of(comparison: mdpo.Comparison, metric: str, group: str) -> dict[str, Any]:
    [row] = [row for row in comparison.rows() if (row["metric"], row["group"]) == (metric, group)]
    return row


def test_runs_that_differ_in_seeds_alone_are_a_group_with_a_mean_and_its_interval(tmp_path: Path) -> None:
    low = with_seeds(tmp_path / "low", [0.1, 0.2, 0.3])
    high = with_seeds(tmp_path / "high", [0.5, 0.7], "objective.0.beta=0.3")
    compared = mdpo.compare([*low, *high])
    assert [(group.name, len(group.runs)) for group in compared.groups] == [("low", 3), ("high", 2)]
    assert compared.options == {"objective.text.beta": ["0.1", "0.3"]}
    found = row_of(compared, WRONG, "low")
    assert (found["mean"], found["before"], found["runs"]) == (pytest.approx(0.2), 0.0, 3)
    expected = stats.t.interval(0.95, 2, loc=0.2, scale=stats.sem([0.1, 0.2, 0.3]))
    assert (found["low"], found["high"]) == pytest.approx(expected)


def test_seeds_of_the_data_are_seeds_and_other_places_of_output_are_no_option(tmp_path: Path) -> None:
    drawn = {**MANIFEST, "data": {**MANIFEST["data"], "sha256": "9" * 64}}  # type: ignore[dict-item]
    first = stored_run(tmp_path / "first", "output.keep=1")
    second = stored_run(tmp_path / "second", "data.seed=5", "output.dir=elsewhere", "trackers=[]", manifest=drawn)
    compared = mdpo.compare([first, second])
    assert len(compared.groups) == 1
    assert (compared.options, compared.remarks) == ({}, [])


@given(st.permutations(range(4)))
def test_groups_do_not_depend_on_the_order_of_the_runs(order: list[int]) -> None:
    from mdpo_core.reporting.groups import grouped
    from mdpo_core.reporting.stored_run import StoredRun

    recipes = [{"train": {"seed": seed, "epochs": epochs}} for epochs in (1, 2) for seed in (0, 1)]
    runs = [
        StoredRun(Path(f"r{number}"), recipe, {}, [{"step": 1, "loss": 1.0}], {}, True)
        for number, recipe in enumerate(recipes)
    ]
    groups = {frozenset(run.path.name for run in group.runs) for group in grouped([runs[place] for place in order])}
    assert groups == {frozenset(("r0", "r1")), frozenset(("r2", "r3"))}


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (("mdpo-seed0", "mdpo-seed1"), "mdpo"),
        (("mdpo-1", "mdpo-10"), "mdpo"),
        (("beta=0.1,train.seed=0", "beta=0.1,train.seed=1"), "beta=0.1"),
        (("seed0-mdpo", "seed1-mdpo"), "mdpo"),
        (("0", "1"), "0"),
    ],
)
def test_a_group_has_the_name_that_its_directories_share(names: tuple[str, ...], group: str, tmp_path: Path) -> None:
    runs = [stored_run(tmp_path / name, f"train.seed={seed}") for seed, name in enumerate(names)]
    assert [each.name for each in mdpo.compare(runs).groups] == [group]


def test_what_cannot_be_compared_is_said_and_marked(tmp_path: Path) -> None:
    after = {"eval/preference/loss/text": 0.2, "eval/preference/loss": 1.0, WRONG: 0.1}
    mdpo_run = stored_run(tmp_path / "mdpo", after=after)
    dpo_run = stored_run(tmp_path / "dpo", "objective.0.label_smoothing=0.1", after=after, recipe=DPO)
    compared = mdpo.compare([mdpo_run, dpo_run])
    assert compared.remarks == [
        "the term text is not the same in all runs: label_smoothing differs",
        "the runs have different terms or weights: the sum, loss, cannot be compared",
    ]
    marked = {row["metric"] for row in compared.rows() if not row["comparable"]}
    assert marked == {"loss", "loss/text", "eval/preference/loss", "eval/preference/loss/text"}
    assert "| loss † |" in compared.markdown()
    assert f"| {WRONG} |" in compared.markdown()


def other(**data: object) -> dict[str, Any]:
    return {**MANIFEST, "data": {**MANIFEST["data"], **data}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("manifest", "said", "metric"),
    [
        (other(sha256="7" * 64), "trained on different rows", "loss/text"),
        (
            other(held_out={"sha256": "7" * 64, "rows": 9}),
            "measured on different held-out rows",
            "eval/preference/loss",
        ),
        ({**MANIFEST, "model": {"model.safetensors": "7" * 64}}, "began with different models", ""),
        ({**MANIFEST, "versions": {"torch": "2.8.0"}}, "different versions of torch: 2.9.0 (one), 2.8.0 (two)", ""),
        ({**MANIFEST, "evaluators": {"words.txt": "7"}}, "", ""),
    ],
)
def test_other_rows_models_and_versions_are_said(
    manifest: dict[str, Any], said: str, metric: str, tmp_path: Path
) -> None:
    after = {"eval/preference/loss": 0.5, WRONG: 0.1}
    one = stored_run(tmp_path / "one", after=after)
    two = stored_run(tmp_path / "two", "train.epochs=2", after=after, manifest=manifest)
    compared = mdpo.compare([one, two])
    assert said in " ".join(compared.remarks)
    assert (not compared.remarks) == (not said)
    assert compared.is_comparable(WRONG)
    assert compared.is_comparable("pairs_per_second")
    assert not metric or not compared.is_comparable(metric)


def test_a_group_with_fewer_seeds_is_measured_on_the_same_held_out_rows(tmp_path: Path) -> None:
    whole = with_seeds(tmp_path / "whole", [0.1, 0.2, 0.3])
    less = with_seeds(tmp_path / "less", [0.1, 0.2], "train.epochs=2")
    assert not any("rows" in remark for remark in mdpo.compare([*whole, *less]).remarks)


@pytest.mark.parametrize("held_out", [True, False])
def test_a_probe_of_rows_that_are_trained_on_is_compared_on_the_same_rows_alone(held_out: bool, tmp_path: Path) -> None:
    after = {"eval/probe/gap": 0.5, "eval/probe/logps_per_token": -1.0, WRONG: 0.1}
    manifests = [other(sha256="7" * 64), other(sha256="8" * 64)]
    for manifest in manifests:
        if not held_out:
            del manifest["data"]["held_out"]
    names = ("one", "two")
    runs = [stored_run(tmp_path / name, after=after, manifest=m) for name, m in zip(names, manifests, strict=True)]
    other_epochs = stored_run(tmp_path / "three", "train.epochs=2", after=after, manifest=manifests[1])
    assert mdpo.compare([runs[0], other_epochs]).is_comparable("eval/probe/gap") == held_out


def test_log_probs_of_other_models_are_not_compared(tmp_path: Path) -> None:
    after = {"eval/probe/logps_per_token": -1.0, WRONG: 0.1}
    manifest = {**MANIFEST, "model": {"model.safetensors": "9" * 64}}
    one = stored_run(tmp_path / "one", after=after)
    two = stored_run(tmp_path / "two", "train.epochs=2", after=after, manifest=manifest)
    assert not mdpo.compare([one, two]).is_comparable("eval/probe/logps_per_token")


def test_an_evaluator_that_asks_otherwise_is_said(tmp_path: Path) -> None:
    one = stored_run(tmp_path / "one")
    two = stored_run(tmp_path / "two", "evaluators.0.num_mosaics=8", "evaluators.0.every=7")
    compared = mdpo.compare([one, two])
    assert compared.remarks == ["the evaluator digits has different options: num_mosaics"]
    assert not compared.is_comparable(WRONG)


def test_runs_with_nothing_in_common_are_refused_with_the_reasons(tmp_path: Path) -> None:
    one = stored_run(tmp_path / "one", after={WRONG: 0.1})
    two = stored_run(tmp_path / "two", after={"eval/probe/gap": 0.1}, recipe=DPO, manifest=other(sha256="7" * 64))
    with pytest.raises(RecipeError, match=r"nothing that can be compared:\n  .*\n?.*trained on different rows"):
        mdpo.compare([one, two])


def test_an_unfinished_run_one_seed_twice_and_other_lengths_are_said(tmp_path: Path) -> None:
    runs = [
        stored_run(tmp_path / "a"),
        stored_run(tmp_path / "b", steps=3),
        stored_run(tmp_path / "c", "train.seed=1", finished=False),
    ]
    assert mdpo.compare(runs).remarks == [
        "c is not finished: its numbers are those up to step 2",
        "the runs trained for different numbers of steps: 2 (a), 3 (b)",
        "a and b have the same recipe and the same seed: they are one draw, so the interval of a is too narrow",
    ]


def without(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(text)

    return write


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("recipe.yaml"), "'RUN' is not a run directory, which has a recipe.yaml; name the directory that"),
        (without("metrics.jsonl"), "'RUN' has logged no step yet: metrics.jsonl is empty or missing"),
        (with_text("metrics.jsonl", ""), "'RUN' has logged no step yet"),
        (with_text("metrics.jsonl", '{"step": 1, "loss": 1}\nnonsense\n'), "metrics.jsonl:2: a run did not write this"),
        (with_text("metrics.jsonl", '{"step": 1, "loss": "low"}\n'), "metrics.jsonl:1: a run did not write this line"),
        (with_text("recipe.yaml", "[1, 2]"), "recipe.yaml:1: a recipe is a mapping of sections"),
        (with_text("manifest.json", "{"), "manifest.json, which lists the model's files"),
        (with_text("eval/pope-after.json", "{}"), "pope-after.json is damaged (it has no metrics); remove it"),
    ],
)
def test_what_is_no_run_or_is_damaged_is_named(damage: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    sound, run = stored_run(tmp_path / "sound"), stored_run(tmp_path / "run")
    damage(run)
    with_text("eval/pope-before.json", '{"metrics": {}}')(run)
    with pytest.raises(MdpoError) as error:
        mdpo.compare([sound, run, tmp_path / "missing"])
    assert said.replace("RUN", str(run)) in str(error.value)
    assert f"'{tmp_path / 'missing'}' is no directory" in str(error.value)


def test_one_run_named_twice_is_refused(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run")
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(RecipeError, match=r"'.*link' is there twice, first as '.*run'; name each run once"):
        mdpo.compare([run, tmp_path / "link"])
    with pytest.raises(RecipeError, match="there is no run to compare"):
        mdpo.compare([])


def test_the_forms_of_the_table_hold_the_same_numbers(tmp_path: Path) -> None:
    compared = mdpo.compare(with_seeds(tmp_path / "a", [0.1, 0.3]))
    rows = compared.rows()
    frame = compared.table()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["mean"].tolist() == [row["mean"] for row in rows]
    compared.write(tmp_path / "out" / "x.csv")
    read = list(csv.DictReader(io.StringIO((tmp_path / "out" / "x.csv").read_text())))
    assert [(line["metric"], float(line["mean"])) for line in read] == [(row["metric"], row["mean"]) for row in rows]
    compared.write(tmp_path / "x.md")
    assert f"| {WRONG} | 0.000 | 0.200 (-1.071 to 1.471) |" in (tmp_path / "x.md").read_text()
    assert {row["after"] for row in compared.values() if row["metric"] == WRONG} == {0.1, 0.3}
    with pytest.raises(RecipeError, match=r"'x\.pdf' must end in \.html, \.md or \.csv"):
        compared.write("x.pdf")


def test_what_mdpo_eval_found_is_in_the_table_unless_other_questions_were_asked(tmp_path: Path) -> None:
    runs = [stored_run(tmp_path / "one"), stored_run(tmp_path / "two", "train.epochs=2")]
    for rows, run in zip((8, 9), runs, strict=True):
        for name, value in (("before", 0.5), ("after", 0.75)):
            result = {
                "metrics": {"accuracy": value},
                "benchmark": "pope",
                "variant": "random",
                "answers": {"rows": rows},
            }
            with_text(f"eval/pope-{name}.json", json.dumps(result))(run)
    compared = mdpo.compare(runs)
    found = row_of(compared, "answered/pope/accuracy", "one")
    assert (found["before"], found["mean"], found["comparable"]) == (0.5, 0.75, False)
    assert compared.remarks == ["mdpo eval asked other questions of pope in some runs"]


def test_a_name_from_a_recipe_breaks_no_table(tmp_path: Path) -> None:
    runs = [
        stored_run(tmp_path / "a|<b>", recipe=QUICKSTART),
        stored_run(tmp_path / "plain", "train.epochs=2"),
    ]
    assert "| a\\|&lt;b> |" in mdpo.compare(runs).markdown()
