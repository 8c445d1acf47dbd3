"""Runs the evaluators that are due, and gives them the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from mdpo_core.data.encoding import BatchBuilder, BuildBatch
from mdpo_core.data.responses import begun_prompt, decoded_answer
from mdpo_core.data.sampler import MicroBatch, split_over_processes
from mdpo_core.errors import DataError, Problem, RecipeError, blame_on
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.evaluator import Evaluator, RowLogProb, RunSize, Sample
from mdpo_core.interfaces.model import Decoding, Encoder
from mdpo_core.interfaces.plugin_results import require_metrics
from mdpo_core.interfaces.train_options import Train
from mdpo_core.objective.meter import Meter
from mdpo_core.objective.objective import Objective
from mdpo_core.processes.stop_request import RunStopped, asked_to_stop
from mdpo_core.processes.world import ALONE, World
from mdpo_core.training.learner import Learner
from mdpo_core.training.out_of_memory import explained_while
from mdpo_core.types.batch import Batch, EncodedPrompt
from mdpo_core.types.example import Example
from mdpo_core.types.rows import Joined, LazyRows, Rows, place_in
from mdpo_core.types.scores import Scores, TokenLogProbs
from mdpo_core.types.view import CLEAN, View

_EVALUATED = "evaluated"  # the condition of an evaluator's own corruption
_OTHERS = 64  # rows that are trained on, from which a condition of the recipe may take one


@dataclass(frozen=True)
class TrainedPolicy:
    """The policy under training, as evaluators see it. Dropout is off during an evaluation.

    Every process runs the evaluators. Each process works on its part of the examples, and all get the whole result.
    """

    learner: Learner
    objective: Objective
    builder: BatchBuilder
    train: Train
    questions: Callable[[], Callable[[str], Encoder]]  # see `ModelAdapter.questions`
    progress: Callable[[int, int], object]
    world: World = ALONE
    held_out: Sequence[Example] = ()
    trained_on: Sequence[Example] = ()
    num_steps: int = 0
    samples: list[Sample] = field(default_factory=list)  # of the evaluation that is being made
    _joined: list[Joined] = field(default_factory=list)  # the last one

    @property
    def conditions(self) -> Mapping[str, Corruption]:
        """The corruptions of the recipe's views; see `mdpo_core.Policy`."""
        return self.builder.corruptions

    @property
    def size(self) -> RunSize:
        """How much the run computes; see `mdpo_core.Policy`."""
        return RunSize(self.num_steps, self.train.batch_size, len(self.builder.views), len(self.conditions))

    def keep_samples(self, samples: Sequence[Sample]) -> None:
        """Keep answers for people to read; see `mdpo_core.Policy`."""
        self.samples.extend(samples)

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        """Responses to the examples' prompts; see `mdpo_core.Policy`."""
        encoder = self.builder.encoder
        return self._generated(examples, lambda _: encoder, partial(Decoding, max_new_tokens, temperature, top_p))

    def answer(self, questions: Sequence[Example], max_new_tokens: int) -> list[str]:
        """Answers to questions as a person asks them; see `mdpo_core.Policy`."""
        return self._generated(questions, self._encoder_of, partial(Decoding, max_new_tokens, 0.0, 1.0))

    @cached_property
    def _encoder_of(self) -> Callable[[str], Encoder]:
        return self.questions()

    def _generated(
        self,
        examples: Sequence[Example],
        encoder_of: Callable[[str], Encoder],
        decoding: Callable[[int], Decoding],
    ) -> list[str]:
        """A response to each example. ``decoding`` makes the options from a seed."""
        texts: dict[int, str] = {}
        for part in self._parts(len(examples)):
            self.stop_if_asked()
            asked = [examples[row] for row in part.rows]
            encoders = [encoder_of(example.prompt if isinstance(example.prompt, str) else "") for example in asked]
            prompts = self._prompts(asked, encoders)
            # The seed depends only on the position in the data, so any number of processes draws the same tokens.
            seed = self.builder.seed * 1_000_003 + part.number
            write = partial(self.learner.model.generate, prompts, decoding(seed))
            with torch.no_grad(), self.learner.advice.explained_answers(len(prompts)):
                tokens = self.learner.engine.using_model(write)
            # The last answer may belong to a blank image.
            decoded = list(map(decoded_answer, encoders, asked, tokens))
            answers = dict(zip(part.rows, decoded, strict=True))
            for of_process in self.world.gather({} if part.is_filler else answers):
                texts |= of_process
            self.progress(len(texts), len(examples))
        return [texts[row] for row in range(len(examples))]

    def _prompts(self, examples: Sequence[Example], encoders: Sequence[Encoder]) -> list[EncodedPrompt]:
        """The encoded prompts. Several processes must all run the whole model, so a blank image may be added."""
        prompts = [begun_prompt(encoder, example) for encoder, example in zip(encoders, examples, strict=True)]
        if self.world.size == 1 or any(prompt.images for prompt in prompts):
            return prompts
        return [*prompts, self.builder.blank()]

    def metrics(self, examples: Sequence[Example], *, by_source: bool = False) -> dict[str, float]:
        """Means of the objective and its metrics over ``examples``. Corruptions also take other rows from these."""
        meter, done = Meter(), 0
        for part in self._parts(len(examples)):
            self.stop_if_asked()
            batch = self.builder.build(examples, part.rows, epoch=0)
            with torch.no_grad(), self.learner.advice.explained(batch):
                scored = self.learner.engine.forward(batch)
                if not part.is_filler:
                    scores = Scores.of_batch(scored, batch, self.objective.needs_tokens)
                    outcome = self.objective(scores)
                    meter.add(outcome.values, outcome.counted, batch.sources if by_source else ())
            done = min(done + self.train.micro_batch_size * self.world.size, len(examples))
            self.progress(done, len(examples))
        return meter.means(self.world)

    def log_probs(
        self, examples: Sequence[Example], response: str = "chosen", corruption: Corruption | None = None
    ) -> list[RowLogProb]:
        """The log-prob of a response of each example; see `mdpo_core.Policy`."""
        return self.log_probs_of(examples, (response,), corruption)[response]

    def log_probs_of(
        self, examples: Sequence[Example], responses: Sequence[str], corruption: Corruption | None = None
    ) -> dict[str, list[RowLogProb]]:
        """The log-probs of responses of each example; see `mdpo_core.Policy`."""
        views = tuple(View(name, CLEAN if corruption is None else _EVALUATED) for name in responses)
        build = BuildBatch(self.builder.scoring(views, corruption), self._with_others(examples, corruption))
        found: dict[int, list[RowLogProb]] = {}
        for part in self._parts(len(examples)):
            self.stop_if_asked()
            mine = self._scored(build, part, views)
            for of_process in self.world.gather({} if part.is_filler else mine):
                found |= of_process
            self.progress(len(found), len(examples))
        return {name: [found[row][place] for row in range(len(examples))] for place, name in enumerate(responses)}

    def _with_others(self, examples: Sequence[Example], corruption: Corruption | None) -> Sequence[Example]:
        """The examples, and behind them rows of which a condition of the recipe may need another one."""
        if not any(corruption is each for each in self.conditions.values()):
            return examples
        if not (self._joined and self._joined[0].parts[0] is examples):
            step = max(1, len(self.trained_on) // _OTHERS)
            self._joined[:] = [Joined((examples, Rows(self.trained_on, range(0, len(self.trained_on), step))))]
        return self._joined[0]  # the same object each time: a corruption may remember what it found in it

    def _scored(self, build: BuildBatch, part: MicroBatch, views: Sequence[View]) -> dict[int, list[RowLogProb]]:
        """The log-probs of each row of a part. Raises `DataError` in all processes if one of them has a bad row."""
        batch, failure = None, None
        try:
            batch = build(part)
        except DataError as error:
            failure = error
        for problems in self.world.gather(_problems(batch, failure)):
            if problems:
                raise failure or DataError(problems)
        assert batch is not None, "a process without a batch has a problem"
        with torch.no_grad(), self.learner.advice.explained(batch):
            scored = self.learner.engine.forward(replace(batch, policy_only=True)).policy
        by_view = [_sums(batch, scored[view]) for view in views]
        return dict(zip(part.rows, map(list, zip(*by_view, strict=True)), strict=True))

    def stop_if_asked(self) -> None:
        """Raise `RunStopped` in every process if one of them got a signal; the evaluation is made up for later."""
        signum = asked_to_stop(self.world)
        if signum:
            raise RunStopped("stopped during an evaluation", signum)

    def _parts(self, number: int) -> list[MicroBatch]:
        # Without gradients, what fits a step fits an evaluation.
        return split_over_processes(range(number), self.train.micro_batch_size, 0, self.world)


def _require_new(found: Mapping[str, float], before: Mapping[str, float]) -> None:
    """Raise `RecipeError` if an evaluator measures what one before it measured, whose values would be lost."""
    twice = next((name for name in found if name in before), None)
    if twice is not None:
        raise RecipeError(f"two evaluators measure '{twice}', and one value would be lost; take one of the two out")


class _SoundRows(LazyRows):
    """Rows that are not checked before: to read one that the model cannot read raises its `DataError`."""

    def __init__(self, rows: Sequence[Example], builder: BatchBuilder) -> None:
        self._rows, self._builder = rows, builder

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, number: int) -> str:
        return place_in(self._rows, number)

    def row(self, number: int) -> Example:
        self._builder.build(self._rows, [number], epoch=0)
        return self._rows[number]


def sound_rows(rows: Sequence[Example], builder: BatchBuilder) -> Sequence[Example]:
    """Rows that are trained on, for evaluators: a bad one raises `DataError` when it is read, if it is still there."""
    return _SoundRows(rows, builder) if builder.checks_rows else rows


def _problems(batch: Batch | None, failure: DataError | None) -> list[Problem]:
    """The problems of the rows of a batch, which was built or was not."""
    if failure is not None:
        return list(failure.problems)
    left_out = {} if batch is None else batch.left_out
    return [problem for problems in left_out.values() for problem in problems]


def _sums(batch: Batch, scored: TokenLogProbs) -> list[RowLogProb]:
    values, mask = scored
    sums, counts = values.where(mask, 0).sum(dim=1).tolist(), mask.sum(dim=1).tolist()
    rows = zip(batch.rows, sums, counts, strict=True)
    return [RowLogProb(row.id, row.source, row.corruptible, log_prob, count) for row, log_prob, count in rows]


@dataclass(frozen=True)
class Evaluation:
    """Runs the evaluators that are due after a step."""

    evaluators: Sequence[Evaluator]
    policy: TrainedPolicy
    folder: Path
    num_steps: int

    @property
    def samples(self) -> Sequence[Sample]:
        """The answers that evaluators kept since the last call, which measured a step."""
        return self.policy.samples

    def __call__(self, step: int) -> dict[str, float]:
        """Metrics as ``eval/<evaluator>/<metric>``; empty if nothing is due."""
        self.policy.samples.clear()
        return self._all_measured([each for each in self.evaluators if self._is_due(each, step)], step)

    def of_the_end(self, step: int) -> dict[str, float]:
        """The metrics that are due only because training ends after this step."""
        return self._all_measured([each for each in self.evaluators if not self._is_due(each, step)], step)

    def _all_measured(self, due: Sequence[Evaluator], step: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        self.policy.learner.model.set_training(False)
        try:
            with self._folder_of_process() as folder:
                for evaluator in due:
                    found = self._measured(evaluator, folder, step)
                    _require_new(found, metrics)
                    metrics |= found
                    self.policy.stop_if_asked()
        finally:
            self.policy.learner.model.set_training(True)
        return metrics

    def _measured(self, evaluator: Evaluator, folder: Path, step: int) -> dict[str, float]:
        name = evaluator.component_name()
        who = f"the evaluator '{name}'"
        with explained_while(f"{who} measured"), blame_on(who):
            found = evaluator.evaluate(self.policy, folder, step)
        require_metrics(who, found)
        return {f"eval/{name}/{metric}": float(value) for metric, value in found.items()}

    @contextmanager
    def _folder_of_process(self) -> Iterator[Path]:
        """The folder to write into. Only the files of the main process are kept."""
        if self.policy.world.is_main:
            yield self.folder
        else:
            with TemporaryDirectory() as name:
                yield Path(name)

    def _is_due(self, evaluator: Evaluator, step: int) -> bool:
        if step in (0, self.num_steps):
            return True
        with blame_on(f"interval() of the evaluator '{evaluator.component_name()}'"):
            every = evaluator.interval(self.policy.size)
        return every is not None and step % every == 0
