"""Builds a batch from rows: reads, corrupts, encodes, and collates them (in `collation.py`)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from mdpo_core.data.collation import collate
from mdpo_core.data.responses import encode_response, require_different
from mdpo_core.data.sampler import MicroBatch
from mdpo_core.data.term_checks import check_row
from mdpo_core.data.validity import odd_picture, problems_before_encoding, wrong_type_in
from mdpo_core.errors import DataError, PluginError, Problem, blame_on
from mdpo_core.interfaces.corruption import Corruption, ImageCorruption
from mdpo_core.interfaces.model import Encoder
from mdpo_core.interfaces.term import Term
from mdpo_core.recipe.checks.needs import (
    Need,
    columns_of_term,
    compared_responses,
    lacking,
    needs_of_corruption,
    needs_of_term,
)
from mdpo_core.types.batch import Batch, EncodedPrompt, EncodedRow
from mdpo_core.types.example import Example
from mdpo_core.types.marks import IMAGE_MARK
from mdpo_core.types.rows import place_in
from mdpo_core.types.view import CLEAN, View


@dataclass(frozen=True)
class BatchBuilder:
    """Builds batches with everything that some terms read; cheap to copy into a worker process.

    ``checks``: the terms that read columns. ``compared``: responses that a term compares, so they must differ.
    ``always_images``: a batch without images gets a blank one, which no prompt shows, because processes that share a
    model must all run all of it. ``max_length`` is the recipe's limit of a row, ``max_positions`` the model's, both in
    tokens. ``checks_rows``: rows were not all checked before, so each is now.
    """

    encoder: Encoder
    views: tuple[View, ...]
    corruptions: Mapping[str, Corruption]
    columns: tuple[str, ...]
    max_length: int
    seed: int
    always_images: bool = False
    needs: tuple[Need, ...] = ()
    checks: tuple[Term, ...] = ()
    compared: tuple[tuple[str, str], ...] = ()
    max_positions: int | None = None
    checks_rows: bool = False

    @classmethod
    def for_terms(
        cls,
        terms: Iterable[Term],
        corruptions: Mapping[str, Corruption],
        encoder: Encoder,
        max_length: int,
        seed: int,
        always_images: bool = False,
        max_positions: int | None = None,
    ) -> Self:
        """A builder of batches with everything that ``terms`` read: views, columns and conditions."""
        terms = list(terms)
        views = tuple(dict.fromkeys(view for term in terms for view in term.views()))
        columns = tuple(dict.fromkeys(name for term in terms for name in columns_of_term(term)))
        used = {view.condition: corruptions[view.condition] for view in views if view.condition != CLEAN}
        needs = [need for term in terms for need in needs_of_term(term)]
        needs += [need for name, corruption in used.items() for need in needs_of_corruption(name, corruption)]
        needed, checks = tuple(dict.fromkeys(needs)), tuple(term for term in terms if columns_of_term(term))
        compared = compared_responses(terms)
        return cls(
            encoder, views, used, columns, max_length, seed, always_images, needed, checks, compared, max_positions
        )

    def of_own_fields(self) -> Self:
        """A builder of what a row shows by itself: the clean images, and the other images and prompts of its own.

        The model's processor may refuse one of these. Other corruptions keep the size of a picture, or show that of
        another row.
        """
        clean = [View(view.response) for view in self.views]
        own = [view for view in self.views if view.condition != CLEAN and self._shows_own_field(view.condition)]
        return self.of(tuple(dict.fromkeys([*clean, *own])))

    def _shows_own_field(self, condition: str) -> bool:
        needs = needs_of_corruption(condition, self.corruptions[condition])
        return any(need.field in ("other_images", "other_prompts") for need in needs)

    def of(self, views: tuple[View, ...]) -> Self:
        """The same for some views."""
        conditions = {view.condition for view in views}
        used = {name: corruption for name, corruption in self.corruptions.items() if name in conditions}
        return replace(self, views=views, corruptions=used)

    def scoring(self, views: tuple[View, ...], corruption: Corruption | None) -> BatchBuilder:
        """A builder of views whose condition is ``corruption``, and not one of the recipe's; None: clean."""
        used = {} if corruption is None else {view.condition: corruption for view in views}
        needs = [Need("responses", view.response) for view in views]
        needs += [need for name, each in used.items() for need in needs_of_corruption(name, each)]
        return replace(self, views=views, corruptions=used, columns=(), needs=tuple(needs), checks=())

    def build(self, data: Sequence[Example], rows: Sequence[int], epoch: int) -> Batch:
        """The batch of some rows of ``data``. Raises `DataError` if one of them is not valid."""
        return self._collated([self._encoded(data, row, epoch) for row in rows])

    def build_of_sound(self, data: Sequence[Example], rows: Sequence[int], epoch: int) -> Batch:
        """The batch of those of some rows that are sound; the others are left out as if they had no weight."""
        encoded: list[EncodedRow] = []
        left_out: dict[int, tuple[Problem, ...]] = {}
        for row in rows:
            try:
                encoded.append(self._encoded(data, row, epoch))
            except DataError as error:
                left_out[row] = tuple(error.problems)
        if encoded:
            return replace(self._collated(encoded), left_out=left_out)
        return replace(self._collated([self._first_sound(data, epoch)]), left_out=left_out, is_filler=True)

    def _first_sound(self, data: Sequence[Example], epoch: int) -> EncodedRow:
        for row in range(len(data)):
            with suppress(DataError):
                return self._encoded(data, row, epoch)
        raise DataError("all rows are bad")

    def _encoded(self, data: Sequence[Example], row: int, epoch: int) -> EncodedRow:
        place = place_in(data, row)
        try:
            with blame_on(place):
                example = data[row]
            if self.checks_rows and (problems := problems_before_encoding(example, self.encoder, self.compared)):
                raise DataError(problems)
            return self.encode(example, data, epoch)
        except DataError as error:
            raise DataError([each.at(place) for each in error.problems]) from error

    def _collated(self, rows: Sequence[EncodedRow]) -> Batch:
        batch = collate(rows, self.views)
        return batch if batch.images or not self.always_images else replace(batch, images=self.blank().images)

    def blank(self) -> EncodedPrompt:
        """A prompt that shows a blank image."""
        from PIL import Image

        return self.encoder.encode_prompt(Example("blank", IMAGE_MARK, {}, (Image.new("RGB", (8, 8)),)))

    def encode(self, example: Example, data: Sequence[Example], epoch: int) -> EncodedRow:
        """Encode one example under each condition that a view needs."""
        problems = lacking(example, self.needs)
        if problems:
            raise DataError(problems)
        for term in self.checks:
            check_row(term, example.id, example.columns)
        conditions = dict.fromkeys(view.condition for view in self.views)
        names = dict.fromkeys(view.response for view in self.views)
        prompts = {name: self._prompt_under(name, example, data, epoch) for name in conditions}
        with blame_on(f"the encoder {type(self.encoder).__name__}, on example '{example.id}'"):
            responses = {name: encode_response(self.encoder, example, name) for name in names}
        pairs = [pair for pair in self.compared if responses.keys() >= {*pair}]
        require_different(example, {name: response.token_ids for name, response in responses.items()}, pairs)
        row = EncodedRow(
            id=example.id,
            prompts=prompts,
            responses={name: response.token_ids for name, response in responses.items()},
            columns={name: float(example.columns[name]) for name in self.columns},
            corruptible=self.is_corruptible(example),
            text_starts={name: self._text_start(prompt) for name, prompt in prompts.items()},
            turns={name: response.turns for name, response in responses.items() if response.turns is not None},
            source=example.source,
        )
        self._limit_length(row)
        return row

    def _prompt_under(self, condition: str, example: Example, data: Sequence[Example], epoch: int) -> EncodedPrompt:
        try:
            return self.encode_prompt(self.corrupt(example, condition, data, epoch))
        except DataError as error:
            if condition == CLEAN:
                raise
            said = [
                replace(each, message=f"under the condition '{condition}', {each.message}") for each in error.problems
            ]
            raise DataError(said) from error

    def encode_prompt(self, example: Example) -> EncodedPrompt:
        """Encode a prompt, and drop the share of image tokens that the example asks for."""
        with blame_on(f"the encoder {type(self.encoder).__name__}, on example '{example.id}'"):
            prompt = self.encoder.encode_prompt(example)
        if example.dropped is None:
            return prompt
        rng = random.Random(example.dropped.seed)
        drawn = [
            token == self.encoder.image_token and rng.random() < example.dropped.share
            for token in prompt.token_ids.tolist()
        ]
        return replace(prompt, dropped=prompt.token_ids.new_tensor(drawn) > 0) if any(drawn) else prompt

    def is_corruptible(self, example: Example) -> bool:
        """Whether all conditions of the views change this row."""
        return all(self._applies(name, example) for name in self.corruptions)

    def _applies(self, condition: str, example: Example) -> bool:
        corruption = self.corruptions[condition]
        with blame_on(f"the corruption '{condition}' ({type(corruption).__name__}), on example '{example.id}'"):
            return corruption.applies_to(example)

    def _text_start(self, prompt: EncodedPrompt) -> int:
        """The index after the last image token; 1 without an image, because nothing predicts the first token."""
        indices = (prompt.token_ids == self.encoder.image_token).nonzero()
        return int(indices[-1]) + 1 if len(indices) else 1

    def corrupt(self, example: Example, condition: str, data: Sequence[Example], epoch: int) -> Example:
        """The example under a condition.

        Policy and reference see the same result, on every machine: all randomness is a function of the run's seed, the
        example's id, the condition's name and the draw. A row to which the corruption does not apply stays as it is.
        """
        if condition == CLEAN:
            return example
        corruption = self.corruptions[condition]
        if not self._applies(condition, example):
            return example
        draw = epoch if corruption.draw == "epoch" else 0
        rng = random.Random(f"{self.seed}|{example.id}|{condition}|{draw}")
        # Copies: a corruption that paints over its input must not change the other conditions.
        own = replace(
            example,
            images=tuple(image.copy() for image in example.images),
            other_images={
                name: tuple(image.copy() for image in images) for name, images in example.other_images.items()
            },
        )
        who = f"the corruption '{condition}' ({type(corruption).__name__}), on example '{example.id}'"
        with blame_on(who):
            corrupted = corruption.apply(own, rng, data)
        wrong = wrong_type_in(corrupted) or odd_picture(corrupted, example, isinstance(corruption, ImageCorruption))
        if wrong is not None:
            raise PluginError(f"{who}: {wrong}")
        return corrupted

    def _limit_length(self, row: EncodedRow) -> None:
        prompt = max(len(prompt.token_ids) for prompt in row.prompts.values())
        response = max(len(ids) for ids in row.responses.values())
        counts = f"{prompt} prompt tokens (image tokens included) and {response}"
        for problem in self._length_problems(prompt + response, counts):
            raise DataError([Problem(f"example '{row.id}'", "", problem)])

    def _length_problems(self, length: int, counts: str) -> Iterator[str]:
        """The limits that a row of ``length`` tokens exceeds, and what to do. ``counts``: the tokens in words."""
        if self.max_positions is not None and length > self.max_positions:
            yield (
                f"{counts} response tokens are more than the model's {self.max_positions} positions; nothing is cut "
                "off: shorten the row"
            )
        if length > self.max_length:
            yield (
                f"{counts} response tokens are more than model.max_length = {self.max_length}; nothing is cut off: "
                "raise it or shorten the row"
            )


@dataclass(frozen=True)
class TrainingData:
    """The rows to train on, their lengths in tokens, the builder of their batches, and the `CheckedData` of both."""

    rows: Sequence[Example]
    lengths: Sequence[int]
    builder: BatchBuilder
    checked: Any = None


@dataclass(frozen=True)
class BuildBatch:
    """Builds the batch of a micro-batch; worker processes get a copy of this object."""

    builder: BatchBuilder
    data: Sequence[Example]

    def __call__(self, task: MicroBatch) -> Batch:
        builder = self.builder if task.views is None else self.builder.of(task.views)
        if builder.checks_rows:
            return builder.build_of_sound(self.data, task.rows, task.epoch)
        return builder.build(self.data, task.rows, task.epoch)
