"""The contracts of backends, evaluators and trackers: what is right passes, what is wrong is caught and named."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mdpo_fsdp import FSDP
from mdpo_local import Local
from mdpo_local.engine import LocalEngine
from torch import Tensor, nn, tensor

from mdpo_core import (
    Backend,
    Evaluator,
    Example,
    Policy,
    Sample,
    TensorSlice,
    Tracker,
    Train,
    TrainableScorer,
)
from mdpo_core.testing import check_backend, check_evaluator, check_tracker

CPU = Local(device="cpu")
ROWS = [Example(str(row), "USER: How many? ASSISTANT:", {"chosen": "Two", "rejected": "One"}) for row in range(3)]
Replace = Callable[..., Any]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_valid_backend_passes(precision: Any) -> None:
    check_backend(Local(device="cpu", precision=precision))


@pytest.mark.parametrize("backend", [CPU, FSDP()], ids=["local", "fsdp"])
def test_a_backend_refuses_a_plain_module(backend: Backend) -> None:
    with pytest.raises(TypeError, match=r"trains a TrainableScorer\(module, model, rate_factors\).*was given Linear"):
        backend.start(nn.Linear(2, 2), Train(learning_rate=0.1))  # type: ignore[arg-type]


def test_rate_factors_must_name_parameters() -> None:
    with pytest.raises(ValueError, match=r"not parameters of the scorer: \['policy.weight'\]"):
        TrainableScorer(nn.Linear(2, 2), None, {"weight": 2.0, "policy.weight": 2.0})  # type: ignore[arg-type]


STEP, STATE, BACKWARD = LocalEngine.step, LocalEngine.state, LocalEngine.backward


def unclipped(self: LocalEngine, rate: float) -> float:
    self._max_grad_norm = 1e9
    return STEP(self, rate)


def remembers_gradients(self: LocalEngine, rate: float) -> float:
    kept = [parameter.grad.clone() for parameter in self._trained.values() if parameter.grad is not None]
    norm = STEP(self, rate)
    for parameter, grad in zip(self._trained.values(), kept, strict=False):
        parameter.grad = grad
    return norm


def decays_biases(self: LocalEngine, rate: float) -> float:
    for group in self._optimizer.param_groups:
        group["weight_decay"] = 0.1
    return STEP(self, rate)


def forgets_a_micro_batch(self: LocalEngine, loss: Tensor) -> None:
    self._optimizer.zero_grad()
    BACKWARD(self, loss)


def updates_with_nan(self: LocalEngine, rate: float) -> float:
    norm = nn.utils.clip_grad_norm_(self._trained.values(), 1.0)
    self._optimizer.step(rate)
    self._optimizer.zero_grad()
    return float(norm)


def learns_at_one_rate(self: LocalEngine, rate: float) -> float:
    for group in self._optimizer.param_groups:
        group["rate_factor"] = 1.0
    return STEP(self, rate)


def forgets_moments(self: LocalEngine) -> Iterator[TensorSlice]:
    for part in self._optimizer.parts:
        part.state.clear()
    return STATE(self)


def saves_weights_alone(self: LocalEngine) -> Iterator[TensorSlice]:
    return (piece for piece in STATE(self) if piece.name.startswith("weight:"))


def saves_half(self: LocalEngine) -> Iterator[TensorSlice]:
    for name, values, start, shape in STATE(self):
        yield TensorSlice(name, values[: -(-len(values) // 2)], start, shape)


@pytest.mark.parametrize(
    ("method", "wrong", "sentence"),
    [
        ("step", unclipped, "step 1: log-probs are .* nats from AdamW's"),
        ("step", lambda self, rate: STEP(self, 0.02), "step 1: log-probs are .* at the learning rate 0.05"),
        ("step", lambda self, rate: min(STEP(self, rate), 1.0), "step 1: gradient norm 1.0, .* in plain torch"),
        ("step", remembers_gradients, "step 1: log-probs are"),
        ("step", decays_biases, "step 0: log-probs are"),
        (
            "step",
            learns_at_one_rate,
            "step 0: log-probs are .* at the learning rate 0.02 .times the scorer's rate_fact",
        ),
        ("step", updates_with_nan, "updates the weights with NaN gradients"),
        ("backward", forgets_a_micro_batch, "step 0: gradient norm"),
        ("state", forgets_moments, "is not equal bit for bit after saving"),
        ("state", saves_weights_alone, "is not equal bit for bit two steps after loading"),
        ("state", saves_half, "cannot restore the state that it saved: it lacks numbers"),
        (
            "restore",
            lambda self, state: None,
            "cannot restore the state that it saved: it contains tensors that this mod",
        ),
        ("forward", lambda self, batch, **options: None, r"Local returns None for forward\(\); it must return"),
        ("backward", lambda self, loss: 1 / 0, r"Local raised ZeroDivisionError: .* in backward\(\)"),
        ("step", lambda self, rate: None, r"Local returns None for step\(\); it must return the gradients' norm"),
        ("state", lambda self: None, r"Local .*TypeError: .* when its state\(\) is saved"),
        ("restore", lambda self, state: state.nothing, r"Local raised AttributeError: .* in restore\(\)"),
        ("peak_memory", lambda self: "1 GB", r"Local returns the str '1 GB' for peak_memory\(\); it must"),
        ("peak_memory", lambda self: 0.0, r"Local returns 0.0 for peak_memory\(\); it must be positive"),
    ],
)
def test_a_broken_backend_is_caught(
    method: str, wrong: Replace, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalEngine, method, wrong)
    with pytest.raises(AssertionError, match=sentence):
        check_backend(CPU)


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (
            lambda: None,
            r"Wrong returns None for start\(\); it must return an Engine, but this has no forward, backward",
        ),
        (lambda: 1 / 0, "Wrong raised ZeroDivisionError: .* when started"),
    ],
)
def test_a_backend_that_starts_no_engine_is_caught(engine: Callable[[], Any], sentence: str) -> None:
    wrong = type("Wrong", (Local,), {"start": lambda self, scorer, train: engine()})
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_backend(wrong(device="cpu"))


class Steady:
    """A policy that always says the same."""

    def generate(self, examples: Sequence[Example], max_new_tokens: int) -> list[str]:
        return ["two dogs"] * len(examples)

    def metrics(self, examples: Sequence[Example]) -> dict[str, float]:
        return {"loss": 0.5}


class Length(Evaluator):
    """Mean number of words."""

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        answers = policy.generate(ROWS, 10)
        (folder / "answers.json").write_text(json.dumps(answers))
        return {"words": sum(len(answer.split()) for answer in answers) / len(answers)}


class Sampling(Length):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"words": float(len(random.sample(policy.generate(ROWS, 10), 1)))}


class Drifting(Length):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"words": float(step)}


class Undefined(Length):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"words": float("nan")}


class Idle(Length):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {}


class Unread(Length):
    def read_files(self) -> Mapping[str, str]:
        return {"words.txt": b"12ab"}  # type: ignore[dict-item]


def measuring(value: Callable[[], Any]) -> Evaluator:
    methods = {"evaluate": lambda self, policy, folder, step: value()}
    return type("Measuring", (Evaluator,), methods)()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (lambda: 1 / 0, r"Measuring raised ZeroDivisionError: .* \(.*test_backends.py:\d+\) at step 0"),
        (lambda: None, "Measuring returns None at step 0; it must return a mapping from names to numbers"),
        (lambda: "good", "Measuring returns the str 'good' at step 0; it must return a mapping"),
        (lambda: {"x": "good"}, "Measuring gives x = the str 'good'; a metric is a number"),
        (lambda: {"x": None}, "Measuring gives x = None; a metric is a number"),
        (lambda: {"x": tensor([1.0, 2.0])}, "Measuring .* at step 0, when a metric is converted to float"),
        (lambda: {1: 1.0}, "Measuring has a metric named 1"),
    ],
)
def test_evaluator_error_or_wrong_result_becomes_a_sentence(
    value: Callable[[], Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_evaluator(measuring(value), Steady(), tmp_path)


def test_numbers_of_torch_are_metrics(tmp_path: Path) -> None:
    check_evaluator(measuring(lambda: {"x": tensor(1.0), "y": 2}), Steady(), tmp_path)


def test_a_valid_evaluator_passes(tmp_path: Path) -> None:
    check_evaluator(Length(), Steady(), tmp_path)


@pytest.mark.parametrize(
    ("evaluator", "sentence"),
    [
        (Sampling(), "Sampling uses a global random generator"),
        (Drifting(), r"Drifting gives {'words': 0.0} and then {'words': 10.0} for the same policy"),
        (Undefined(), "Undefined gives words = nan"),
        (Idle(), "Idle measures nothing"),
        (Unread(), r"Unread must give digests by path from read_files\(\); it gives the dict"),
    ],
)
def test_a_broken_evaluator_is_caught(evaluator: Evaluator, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_evaluator(evaluator, Steady(), tmp_path)


class Lines:
    """Writes the loss of each step, as text."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lines.txt"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(f"{step} {metrics.get('loss')}\n")

    def close(self) -> None:
        pass


class Greedy(Lines):
    def log(self, step: int, metrics: Any) -> None:
        metrics.pop("epoch")


class Demanding(Lines):
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.path.write_text(str(metrics["loss"]))


class Exclusive(Lines):
    def __init__(self, folder: Path) -> None:
        (folder / "log").mkdir()
        super().__init__(folder)


class Writer(Tracker):
    def start(self, folder: Path) -> Lines:
        return Lines(folder)


class Speechless(Lines):
    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        raise KeyError(samples[0].row.id)


class Unclosable(Lines):
    def close(self) -> None:
        raise OSError("full")


def writer(log: Callable[[Path], Any]) -> Tracker:
    class Made(Writer):
        def start(self, folder: Path) -> Lines:
            return log(folder)  # type: ignore[no-any-return]

    return Made()


def test_a_valid_tracker_passes(tmp_path: Path) -> None:
    check_tracker(Writer(), tmp_path)


def test_a_tracker_that_shows_no_text_is_caught(tmp_path: Path) -> None:
    mute = type("Mute", (Writer,), {"shown_by": lambda self, folder: folder})
    with pytest.raises(AssertionError, match=r"^Mute must give a text from shown_by\(\); it gives "):
        check_tracker(mute(), tmp_path)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (Greedy, "Made changes the metrics"),
        (
            Demanding,
            r"Made raised KeyError: 'loss' \(.*test_backends.py:\d+\) in log\(\) of epoch, .* at step 0",
        ),
        (Exclusive, "Made raised FileExistsError: .* when started again"),
        (Speechless, r"Made raised KeyError: '1' \(.*\) in log_samples\(\) at step 0"),
        (
            lambda folder: signal.signal(signal.SIGUSR1, signal.SIG_DFL),
            "Made raised ValueError: signal only works in main thread .* when started",
        ),
        (Unclosable, "Made raised OSError: full .* when its log is closed"),
        (lambda folder: 1 / 0, "Made raised ZeroDivisionError: .* when started"),
        (
            lambda folder: None,
            r"Made returns None for start\(folder\); it must return a log with the methods",
        ),
        (lambda folder: print, r"Made returns a value of type .* for start\(folder\); it must return a log"),
    ],
)
def test_a_broken_tracker_is_caught(log: Callable[[Path], Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_tracker(writer(log), tmp_path)
