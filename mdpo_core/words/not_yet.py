"""An accuracy before any answer has a reward: the words that stand for it."""

from __future__ import annotations

from collections.abc import Mapping

NOT_YET = "not yet"
NOT_YET_MEANS = f"{NOT_YET}: before the first step no answer is preferred, as the model is its own reference"
_ACCURACY, _MARGIN = "rewards/accuracy/", "rewards/margin/"
_OF_PROBE, _PROBED_REWARDS = "eval/probe/accuracy", "eval/probe/chosen"


def is_not_yet(name: str, metrics: Mapping[str, float]) -> bool:
    """Whether ``name`` is an accuracy of 0 because no answer has a reward: before training, the model is its reference.

    ``metrics``: those of the step, or of the evaluation, by their names in metrics.jsonl.
    """
    if metrics.get(name) != 0:
        return False
    if name.startswith(_OF_PROBE):
        rewards = [value for each, value in metrics.items() if each.startswith(_PROBED_REWARDS)]
        return rewards != [] and not any(rewards)
    before, found, term = name.partition(_ACCURACY)
    return bool(found) and not metrics.get(f"{before}{_MARGIN}{term}")
