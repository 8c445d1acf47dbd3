"""The contracts of evaluators and trackers, which watch a run and must leave it as it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mdpo_core.errors import shown
from mdpo_core.interfaces.evaluator import Evaluator, Policy, Sample
from mdpo_core.interfaces.tracker import Tracker, TrackerLog
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.testing.sentences import calling, check_options, global_randomness, name_of, require, require_returned
from mdpo_core.types.example import Example, Turn


def check_evaluator(evaluator: Evaluator, policy: Policy, folder: Path) -> None:
    """Check an evaluator on a policy that always gives the same answers; ``folder`` must be empty."""
    check_options(evaluator, Evaluator)
    with calling(evaluator, "in read_files()"):
        read = evaluator.read_files()
    texts = isinstance(read, Mapping) and all(isinstance(each, str) for each in (*read, *read.values()))
    require(texts, f"{name_of(evaluator)} must give digests by path from read_files(); it gives {shown(read)}")
    generators = global_randomness()
    first = _measured(evaluator, policy, folder, 0)
    with calling(evaluator, "in require_kept(), of a run that measured the start"):
        evaluator.require_kept(folder)
    later = _measured(evaluator, policy, folder, 10)
    name = name_of(evaluator)
    require(
        global_randomness() == generators,
        f"{name} uses a global random generator, so the number of evaluations changes the training",
    )
    require(bool(first), f"{name} measures nothing")
    for metric, value in first.items():
        require(math.isfinite(value), f"{name} gives {metric} = {value}; leave out metrics that cannot be measured")
    require(first == later, f"{name} gives {first} and then {later} for the same policy")
    again = _measured(evaluator, policy, folder, 10)
    require(
        later == again, f"{name} gives other metrics when it evaluates a step again; resumed runs evaluate a step again"
    )


def _measured(evaluator: Evaluator, policy: Policy, folder: Path, step: int) -> dict[str, float]:
    with calling(evaluator, f"at step {step}"):
        metrics = evaluator.evaluate(policy, folder, step)
    require_returned(evaluator, f"at step {step}", metrics, Mapping, "a mapping from names to numbers")
    for metric, value in metrics.items():
        require(
            isinstance(metric, str) and metric != "",
            f"{name_of(evaluator)} has a metric named {metric!r}; a name must be non-empty text",
        )
        # Accepts numbers of numpy and torch, too.
        is_number = hasattr(value, "__float__") or hasattr(value, "__index__")
        require(is_number, f"{name_of(evaluator)} gives {metric} = {shown(value)}; a metric is a number")
    with calling(evaluator, f"at step {step}, when a metric is converted to float"):
        return {metric: float(value) for metric, value in metrics.items()}


def check_tracker(tracker: Tracker, folder: Path) -> None:
    """Check a tracker in a thread, as a run calls it: a short run is stopped and resumed. ``folder`` must be empty."""
    check_options(tracker, Tracker)
    with calling(tracker, "in check()"):
        tracker.check()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_check_runs, tracker, folder).result()
    with calling(tracker, "in shown_by()"):
        command = tracker.shown_by(folder)
    require(isinstance(command, str), f"{name_of(tracker)} must give a text from shown_by(); it gives {shown(command)}")


def _check_runs(tracker: Tracker, folder: Path) -> None:
    generators = global_randomness()
    # A run that fails before its first step still closes its logs.
    _close(tracker, _started(tracker, folder, "when started"))
    _log_steps(tracker, folder, [0, 1, 2, 3])
    # A run killed after step 3 with a checkpoint at step 2 computes and logs step 3 again.
    _log_steps(tracker, folder, [3, 4])
    require(global_randomness() == generators, f"{name_of(tracker)} uses a global random generator")


def _log_steps(tracker: Tracker, folder: Path, steps: list[int]) -> None:
    """Log as a run does: the metrics file first, then the tracker."""
    file = RunDirectory(folder).metrics
    file.truncate(steps[0] - 1)
    log = _started(tracker, folder, "when started again")
    for step in steps:
        for metrics in _records(step):
            before = dict(metrics)
            file.append(step, metrics)
            with calling(tracker, f"in log() of {', '.join(metrics)} at step {step}"):
                log.log(step, metrics)
            require(dict(metrics) == before, f"{name_of(tracker)} changes the metrics that log() receives")
        if hasattr(log, "log_samples"):
            with calling(tracker, f"in log_samples() at step {step}"):
                log.log_samples(step, _samples())
    _close(tracker, log)


def _started(tracker: Tracker, folder: Path, when: str) -> TrackerLog:
    with calling(tracker, when):
        log = tracker.start(folder)
    known = all(callable(getattr(log, method, None)) for method in ("log", "close"))
    require(
        known,
        f"{name_of(tracker)} returns {shown(log)} for start(folder); it must return a log with the methods "
        "log(step, metrics) and close()",
    )
    return log


def _close(tracker: Tracker, log: TrackerLog) -> None:
    with calling(tracker, "when its log is closed"):
        log.close()


def _samples() -> list[Sample]:
    """Answers to a row with two pictures of different kinds, and to a conversation without any."""
    import PIL.Image

    pictures = (PIL.Image.new("RGB", (8, 6), "red"), PIL.Image.new("L", (5, 9)))
    turns = (Turn("system", "Be short."), Turn("user", "<b>What</b> is it? \u732b"))
    seen = Example("1", "<image> <image> what is it?", {"chosen": "a dog", "rejected": "a cat"}, pictures)
    return [Sample(seen, "a cat |", ("cat",)), Sample(Example("row/2", turns, {}), "", held_out=False)]


def _records(step: int) -> list[Mapping[str, float]]:
    """The records that a run logs at a step: its metrics, and sometimes an evaluation with the same step number."""
    epoch = step / 5
    evaluation = {"epoch": epoch, "eval/digits/wrong_digits": 0.2}
    if step == 0:
        return [evaluation]
    trained = {
        "epoch": epoch,
        "loss": 2.0 / step,
        "loss/0:dpo": 0.7 / step,
        "rewards/chosen": 0.1 * step,
        "rewards/rejected": -0.1 * step,
        "rewards/accuracy/0:dpo": 0.5,
        "rewards/margin/0:dpo": 0.2 * step,
        "logps/chosen": -40.0,
        "grad_norm": 1.0,
        "learning_rate": 1e-5,
    }
    # A step leaves out a metric if none of its pairs has it.
    if step == 2:
        del trained["rewards/accuracy/0:dpo"]
    return [trained, evaluation] if step == 4 else [trained]
