"""What a finished run says about itself."""

from __future__ import annotations

import math

import pytest

from mdpo_core.cli.terminal.health import findings


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
        lines.append({"step": 20, "eval/preference/picture/accuracy": picture})
    return lines


def test_a_healthy_run_has_no_finding() -> None:
    assert findings(run()) == []
    assert findings(run(picture=None)) == []
    assert findings([]) == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (run(chosen=-0.3), "the reward of the chosen answers ended below 0 (-0.300)"),
        (run(loss=math.log(2)), "the loss of the term text stayed at log 2 (0.693)"),
        (run(picture=0.5), "only 50% of the held-out answers are likelier with their picture"),
    ],
)
def test_each_trouble_is_said_with_what_answers_it(lines: list[dict[str, float]], words: str) -> None:
    [found] = findings(lines)
    assert found.startswith(words)
    assert any(remedy in found for remedy in ("anchor", "learning_rate", "over: chosen@crop"))


def test_no_remedy_is_told_that_the_recipe_has() -> None:
    [sank] = findings(run(chosen=-0.3), anchored=True)
    [blind] = findings(run(picture=0.5), compares_pictures=True)
    assert "{anchor" not in sank
    assert "the weight of the anchor" in sank
    assert "over: chosen@crop" not in blind
    assert "more epochs" in blind


def test_a_small_beta_is_no_trouble_where_answers_are_told_apart() -> None:
    """Margins of a small beta leave the loss near log 2, however sure the policy is."""
    lines = [{**line, "rewards/accuracy/text": 0.5 + line["step"] / 45} for line in run(loss=math.log(2) - 0.005)]
    assert findings(lines) == []
    told_apart = [{**line, "rewards/accuracy/text": 0.55} for line in lines]
    assert len(findings(told_apart)) == 1


def test_a_run_that_sank_and_came_back_is_healthy() -> None:
    lines = run()
    lines[3]["rewards/chosen"] = -5.0
    assert findings(lines) == []
