"""The page metrics.md: every key of a run's metrics.jsonl."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
HEAD = """# Metrics

`metrics.jsonl` in a run directory has one JSON object a line. A line of training is written every `train.log_every`
steps and after the last one. Its values are means over the pairs of the steps since the line before, over all
processes. A line of evaluation has the keys `eval/...`. [Read a run](../read-a-run.md) says what is healthy.

In the names, TERM is a term's `label`, or else its position and component, such as `0:dpo`; VIEW is a view, such as
`chosen` or `chosen@crop`; EVALUATOR is an evaluator's name. With `train.metrics_by_source: true`, every metric of the
objective is also there for each source of a mixture, as `NAME/SOURCE`. A metric that has no value for the pairs of a
line is missing there: none of them has a picture, or no pair of a source was in the step.

Trackers get the same keys. In Python, `mdpo.run(recipe).metrics` has all lines.

<!-- Made by `python scripts/docs/make.py`; a test finds every key of a run here. -->
"""


class Metric(NamedTuple):
    """A key, or several that differ in the words in capitals. ``place``: the file that computes it."""

    name: str
    unit: str
    meaning: str
    place: str

    def matches(self, key: str) -> bool:
        """Whether it is this key, without the name of a source behind it."""
        pattern = re.escape(self.name)
        for word, part in _WORDS.items():
            pattern = pattern.replace(word, part)
        return re.fullmatch(pattern, key) is not None


_WORDS = {"OPTION": r"\w+", "TERM": r"[\w:.@-]+", "VIEW": r"[\w@+]+", "EVALUATOR": r"\w+", "CONDITION": r"\w+"}
_FILE = "storage/metrics_file.py"
_TRAINER, _OBJECTIVE = "training/trainer.py", "objective/objective.py"
_CLOCK, _PREFERENCE = "training/speed/throughput.py", "mdpo_objectives/evaluators/preference.py"
_PROBE = "mdpo_objectives/evaluators/probe.py"
_DIGITS, _SAMPLES = "mdpo_digits/evaluation.py", "mdpo_objectives/evaluators/samples.py"

SECTIONS: dict[str, list[Metric]] = {
    "Where the run is": [
        Metric(
            "step", "steps", "optimizer steps that are finished; 0 is before the first one", "storage/metrics_file.py"
        ),
        Metric("epoch", "passes", "passes over the data that are finished, with their fraction", _TRAINER),
    ],
    "The objective": [
        Metric(
            "loss",
            "nats a pair",
            "what is minimized: the sum of all terms, each times its `weight`, and `router_aux_loss` times its weight",
            _OBJECTIVE,
        ),
        Metric(
            "router_aux_loss",
            "",
            "how uneven the load of experts is, before `train.router_aux_loss_coef` multiplies it. If all experts get "
            "equally many tokens, it is the number of experts that a token goes to. Otherwise it is usually higher",
            "training/steps/balance.py",
        ),
        Metric(
            "loss/TERM",
            "nats a pair",
            "one term before its weight. Under a sigmoid, log 2 = 0.693 means that it has learned nothing",
            _OBJECTIVE,
        ),
        Metric(
            "strength/OPTION/TERM",
            "",
            "mean of an option that differs by row, such as `beta`, over the pairs that count",
            _OBJECTIVE,
        ),
        Metric(
            "rewards/accuracy/TERM",
            "share",
            "pairs whose margin is above 0: of terms that compare two views under a reference. 0 before the first "
            "update, as all margins are 0 then",
            _OBJECTIVE,
        ),
        Metric(
            "rewards/margin/TERM",
            "reward",
            "`beta` times the margin: the log-ratio of the preferred view minus that of the other",
            _OBJECTIVE,
        ),
        Metric(
            "rewards/VIEW",
            "reward",
            "`beta` times the log-ratio of a view; below 0: less likely than before training. `beta` is that of the "
            "first term that reads the view",
            _OBJECTIVE,
        ),
        Metric(
            "logps/VIEW", "nats", "the policy's log-prob of the response: the sum over its scored tokens", _OBJECTIVE
        ),
    ],
    "The optimizer": [
        Metric("grad_norm", "", "global norm of the last step's gradient, before it is clipped", _TRAINER),
        Metric("learning_rate", "", "learning rate of the last step; parts may have a factor of their own", _TRAINER),
    ],
    "Speed and memory": [
        Metric("pairs_per_second", "1/s", "pairs trained on, over all processes", _CLOCK),
        Metric("tokens_per_second", "1/s", "tokens of all views, prompts counted once for each view", _CLOCK),
        Metric("data_wait", "share", "time spent waiting for data; of the process that waits longest", _CLOCK),
        Metric("tflops", "1e12/s", "operations that the pairs need; missing where they are not known", _CLOCK),
        Metric("mfu", "share", "`tflops` over the measured rate of the devices' own matrix product", _CLOCK),
        Metric("memory_gb", "GB", "the most memory in use so far; of the process that uses most", _TRAINER),
        Metric("memory_reserved_gb", "GB", "the most that torch has reserved, on CUDA only", _TRAINER),
    ],
    "Held-out rows: the evaluator `preference`": [
        Metric("eval/preference/loss", "nats a pair", "as `loss`, on the held-out rows", _PREFERENCE),
        Metric("eval/preference/loss/TERM", "nats a pair", "as `loss/TERM`, on the held-out rows", _PREFERENCE),
        Metric("eval/preference/rewards/accuracy/TERM", "share", "as above, on the held-out rows", _PREFERENCE),
        Metric("eval/preference/rewards/margin/TERM", "reward", "as above, on the held-out rows", _PREFERENCE),
        Metric(
            "eval/preference/logps/accuracy/picture",
            "share",
            "held-out rows whose chosen answer is likelier with the picture than with a blank one; needs no reference",
            _PREFERENCE,
        ),
        Metric("eval/preference/logps/margin/picture", "nats", "by how much, in the mean", _PREFERENCE),
    ],
    "Is the picture used? The probe of every run": [
        Metric("eval/probe/accuracy", "share", "probed rows whose chosen answer has the higher reward", _PROBE),
        Metric("eval/probe/gap", "share", "`eval/probe/accuracy` minus `eval/probe/accuracy/without`", _PROBE),
        Metric("eval/probe/chosen", "nats", "reward of the chosen answers, without beta, in the mean", _PROBE),
        Metric("eval/probe/logps_per_token", "nats a token", "log-prob of the chosen answers, in the mean", _PROBE),
        Metric(
            "eval/probe/accuracy/CONDITION",
            "share",
            "as above, under an image condition, and `without` the picture; so, too, the next two",
            _PROBE,
        ),
        Metric("eval/probe/chosen/CONDITION", "nats", "as above", _PROBE),
        Metric("eval/probe/logps_per_token/CONDITION", "nats a token", "as above", _PROBE),
    ],
    "Sample answers: the evaluator `samples`": [
        Metric("eval/samples/words", "words", "length of an answer, in the mean", _SAMPLES),
        Metric("eval/samples/listed", "words", "words of the list `words` in an answer, in the mean", _SAMPLES),
        Metric(
            "eval/samples/listed_not_chosen",
            "words",
            "of these, those that the chosen answer does not have, such as things that are not in the picture",
            _SAMPLES,
        ),
    ],
    "The quickstart's evaluator `digits`": [
        Metric("eval/digits/wrong_digits", "share", "places of held-out mosaics that are named wrongly", _DIGITS),
        Metric("eval/digits/hallucinated", "share", "mentioned digits that are not in the picture", _DIGITS),
        Metric("eval/digits/chosen_reward", "reward", "as `rewards/chosen`, on the held-out mosaics", _DIGITS),
    ],
}


def page() -> str:
    """A table for each section."""
    return HEAD + "".join(_section(title, metrics) for title, metrics in SECTIONS.items()) + _OTHERS


def _section(title: str, metrics: list[Metric]) -> str:
    rows = "".join(f"| `{each.name}` | {each.unit} | {each.meaning} | `{each.place}` |\n" for each in metrics)
    return f"\n## {title}\n\n| key | unit | what it is | computed in |\n|---|---|---|---|\n{rows}"


_OTHERS = """
An evaluator of your own gives `eval/EVALUATOR/...`, one key for each value that it returns
([write a plugin](../extend/write-a-plugin.md)).
"""
