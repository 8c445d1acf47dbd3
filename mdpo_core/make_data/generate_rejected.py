"""Lets a model write rejected answers: ``mdpo generate-rejected``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mdpo_core.data.checking import open_all_rows
from mdpo_core.data.validity import problems_of_row
from mdpo_core.errors import DataError, RecipeError
from mdpo_core.interfaces.model import Decoding
from mdpo_core.make_data.continuation import Added, ContinuationTask, Writer
from mdpo_core.make_data.job import DataJob, NewPairs
from mdpo_core.make_data.journal import Entry
from mdpo_core.make_data.kept_beginnings import Beginning, Keep, assembled, beginnings_of
from mdpo_core.make_data.source import CheckedInput, builder_of, load, require_condition, require_jsonl, require_models
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import option
from mdpo_core.types.batch import EncodedPrompt
from mdpo_core.types.example import Example
from mdpo_core.types.marks import escape_marks
from mdpo_core.types.view import CHOSEN, CLEAN, REJECTED, View
from mdpo_core.words.sentences import ends_a_sentence

MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Generation:
    """How a model writes an answer.

    ``condition``: the image condition that it sees. ``keep``: the part of the chosen answer that it sees: nothing
    ("none"), a share of its words (0 to 1), or the beginning of each sentence ("sentences"). ``max_new_tokens``: the
    largest number of tokens that it adds. ``temperature``: 0 takes the likeliest token. ``top_p``: tokens are drawn
    from the likeliest ones whose probabilities sum to this value. ``policy``: the folder of a model that a run of the
    recipe exported; None: the recipe's untrained model.
    """

    condition: str = CLEAN
    keep: Keep = "none"
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    policy: Path | None = None

    @property
    def num_attempts(self) -> int:
        """Attempts at an answer: more than one only if another attempt can give another answer."""
        return MOST_ATTEMPTS if self.temperature > 0 or self.keep == "sentences" else 1

    def settings(self, seed: int) -> dict[str, Any]:
        """The options and the seed, as each new row holds them."""
        texts = {"keep": str(self.keep), "policy": str(self.policy or "")}
        return {
            **asdict(self),
            **texts,
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "seed": seed,
        }


def generate_rejected(recipe: Recipe, out: Path, generation: Generation) -> NewPairs | None:
    """Write the valid rows of a recipe's data to ``out``, each with a rejected answer that a model wrote.

    Continues a call that was stopped. Returns None if an earlier call wrote the file. Leaves out rows whose answer
    teaches nothing because it is empty or equals the chosen one. Raises `RecipeError` and `DataError` if recipe,
    options or data are wrong, `CheckpointError` if ``out`` has other content, and `RunStopped` after a SIGTERM or
    SIGINT.
    """
    require_jsonl(out)
    require_condition(recipe, generation.condition)
    if generation.max_new_tokens >= recipe.model.max_length:
        length = recipe.model.max_length
        raise RecipeError(f"{option('--max-new-tokens')} must be less than model.max_length, which is {length}")
    recipe.model.check()
    require_models(recipe, {"policy": generation.policy})
    data = open_all_rows(recipe.data)
    views = tuple(dict.fromkeys((CHOSEN, View(CHOSEN.response, generation.condition))))
    source = CheckedInput.read(recipe, data, builder_of(recipe, views))
    answers = _Answers(source, generation)
    answers.prompt(source.checked.valid_examples()[0])  # encodes one row before the model is loaded
    at_once = recipe.train.micro_batch_size
    settings = {"command": "generate-rejected", "at_once": at_once, **generation.settings(recipe.train.seed)}
    key = source.key(settings, {"policy": generation.policy})
    return DataJob("generating", source, data, key, answers, at_once).write(out)


@dataclass
class Attempt:
    """One row's attempts at an answer: the beginnings that the model continues, and its last answer.

    ``count``: the number of attempts so far. ``ended``: the model stopped before the limit of tokens, or completed its
    sentences.
    """

    example: Example
    prompt: EncodedPrompt
    keep: Keep
    seed: int
    count: int = 0
    beginnings: Sequence[Beginning] = ()
    answer: str = ""
    ended: bool = False

    def needs_another(self) -> bool:
        """True until the model wrote an answer that differs from the chosen one."""
        return self.count == 0 or self.repeats_chosen()

    def repeats_chosen(self) -> bool:
        """True if the answer equals the chosen one, apart from capitals and spaces."""
        answer, chosen = (text.casefold().split() for text in (self.answer, self.example.text(CHOSEN.response)))
        return bool(answer == chosen)

    def next_tasks(self) -> list[ContinuationTask]:
        """Start another attempt. Returns the beginnings that the model must continue."""
        self.count += 1
        # Only the row seeds the draws, so that a stop or other rows cannot change the answer.
        rng = random.Random(f"{self.seed}|{self.example.id}|rejected|{self.count}")
        self.beginnings = beginnings_of(self.example.text(CHOSEN.response), self.keep, rng)
        begun = self.example.begun
        if begun is not None and begun.unfinished:
            self.beginnings = [each._replace(one_sentence=True) for each in self.beginnings]
        return [ContinuationTask(self.prompt, self._read(each), rng.getrandbits(32)) for each in self.beginnings]

    def _read(self, beginning: Beginning) -> str:
        """What the model continues: the beginning of the row's answers, if they have one, and the one that is kept."""
        begun = self.example.begun
        return beginning.beginning if begun is None else begun.followed_by(beginning.beginning).rstrip(" ")

    def take(self, added: Sequence[Added]) -> None:
        """Make the answer from what the model added to each beginning."""
        self.ended = all(
            each.ended or (beginning.one_sentence and ends_a_sentence(each.text))
            for beginning, each in zip(self.beginnings, added, strict=True)
        )
        answer = escape_marks(assembled(self.beginnings, [each.text for each in added]))
        self.answer = answer.lstrip() if self.example.begun is None else self.example.begun.response_of(answer)


class _Answers:
    """Writes answers to valid rows, given by index; the model is loaded when it is first needed."""

    def __init__(self, source: CheckedInput, generation: Generation) -> None:
        self._source = source
        self._generation = generation
        self._rows = source.checked.valid_examples()
        self._seed = source.builder.seed

    @cached_property
    def _writer(self) -> Writer:
        recipe, options = self._source.recipe, self._generation
        decoding = Decoding(options.max_new_tokens, options.temperature, options.top_p)
        model = load(recipe, options.policy)
        return Writer(model, self._source.builder.encoder, decoding, recipe.train.micro_batch_size)

    def __call__(self, indices: Sequence[int]) -> list[Entry]:
        attempts = [self._attempt(self._rows[index]) for index in indices]
        for _ in range(self._generation.num_attempts):
            self._write([attempt for attempt in attempts if attempt.needs_another()])
        return [self._entry(attempt, index) for attempt, index in zip(attempts, indices, strict=True)]

    def prompt(self, example: Example) -> EncodedPrompt:
        """The prompt of a row, under the image condition, as the model sees it."""
        builder = self._source.builder
        return builder.encode_prompt(builder.corrupt(example, self._generation.condition, self._rows, epoch=0))

    def _attempt(self, example: Example) -> Attempt:
        return Attempt(example, self.prompt(example), self._generation.keep, self._seed)

    def _write(self, attempts: Sequence[Attempt]) -> None:
        tasks = [attempt.next_tasks() for attempt in attempts]
        added = iter(self._writer([task for row_tasks in tasks for task in row_tasks]))
        for attempt, row_tasks in zip(attempts, tasks, strict=True):
            attempt.take(list(islice(added, len(row_tasks))))

    def _entry(self, attempt: Attempt, index: int) -> Entry:
        origin = {
            **self._generation.settings(self._seed),
            "attempts": attempt.count,
            "ended": attempt.ended,
            "source_row": self._source.source_row(index),
        }
        entry: Entry = {"responses": {REJECTED.response: attempt.answer}, "columns": {"rejected_by": origin}}
        problem = self._problem(attempt)
        return entry if problem is None else {**entry, "problem": problem}

    def _problem(self, attempt: Attempt) -> str | None:
        """Why an answer cannot be used for training; None if it can."""
        if attempt.repeats_chosen():
            return "the answer equals the chosen one, apart from capitals and spaces"
        example = attempt.example
        row = replace(example, responses={**example.responses, REJECTED.response: attempt.answer})
        for problem in problems_of_row(row):
            return problem
        try:
            self._source.builder.of((CHOSEN, REJECTED)).encode(row, self._rows, epoch=0)
        except DataError:
            return "the response 'rejected' is longer than model.max_length or the model allows"
        return None
