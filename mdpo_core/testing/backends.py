"""The contract of backends, checked on a very small scorer."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mdpo_core.data.collation import collate
from mdpo_core.errors import CheckpointError, shown
from mdpo_core.interfaces.backend import Backend, Engine, TrainableScorer
from mdpo_core.interfaces.model import Placement
from mdpo_core.interfaces.parts import Part
from mdpo_core.interfaces.train_options import Train
from mdpo_core.testing.sentences import Broken, calling, check_options, name_of, raised, require, require_returned
from mdpo_core.types.batch import Batch, EncodedPrompt, EncodedRow
from mdpo_core.types.engine_state import SavedEngineState, write_state
from mdpo_core.types.scores import ScorerOutput, TokenLogProbs
from mdpo_core.types.view import CHOSEN, CLEAN

_TRAIN = Train(learning_rate=0.02, weight_decay=0.1, adam_betas=(0.9, 0.98), max_grad_norm=1.0)
# Pairs of learning rate and loss scale; the gradient norms lie on both sides of max_grad_norm.
_STEPS = ((0.02, 0.01), (0.05, 100.0), (0.01, 1.0), (0.001, 30.0))
_VOCAB = 16
# One matrix and one vector have a factor; the other matrix trains at the plain learning rate.
_RATE_FACTORS = {"head.weight": 0.5, "head.bias": 2.0}
_METHODS = ("forward", "backward", "step", "state", "restore", "peak_memory")


def check_backend(backend: Backend, *, tolerance: float = 1e-5) -> None:
    """Check that a backend trains a small scorer as plain torch does; raises `AssertionError` with what it breaks.

    Compares sums of gradients, clipping, learning rates and decay. A saved engine must continue bit for bit.
    ``tolerance``: how much log-probs may differ, relative; raise it for a precision below float32.
    """
    check_options(backend, Backend)
    scorer = _scorer(backend, seed=0)
    _check_forward(backend, scorer)
    _check_steps(backend, scorer, tolerance)
    _check_resume(backend)
    _check_not_a_number(backend)


class _Scorer(nn.Module):
    """Predicts response tokens from the mean embedding of the prompt; has matrices, a bias and a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCAB, 8)
        self.head = nn.Linear(8, _VOCAB)
        self.base = nn.Parameter(torch.zeros(_VOCAB), requires_grad=False)

    def forward(self, batch: Batch) -> ScorerOutput:
        device = self.base.device
        prompts = [self.embedding(item.prompt.to(device)).mean(0) for item in batch.items[CHOSEN]]
        log_probs = (self.head(torch.stack(prompts)) + self.base).float().log_softmax(-1)
        values = log_probs.gather(1, torch.stack([item.response for item in batch.items[CHOSEN]]).to(device))
        return ScorerOutput({CHOSEN: TokenLogProbs(values, torch.ones_like(values, dtype=torch.bool))}, {})


@dataclass(frozen=True)
class _Model:
    """The scorer as a model with one layer, so that an engine can shard that layer."""

    module: _Scorer

    def layers(self) -> Sequence[nn.Module]:
        return [self.module.head]

    def parts(self) -> Mapping[Part, tuple[str, ...]]:
        names = tuple(name for name, _ in self.module.named_parameters())
        return {"vision": (), "projector": (), "language": names}


def _scorer(backend: Backend, seed: int) -> TrainableScorer:
    with calling(backend, "in placement()"):
        placement = backend.placement()
    require_returned(backend, "for placement()", placement, Placement, "a Placement")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer = _Scorer()
    with torch.no_grad():
        scorer.base.copy_(torch.linspace(-1, 1, _VOCAB))
    with calling(backend, f"when the weights move to its placement, {placement}"):
        scorer.to(placement.device, getattr(torch, placement.dtype))
    return TrainableScorer(scorer, _Model(scorer), _RATE_FACTORS)


def _batch(seed: int, num_rows: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(_VOCAB, (3 + row,), generator=generator) for row in range(num_rows)]
    responses = torch.randint(_VOCAB, (num_rows, 4), generator=generator)
    rows = [
        EncodedRow(str(row), {CLEAN: EncodedPrompt(prompt)}, {CHOSEN.response: response}, columns={}, corruptible=False)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
    ]
    return collate(rows, [CHOSEN])


class _CheckedEngine:
    """A new engine of a backend. Turns whatever goes wrong in it into a sentence."""

    def __init__(self, backend: Backend, scorer: TrainableScorer) -> None:
        self._backend = backend
        with calling(backend, "when started"):
            self.engine: Engine = backend.start(scorer, _TRAIN)
        missing = [name for name in _METHODS if not callable(getattr(self.engine, name, None))]
        require(
            not missing,
            f"{name_of(backend)} returns {shown(self.engine)} for start(); it must return an Engine, but this has no "
            f"{', '.join(missing)}",
        )

    def forward(self, batch: Batch) -> ScorerOutput:
        with calling(self._backend, "in forward()"):
            scored = self.engine.forward(batch)
        require_returned(self._backend, "for forward()", scored, ScorerOutput, "the ScorerOutput of the scorer")
        return scored

    def backward(self, loss: Tensor) -> None:
        with calling(self._backend, "in backward()"):
            self.engine.backward(loss)

    def step(self, learning_rate: float) -> float:
        with calling(self._backend, "in step()"):
            norm = self.engine.step(learning_rate)
        require_returned(self._backend, "for step()", norm, (float, int), "the gradients' norm, a number")
        return norm

    def save(self, file: Path) -> None:
        with calling(self._backend, "when its state() is saved"):
            write_state(self.engine.state(), file)

    def restore(self, state: SavedEngineState) -> None:
        try:
            self.engine.restore(state)
            state.require_all_read()
        except CheckpointError as error:
            raise Broken(f"{name_of(self._backend)} cannot restore the state that it saved: {error}") from error
        except Exception as error:
            raise raised(self._backend, error, "in restore()") from error

    def peak_memory(self) -> float:
        with calling(self._backend, "in peak_memory()"):
            memory = self.engine.peak_memory()
        require_returned(self._backend, "for peak_memory()", memory, (float, int), "a number, GB")
        return memory


def _log_probs(engine: _CheckedEngine) -> Tensor:
    """The log-probs of a fixed batch, which show whether two engines have the same weights."""
    with torch.no_grad():
        return engine.forward(_batch(99, 6)).policy[CHOSEN].values.cpu().clone()


def _micro_batches(step: int) -> list[Batch]:
    """Five pairs in two micro-batches; the second is smaller."""
    return [_batch(10 * step, 3), _batch(10 * step + 1, 2)]


def _loss(scored: ScorerOutput, size: float) -> Tensor:
    return -size * scored.policy[CHOSEN].values.sum() / 5


def _train(engine: _CheckedEngine, steps: Sequence[int]) -> None:
    for step in steps:
        rate, size = _STEPS[step]
        for batch in _micro_batches(step):
            engine.backward(_loss(engine.forward(batch), size))
        engine.step(rate)


def _check_forward(backend: Backend, scorer: TrainableScorer) -> None:
    engine = _CheckedEngine(backend, copy.deepcopy(scorer))
    first, second = _log_probs(engine), _log_probs(engine)
    require(torch.equal(first, second), f"{name_of(backend)}: two forwards of the same engine differ")
    memory = engine.peak_memory()
    require(memory > 0, f"{name_of(backend)} returns {memory} for peak_memory(); it must be positive")


def _check_steps(backend: Backend, scorer: TrainableScorer, tolerance: float) -> None:
    engine = _CheckedEngine(backend, copy.deepcopy(scorer))
    plain = _Plain(copy.deepcopy(scorer))
    for step, (rate, size) in enumerate(_STEPS):
        for batch in _micro_batches(step):
            engine.backward(_loss(engine.forward(batch), size))
            _loss(plain.scorer.module(batch), size).backward()  # type: ignore[no-untyped-call]  # torch types it so
        norm, wanted = engine.step(rate), plain.step(rate)
        require(
            abs(norm - wanted) <= 10 * tolerance * wanted,
            f"{name_of(backend)} step {step}: gradient norm {norm}, but {wanted} in plain torch (before clipping, "
            "summed over two micro-batches)",
        )
        with torch.no_grad():
            expected = plain.scorer.module(_batch(99, 6)).policy[CHOSEN].values.cpu()
        gap = float((_log_probs(engine) - expected).abs().max())
        require(
            gap <= tolerance * float(expected.abs().max()),
            f"{name_of(backend)} step {step}: log-probs are {gap:.2g} nats from AdamW's at the learning rate {rate} "
            "(times the scorer's rate_factors)",
        )


class _Plain:
    """AdamW in a few lines, as `Train` describes it."""

    def __init__(self, scorer: TrainableScorer) -> None:
        self.scorer = scorer
        self._trained = list(scorer.trained.values())
        self._factors = [scorer.rate_factors.get(name, 1.0) for name in scorer.trained]
        groups = [
            {"params": [value], "weight_decay": _TRAIN.weight_decay if value.ndim > 1 else 0.0}
            for value in self._trained
        ]
        self._optimizer = torch.optim.AdamW(groups, betas=_TRAIN.adam_betas)

    def step(self, rate: float) -> float:
        norm = nn.utils.clip_grad_norm_(self._trained, _TRAIN.grad_norm_limit)
        for group, factor in zip(self._optimizer.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)


def _check_resume(backend: Backend) -> None:
    """Check that an engine and a copy, saved after two steps and restored, continue equally."""
    engine = _CheckedEngine(backend, _scorer(backend, seed=0))
    _train(engine, [0, 1])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        engine.save(file)
        again = _CheckedEngine(backend, _scorer(backend, seed=1))
        again.restore(SavedEngineState([file]))
    _require_equal(backend, engine, again, "right after loading")
    _train(engine, [2, 3])
    _train(again, [2, 3])
    _require_equal(backend, engine, again, "two steps after loading")
    uninterrupted = _CheckedEngine(backend, _scorer(backend, seed=0))
    _train(uninterrupted, [0, 1, 2, 3])
    _require_equal(backend, uninterrupted, engine, "after saving")


def _require_equal(backend: Backend, one: _CheckedEngine, other: _CheckedEngine, when: str) -> None:
    first, second = _log_probs(one), _log_probs(other)
    gap = float((first - second).abs().max())
    require(
        torch.equal(first, second),
        f"{name_of(backend)} is not equal bit for bit {when}: log-probs differ by {gap:.2g} nats",
    )


def _check_not_a_number(backend: Backend) -> None:
    engine = _CheckedEngine(backend, _scorer(backend, seed=0))
    before = _log_probs(engine)
    engine.backward(_loss(engine.forward(_batch(0, 3)), float("nan")))
    norm = engine.step(0.1)
    require(norm != norm, f"{name_of(backend)} gives the gradient norm {norm} for NaN gradients; it must be NaN")
    require(torch.equal(before, _log_probs(engine)), f"{name_of(backend)} updates the weights with NaN gradients")
