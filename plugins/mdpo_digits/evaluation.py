"""Measure how often captions of held-out mosaics are wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mdpo_core import Policy
from mdpo_digits.mosaics import mentioned
from mdpo_digits.pairs import DigitPairs
from mdpo_digits.samples import draw_samples

SEED = 1_000
_MAX_NEW_TOKENS = 24


def evaluate(policy: Policy, num_mosaics: int, folder: Path, step: int) -> Mapping[str, float]:
    """Generate captions, save them in ``digits/``, and return their metrics.

    After step 0, also draw ``samples.png``, which compares the captions with those of step 0.
    """
    pairs = DigitPairs(num_mosaics, style_cue=0.95, seed=SEED, split="held_out")
    examples = pairs[:]
    captions = policy.generate(examples, _MAX_NEW_TOKENS)
    truth = [mentioned(example.text("chosen")) for example in examples]
    _save(captions, folder, step)
    before = folder / "digits" / _file_name(0)
    if step > 0 and before.is_file():
        draw_samples(examples, truth, json.loads(before.read_text()), captions, folder / "samples.png")
    metrics = {"wrong_digits": wrong_digits(captions, truth), "hallucinated": hallucinated(captions, truth)}
    scored = policy.metrics(examples)
    if "rewards/chosen" in scored:
        metrics["chosen_reward"] = scored["rewards/chosen"]
    return metrics


def wrong_digits(captions: Sequence[str], truth: Sequence[Sequence[int]]) -> float:
    """Share of positions that a caption names wrongly or not at all; an extra digit counts as one more mistake."""
    wrong = sum(num_wrong(mentioned(text), digits) for text, digits in zip(captions, truth, strict=True))
    return wrong / sum(len(digits) for digits in truth)


def num_wrong(mentioned_digits: Sequence[int], digits: Sequence[int]) -> int:
    """Number of mistakes in a caption, wrong, missing or extra digits; at most ``len(digits)``."""
    num_right = sum(mentioned == digit for mentioned, digit in zip(mentioned_digits, digits, strict=False))
    return min(len(digits), max(len(mentioned_digits), len(digits)) - num_right)


def hallucinated(captions: Sequence[str], truth: Sequence[Sequence[int]]) -> float:
    """Share of mentioned digits that are not in the picture; 0 if none is mentioned."""
    mentions = [(digit, digits) for text, digits in zip(captions, truth, strict=True) for digit in mentioned(text)]
    return sum(digit not in digits for digit, digits in mentions) / max(len(mentions), 1)


def _save(captions: Sequence[str], folder: Path, step: int) -> None:
    (folder / "digits").mkdir(exist_ok=True)
    (folder / "digits" / _file_name(step)).write_text(json.dumps(captions, indent=1) + "\n")


def _file_name(step: int) -> str:
    return f"captions-{step:06d}.json"
