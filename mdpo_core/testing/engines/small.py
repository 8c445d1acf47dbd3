"""A very small scorer, and an engine that trains it, for the contracts of what trains."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mdpo_core.data.collation import collate
from mdpo_core.errors import CheckpointError, shown
from mdpo_core.interfaces.backend import Backend, Engine, TrainableScorer
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.model import Placement
from mdpo_core.interfaces.parts import Part
from mdpo_core.interfaces.train_options import Train
from mdpo_core.testing.sentences import Broken, calling, name_of, raised, require, require_returned
from mdpo_core.types.batch import Batch, EncodedPrompt, EncodedRow
from mdpo_core.types.engine_state import SavedEngineState, write_state
from mdpo_core.types.scores import ScorerOutput, TokenLogProbs
from mdpo_core.types.view import CHOSEN, CLEAN

# Pairs of learning rate and loss scale; the gradient norms lie on both sides of 1, which limits them.
STEPS = ((0.02, 0.01), (0.05, 100.0), (0.01, 1.0), (0.001, 30.0))
VOCAB = 16
# One matrix and one vector have a factor; the other matrix trains at the plain learning rate.
RATE_FACTORS = {"head.weight": 0.5, "head.bias": 2.0}
_METHODS = ("forward", "backward", "step", "state", "restore", "peak_memory")


class SmallScorer(nn.Module):
    """Predicts response tokens from the mean embedding of the prompt; has matrices, a bias and a frozen weight.

    ``between``: a module between embedding and head.
    """

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        self.between = nn.Identity() if between is None else between
        self.embedding = nn.Embedding(VOCAB, 8)
        self.head = nn.Linear(8, VOCAB)
        self.base = nn.Parameter(torch.zeros(VOCAB), requires_grad=False)

    def forward(self, batch: Batch) -> ScorerOutput:
        """The log-probs of the chosen responses."""
        device = self.base.device
        prompts = [self.embedding(item.prompt.to(device)).mean(0) for item in batch.items[CHOSEN]]
        states = self.between(torch.stack(prompts))
        log_probs = (self.head(states) + self.base).float().log_softmax(-1)
        values = log_probs.gather(1, torch.stack([item.response for item in batch.items[CHOSEN]]).to(device))
        return ScorerOutput({CHOSEN: TokenLogProbs(values, torch.ones_like(values, dtype=torch.bool))}, {})


@dataclass(frozen=True)
class _Model:
    """The scorer as a model with one layer, so that an engine can shard that layer."""

    module: SmallScorer

    def layers(self) -> Sequence[nn.Module]:
        return [self.module.head]

    def parts(self) -> Mapping[Part, tuple[str, ...]]:
        names = tuple(name for name, _ in self.module.named_parameters())
        return {"vision": (), "projector": (), "language": names}


def scorer_for(backend: Backend, seed: int, *, hidden: bool = False) -> TrainableScorer:
    """A scorer with these first weights, where the backend wants it. ``hidden``: with a hidden layer."""
    with calling(backend, "in placement()"):
        placement = backend.placement()
    require_returned(backend, "for placement()", placement, Placement, "a Placement")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer = SmallScorer(nn.Linear(8, 8) if hidden else None)
    with torch.no_grad():
        scorer.base.copy_(torch.linspace(-1, 1, VOCAB))
    with calling(backend, f"when the weights move to its placement, {placement}"):
        scorer.to(placement.device, getattr(torch, placement.dtype))
    return TrainableScorer(scorer, _Model(scorer), RATE_FACTORS)


def batch_of(seed: int, num_rows: int) -> Batch:
    """Rows with a prompt and a chosen response each."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(VOCAB, (3 + row,), generator=generator) for row in range(num_rows)]
    responses = torch.randint(VOCAB, (num_rows, 4), generator=generator)
    rows = [
        EncodedRow(str(row), {CLEAN: EncodedPrompt(prompt)}, {CHOSEN.response: response}, columns={}, corruptible=False)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
    ]
    return collate(rows, [CHOSEN])


class CheckedEngine:
    """A new engine of a backend. Turns whatever goes wrong in it into a sentence about ``subject``."""

    def __init__(self, subject: Component, backend: Backend, scorer: TrainableScorer, train: Train) -> None:
        self._subject = subject
        with calling(subject, "when started"):
            self.engine: Engine = backend.start(scorer, train)
        missing = [name for name in _METHODS if not callable(getattr(self.engine, name, None))]
        require(
            not missing,
            f"{name_of(backend)} returns {shown(self.engine)} for start(); it must return an Engine, but this has no "
            f"{', '.join(missing)}",
        )

    def forward(self, batch: Batch) -> ScorerOutput:
        """As `Engine` has it."""
        with calling(self._subject, "in forward()"):
            scored = self.engine.forward(batch)
        require_returned(self._subject, "for forward()", scored, ScorerOutput, "the ScorerOutput of the scorer")
        return scored

    def backward(self, loss: Tensor) -> None:
        """As `Engine` has it."""
        with calling(self._subject, "in backward()"):
            self.engine.backward(loss)

    def step(self, learning_rate: float) -> float:
        """As `Engine` has it."""
        with calling(self._subject, "in step()"):
            norm = self.engine.step(learning_rate)
        require_returned(self._subject, "for step()", norm, (float, int), "the gradients' norm, a number")
        return norm

    def save(self, file: Path) -> None:
        """Write the state."""
        with calling(self._subject, "when its state() is saved"):
            write_state(self.engine.state(), file)

    def restore(self, state: SavedEngineState) -> None:
        """As `Engine` has it."""
        try:
            self.engine.restore(state)
            state.require_all_read()
        except CheckpointError as error:
            raise Broken(f"{name_of(self._subject)} cannot restore the state that it saved: {error}") from error
        except Exception as error:
            raise raised(self._subject, error, "in restore()") from error

    def peak_memory(self) -> float:
        """As `Engine` has it."""
        with calling(self._subject, "in peak_memory()"):
            memory = self.engine.peak_memory()
        require_returned(self._subject, "for peak_memory()", memory, (float, int), "a number, GB")
        return memory


def log_probs(engine: CheckedEngine) -> Tensor:
    """The log-probs of a fixed batch, which show whether two engines have the same weights."""
    with torch.no_grad():
        return engine.forward(batch_of(99, 6)).policy[CHOSEN].values.cpu().clone()


def micro_batches(step: int) -> list[Batch]:
    """Five pairs in two micro-batches; the second is smaller."""
    return [batch_of(10 * step, 3), batch_of(10 * step + 1, 2)]


def loss_of(scored: ScorerOutput, size: float) -> Tensor:
    """A sum over the rows of a micro-batch, divided by the five pairs of a step."""
    return -size * scored.policy[CHOSEN].values.sum() / 5


def train_steps(engine: CheckedEngine, steps: Sequence[int]) -> None:
    """Train by some of `STEPS`."""
    for step in steps:
        rate, size = STEPS[step]
        for batch in micro_batches(step):
            engine.backward(loss_of(engine.forward(batch), size))
        engine.step(rate)


def require_exact_resume(subject: Component, start: Callable[[int], CheckedEngine]) -> None:
    """Check that an engine and a copy, saved after two steps and restored, continue equally.

    ``start(seed)``: a new engine whose first weights are drawn by this seed.
    """
    engine = start(0)
    train_steps(engine, [0, 1])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        engine.save(file)
        again = start(1)
        again.restore(SavedEngineState([file]))
    _require_equal(subject, engine, again, "right after loading")
    train_steps(engine, [2, 3])
    train_steps(again, [2, 3])
    _require_equal(subject, engine, again, "two steps after loading")
    uninterrupted = start(0)
    train_steps(uninterrupted, [0, 1, 2, 3])
    _require_equal(subject, uninterrupted, engine, "after saving")


def _require_equal(subject: Component, one: CheckedEngine, other: CheckedEngine, when: str) -> None:
    first, second = log_probs(one), log_probs(other)
    gap = float((first - second).abs().max())
    require(
        torch.equal(first, second),
        f"{name_of(subject)} is not equal bit for bit {when}: log-probs differ by {gap:.2g} nats",
    )
