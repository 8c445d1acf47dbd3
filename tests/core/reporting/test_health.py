"""What a finished run says about itself."""

from __future__ import annotations

import math

import pytest

from mdpo_core.reporting.health import Known, findings, verdict

MANY = Known(num_held_out=50)


def run(*, chosen: float = 0.2, loss: float = 0.4, picture: float | None = 0.9) -> list[dict[str, float]]:
    """Lines of a run of twenty steps that begins as every run does and ends with these values."""
    lines: list[dict[str, float]] = [
        {
            "step": step,
            "loss": math.log(2) + (loss - math.log(2)) * min(1, step / 15),
            "loss/text": math.log(2) + (loss - math.log(2)) * min(1, step / 15),
            "rewards/margin/text": 0.1,
            "rewards/chosen": chosen * min(1, step / 15),
        }
        for step in range(1, 21)
    ]
    if picture is not None:
        lines.append({"step": 20, "eval/preference/logps/accuracy/picture": picture})
    return lines


def test_metrics_of_an_earlier_version_are_understood() -> None:
    *lines, _ = run(picture=0.5)
    old = [*lines, {"step": 20, "eval/preference/picture/accuracy": 0.5}]
    assert findings(old, MANY) == findings(run(picture=0.5), MANY) != []


def test_a_healthy_run_has_no_finding() -> None:
    assert findings(run(), MANY) == []
    assert findings(run(picture=None), MANY) == []
    assert findings([], MANY) == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (run(chosen=-0.3), "the reward of the chosen answers ended below 0 (-0.300)"),
        (run(loss=math.log(2)), "the loss of the term text stayed at log 2 (0.693)"),
        (run(picture=0.5), "only 50% of the 50 held-out answers are likelier with their picture"),
    ],
)
def test_each_trouble_is_said_with_what_answers_it(lines: list[dict[str, float]], words: str) -> None:
    [found] = findings(lines, MANY)
    assert found.startswith(words)
    assert any(remedy in found for remedy in ("anchor", "learning_rate", "over: chosen@crop"))


def test_no_remedy_is_told_that_the_recipe_has() -> None:
    [sank] = findings(run(chosen=-0.3), Known(anchored=True))
    [blind] = findings(run(picture=0.5), Known(compares_pictures=True, num_held_out=50))
    assert "{anchor" not in sank
    assert "the weight of the anchor" in sank
    assert "over: chosen@crop" not in blind
    assert "more epochs" in blind


def test_a_small_beta_is_no_trouble_where_answers_are_told_apart() -> None:
    """Margins of a small beta leave the loss near log 2, however sure the policy is."""
    lines = [{**line, "rewards/accuracy/text": 0.5 + line["step"] / 45} for line in run(loss=math.log(2) - 0.005)]
    assert findings(lines, MANY) == []
    told_apart = [{**line, "rewards/accuracy/text": 0.55} for line in lines]
    assert len(findings(told_apart, MANY)) == 1


def test_a_run_that_sank_and_came_back_is_healthy() -> None:
    lines = run()
    lines[3]["rewards/chosen"] = -5.0
    assert findings(lines, MANY) == []


def test_few_held_out_rows_are_not_judged_by() -> None:
    assert findings(run(picture=0.5), Known(num_held_out=2)) == []
    healthy, few = verdict(run(picture=0.5), Known(num_held_out=2))
    assert healthy.startswith("healthy: ")
    assert few == "2 held-out rows are too few to judge by; hold out 20 or more"
    assert verdict(run(picture=0.9), Known(num_held_out=20))[0].startswith("healthy: ")


def test_what_does_not_hold_for_held_out_rows_is_said() -> None:
    last = {"loss/text": math.log(2), "rewards/margin/text": 0.0, "rewards/accuracy/text": 0.5}
    held_out = {f"eval/preference/{name}": value for name, value in last.items()}
    [found] = findings([*run(picture=None), {"step": 20, **held_out}], MANY)
    assert found.startswith("the loss of the term text stayed at log 2 (0.693) on the held-out rows")
    [same] = findings([*run(loss=math.log(2), picture=None), {"step": 20, **held_out}], MANY)
    assert "held-out" not in same


PROBED = Known(num_probed=24)
PICTURES = Known(num_probed=24, compares_pictures=True)


def probed(*numbers: tuple[float, ...]) -> list[dict[str, float]]:
    """Probes of a run: accuracy with the picture and without it, and the chosen reward, also without the picture."""
    first = {"step": 0.0, "eval/probe/accuracy": 0.0, "eval/probe/accuracy/without": 0.0, "eval/probe/chosen": 0.0}
    names = ("eval/probe/accuracy", "eval/probe/accuracy/without", "eval/probe/chosen", "eval/probe/chosen/without")
    return [
        first,
        *({"step": 50.0 * step, **dict(zip(names, each, strict=False))} for step, each in enumerate(numbers, 1)),
    ]


# What recipes/quickstart_dpo.yaml and recipes/quickstart.yaml measure on the digits.
DPO = probed((0.97, 0.25, -19.5), (0.97, 1.0, -16.3), (1.0, 1.0, -15.7))
MDPO = probed((1.0, 1.0, 2.0), (1.0, 1.0, 2.8), (1.0, 1.0, 2.9))


def test_a_preference_that_needs_no_picture_is_said() -> None:
    picture, sunk = findings(DPO, PROBED)
    assert "preferred without the picture as well (100% of the probed pairs, 100% with it)" in picture
    assert "over: chosen@crop" in picture
    assert "below 0 in 3 of 3 probes, -15.70 nats at last" in sunk
    assert "{anchor: reward, on: chosen}" in sunk


def test_mdpo_raises_no_alarm() -> None:
    assert findings(MDPO, Known(anchored=True, compares_pictures=True, num_probed=24)) == []


@pytest.mark.parametrize(
    ("numbers", "known", "count"),
    [
        (((1.0, 0.94, 1.0),), PROBED, 0),  # clearly worse without the picture
        (((1.0, 0.96, 1.0),), PROBED, 1),
        (((1.0, 0.96, 1.0),), Known(num_probed=7), 0),  # too few rows
        (((1.0, 0.96, 1.0, -0.1),), PICTURES, 0),  # without the picture, they lose 1.1 nats more than before
        (((1.0, 0.96, 1.0, 0.1),), PICTURES, 1),  # the term over the condition has done nothing
        (((1.0, 0.5, -1.0), (1.0, 0.5, 1.0)), PROBED, 0),  # it sank, and came back
        (((1.0, 0.5, 1.0), (1.0, 0.5, 1.0), (1.0, 0.5, -1.0)), PROBED, 0),  # not for long
    ],
)
def test_probes_near_the_limits(numbers: tuple[tuple[float, ...], ...], known: Known, count: int) -> None:
    assert len(findings(probed(*numbers), known)) == count


def test_chosen_answers_that_sink_are_said_of_rows_without_pictures_too() -> None:
    records = [{"step": 0.0, "eval/probe/accuracy": 0.0, "eval/probe/chosen": 0.0}]
    records += [{"step": step, "eval/probe/accuracy": 1.0, "eval/probe/chosen": -2.0} for step in (50.0, 100.0)]
    [found] = findings(records, PROBED)
    assert "below 0 in 2 of 2 probes, -2.00 nats at last" in found


@pytest.mark.parametrize(("accuracy", "num_held_out", "is_told"), [(1.0, 20, False), (0.7, 20, True), (1.0, 19, True)])
def test_a_term_that_tells_held_out_answers_apart_has_learned(
    accuracy: float, num_held_out: int, is_told: bool
) -> None:
    """A short run logs its loss near log 2; enough held-out rows show what it learned by its end."""
    trained = {"loss": 0.7, "loss/text": 0.6931, "rewards/margin/text": 0.0, "rewards/accuracy/text": 0.5}
    held_out = {
        "eval/preference/loss/text": 0.69,
        "eval/preference/rewards/margin/text": 0.037,
        "eval/preference/rewards/accuracy/text": accuracy,
    }
    found = findings([trained, held_out], Known(num_held_out=num_held_out))
    assert len(found) == is_told
    assert all("did not learn what to prefer" in each for each in found)


def test_training_is_judged_by_the_same_lines_beside_held_out_rows() -> None:
    """A last line that happens to look untrained hides nothing: the mean of the last tenth counts in both findings."""
    learned = {"loss": 0.1, "loss/text": 0.1, "rewards/margin/text": 3.0, "rewards/accuracy/text": 1.0}
    chance = {"loss": 0.7, "loss/text": 0.6931, "rewards/margin/text": 0.0, "rewards/accuracy/text": 0.5}
    held_out = {
        "eval/preference/loss/text": 0.6931,
        "eval/preference/rewards/margin/text": 0.0,
        "eval/preference/rewards/accuracy/text": 0.5,
    }
    found = findings([*[learned] * 19, chance, held_out], Known(num_held_out=20))
    assert ["on the held-out rows" in each for each in found] == [True]
