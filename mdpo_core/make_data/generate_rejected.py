"""Rejected answers that the model itself writes: ``mdpo generate-rejected``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_core.data.checking import open_data
from mdpo_core.data.validity import problems_of_row
from mdpo_core.errors import DataError, RecipeError
from mdpo_core.interfaces.model import Decoding
from mdpo_core.make_data.continuation import Added, ContinuationTask, Writer
from mdpo_core.make_data.job import DataJob, NewPairs
from mdpo_core.make_data.journal import Entry
from mdpo_core.make_data.kept_beginnings import Beginning, Keep, assembled, beginnings_of, ends_a_sentence
from mdpo_core.make_data.source import CheckedInput, builder_of, load, require_condition, require_jsonl, require_models
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.batch import EncodedPrompt
from mdpo_core.types.example import Example
from mdpo_core.types.view import CHOSEN, CLEAN, REJECTED, View

MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Generation:
    """How a model writes an answer.

    ``condition``: the image condition that it sees. ``keep``: how much of the reference answer it may keep.
    ``policy``: the folder of a model that was exported from a run of the recipe; None: the untrained one. Temperature 0
    is greedy.
    """

    condition: str = CLEAN
    keep: Keep = "none"
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    policy: Path | None = None

    @property
    def num_attempts(self) -> int:
        """More than one where another may give another answer."""
        return MOST_ATTEMPTS if self.temperature > 0 or self.keep == "sentences" else 1

    def settings(self, seed: int) -> dict[str, Any]:
        """As a row holds them, in the same types for all."""
        texts = {"keep": str(self.keep), "policy": str(self.policy or "")}
        return {
            **asdict(self),
            **texts,
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "seed": seed,
        }


def generate_rejected(recipe: Recipe, out: Path, generation: Generation) -> NewPairs | None:
    """Write the sound rows of a recipe's data to ``out``, each with a rejected answer that a model wrote.

    Goes on where a stopped call ended; None if the file is there. Rows whose answer nothing can be learned from (it is
    empty, or the chosen one) are left out. Raises `RecipeError`, `DataError`, `CheckpointError` if ``out`` holds
    something else, and `RunStopped`.
    """
    require_jsonl(out)
    require_condition(recipe, generation.condition)
    if generation.max_new_tokens >= recipe.model.max_length:
        raise RecipeError(f"--max-new-tokens: must be less than model.max_length, {recipe.model.max_length}")
    recipe.model.check()
    require_models(recipe, {"policy": generation.policy})
    data = open_data(recipe.data)
    views = tuple(dict.fromkeys((CHOSEN, View(CHOSEN.response, generation.condition))))
    source = CheckedInput.read(recipe, data, builder_of(recipe, views))
    answers = _Answers(source, generation)
    answers.prompt(source.checked.sound()[0])  # a corruption that can work on no row fails here
    at_once = recipe.train.micro_batch_size
    settings = {"command": "generate-rejected", "at_once": at_once, **generation.settings(recipe.train.seed)}
    key = source.key(settings, {"policy": generation.policy})
    return DataJob("generating", source, data, key, answers, at_once).write(out)


class _Draft(NamedTuple):
    """An answer that is to be written: its pieces, and what is asked of the model for each."""

    pieces: Sequence[Beginning]
    tasks: Sequence[ContinuationTask]


class _Answers:
    """Writes answers to sound rows, by their places; the model is loaded when it is first needed."""

    def __init__(self, source: CheckedInput, generation: Generation) -> None:
        self._source = source
        self._generation = generation
        self._rows = source.checked.sound()

    @cached_property
    def _writer(self) -> Writer:
        recipe, wanted = self._source.recipe, self._generation
        decoding = Decoding(wanted.max_new_tokens, wanted.temperature, wanted.top_p)
        model = load(recipe, wanted.policy)
        return Writer(model, self._source.builder.encoder, decoding, recipe.train.micro_batch_size)

    def __call__(self, places: Sequence[int]) -> list[Entry]:
        examples = [self._rows[place] for place in places]
        prompts = [self.prompt(example) for example in examples]
        answers: dict[int, Entry] = {}
        for attempt in range(1, self._generation.num_attempts + 1):
            missing = [row for row, each in enumerate(examples) if row not in answers or _repeats(answers[row], each)]
            drafts = [self._draft(examples[row], prompts[row], attempt) for row in missing]
            added = iter(self._writer([task for draft in drafts for task in draft.tasks]))
            for row, draft in zip(missing, drafts, strict=True):
                answers[row] = self._answer(draft, list(islice(added, len(draft.tasks))), attempt)
        for row, place in enumerate(places):
            answers[row]["columns"]["rejected_by"]["source_row"] = self._source.number(place)
        return [self._entry(example, answers[row]) for row, example in enumerate(examples)]

    def prompt(self, example: Example) -> EncodedPrompt:
        """What the model is shown of a row: its prompt under the condition."""
        builder = self._source.builder
        return builder.encode_prompt(builder.corrupt(example, self._generation.condition, self._rows, epoch=0))

    def _draft(self, example: Example, prompt: EncodedPrompt, attempt: int) -> _Draft:
        # Of the row alone, so that neither a stop nor the rows beside change it.
        rng = random.Random(f"{self._source.builder.seed}|{example.id}|rejected|{attempt}")
        pieces = beginnings_of(example.text(CHOSEN.response), self._generation.keep, rng)
        return _Draft(pieces, [ContinuationTask(prompt, each.beginning, rng.getrandbits(32)) for each in pieces])

    def _answer(self, draft: _Draft, added: Sequence[Added], attempt: int) -> Entry:
        ended = all(
            each.ended or (piece.one_sentence and ends_a_sentence(each.text))
            for piece, each in zip(draft.pieces, added, strict=True)
        )
        how = {**self._generation.settings(self._source.builder.seed), "attempts": attempt, "ended": ended}
        text = assembled(draft.pieces, [each.text for each in added])
        return {"responses": {REJECTED.response: text}, "columns": {"rejected_by": how}}

    def _entry(self, example: Example, answer: Entry) -> Entry:
        written = replace(example, responses={**example.responses, **answer["responses"]})
        problem = next(iter(problems_of_row(written)), None)
        if _repeats(answer, example):
            problem = "the answer is the chosen one, or differs from it in capitals and spaces alone"
        if problem is None:
            try:
                self._source.builder.of((CHOSEN, REJECTED)).encode(written, self._rows, epoch=0)
            except DataError:
                problem = "the response 'rejected' is longer than model.max_length allows"
        return answer if problem is None else {**answer, "problem": problem}


def _repeats(answer: Entry, example: Example) -> bool:
    """Whether an answer is the reference but for capitals and spaces."""
    texts = (answer["responses"][REJECTED.response], example.text(CHOSEN.response))
    one, other = (text.casefold().split() for text in texts)
    return bool(one == other)
