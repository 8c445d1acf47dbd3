"""Opens the data of a recipe and checks every row, before a model is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mdpo_core.data.checking import CheckedData, check_data, chosen_rows, open_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.held_out import check_beside_held_out, check_some, split, split_at
from mdpo_core.data.pictures.keys import warn_of_shared_pictures
from mdpo_core.data.pictures.missing import warn_of_missing_pictures
from mdpo_core.data.sampler import Sampler
from mdpo_core.errors import DataError, Problem, put_before_source
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.plugin_results import code_of, told_by_plugin
from mdpo_core.interfaces.reader import Reader
from mdpo_core.listeners import progress_of, stage
from mdpo_core.processes.world import ALONE, World
from mdpo_core.recipe.checks.held_out import lacking_for
from mdpo_core.recipe.checks.sources import measures_by_source
from mdpo_core.recipe.checks.steps import require_enough_steps
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.example import Example
from mdpo_core.types.rows import Block
from mdpo_core.types.stored_bytes import Files, noted_files

if TYPE_CHECKING:
    from mdpo_core.processes.workers import Workers


class CheckStore(Protocol):
    """Where the results of checks are kept, so that rows that were checked once are not checked again."""

    def find(self, reader: Reader, builder: BatchBuilder, num_rows: int, opened: Files) -> CheckedData | None:
        """The result of this check, without the data; None if there is none, or if a file has changed since.

        ``opened``: the files that were noted when the data were opened.
        """

    def keep(self, checked: CheckedData) -> CheckedData:
        """Keep the result of the check that `find` was last asked for. Returns it with what is stored."""


class _Source(NamedTuple):
    """The opened rows of a reader, and the files that were noted meanwhile."""

    reader: Reader
    rows: Sequence[Example]
    files: Files

    @classmethod
    def of(cls, reader: Reader) -> _Source:
        with noted_files() as files:
            rows = open_data(reader)
        return cls(reader, rows, files)


def read_data(
    recipe: Recipe,
    world: World = ALONE,
    *,
    weights: bool = True,
    store: CheckStore | None = None,
    tell: Callable[[CheckedData], object] = lambda checked: None,
) -> tuple[CheckedData, BatchBuilder]:
    """Find the model's files and check every row, without loading the model. Raises `DataError`.

    ``weights``: the model's folder must have them; without them, its configuration and processor are enough.
    ``store``: has the result if the same rows were checked before. ``tell``: is called with the result for the rows of
    each section, before bad ones raise. Only the main process uses these two.
    """
    if weights:
        with code_of(recipe.model, "check"):
            recipe.model.check()
    with code_of(recipe.model, "encoder"):
        encoder = recipe.model.encoder()
    data, validation = _opened(recipe, world)
    builder = BatchBuilder.for_terms(
        recipe.objective,
        recipe.corruptions,
        encoder,
        recipe.model.max_length,
        recipe.train.seed,
        # One process also needs blank images if weights before the language model train. Otherwise it would not update
        # these weights in a step without images, but several processes would.
        always_images=world.size > 1 or recipe.model.trains_images,
        max_positions=recipe.model.max_positions,
    )
    builder = replace(builder, checks_rows=recipe.data.check != "all")
    stored: dict[str, bytes] = {}

    def checked_here() -> CheckedData:
        """The result of the check without the data: every process opens its own, and only this one stores."""
        found = _Check(recipe, builder, store, world, tell).of_all(data, validation)
        stored.update(found.stored)
        return replace(found, stored={})

    checked = world.computed_by_main(checked_here)
    _require_trainable(recipe, checked)
    rows = data.rows if validation is None else validation.rows
    held_out = checked.held_out and replace(checked.held_out, data=rows)
    return replace(checked, data=data.rows, held_out=held_out, stored=stored), builder


def check_block(
    recipe: Recipe, builder: BatchBuilder, first: CheckedData, world: World, block: Block, workers: Workers
) -> CheckedData:
    """Check the rows of a stream's block. ``first``: the result for the first one. Raises `DataError`."""
    if block.number == 0:
        return first
    checked = world.computed_by_main(lambda: _sound_rows(recipe, block.rows, builder, world, workers))
    return replace(checked, data=block.rows)


def _sound_rows(
    recipe: Recipe, data: Sequence[Example], builder: BatchBuilder, world: World, workers: Workers
) -> CheckedData:
    checked = check_data(data, builder, progress_of("checking data", world), workers)
    checked.require_valid(quarantine=recipe.data.most_bad)
    return replace(checked, data=())


def _require_trainable(recipe: Recipe, checked: CheckedData) -> None:
    """Raise an error if the rows do not have, or are too few for, what the recipe asks for."""
    _require_sources(recipe, checked)
    require_enough_steps(recipe.train, Sampler.of(recipe.train, checked.lengths, checked.keys).num_steps)


def _require_sources(recipe: Recipe, checked: CheckedData) -> None:
    """Raise `DataError` if metrics are asked for by source, and no row names one; a reader may not know that."""
    if recipe.train.metrics_by_source and _names_none(checked):
        text = "no row names a source; use the reader 'mixture', or set it to false"
        raise DataError([Problem("train.metrics_by_source", "", text)])
    if checked.held_out is None or not _names_none(checked.held_out):
        return
    for position, evaluator in enumerate(recipe.evaluators):
        if measures_by_source(evaluator):
            text = "no held-out row names a source; use the reader 'mixture', or leave by_source out"
            raise DataError([Problem(f"evaluators.{position}", "", text)])


def _require_needs(recipe: Recipe, row: Example) -> None:
    """Raise `DataError` if a held-out row lacks what an evaluator reads; a reader may not know what its rows have."""
    for position, evaluator in enumerate(recipe.evaluators):
        if evaluator.reads_held_out:
            problems = [Problem(f"evaluators.{position}", "", text) for text in lacking_for(evaluator, row)]
            if problems:
                raise DataError(problems)


def _names_none(checked: CheckedData) -> bool:
    return any(checked.keys) and not any(checked.sources)  # rows that were read have keys


def _opened(recipe: Recipe, world: World) -> tuple[_Source, _Source | None]:
    with stage("reading the data", world):
        return _Source.of(recipe.data), _opened_validation(recipe)


def _opened_validation(recipe: Recipe) -> _Source | None:
    with _in_validation(recipe.validation):
        return None if recipe.validation is None else _Source.of(recipe.validation)


@dataclass(frozen=True)
class _Check:
    """Checks the rows of a recipe, those of the section ``validation`` too."""

    recipe: Recipe
    builder: BatchBuilder
    store: CheckStore | None
    world: World
    tell: Callable[[CheckedData], object]

    def of_all(self, data: _Source, validation: _Source | None) -> CheckedData:
        """The result for all rows, without the data."""
        found = self._of_sections(data, validation)
        held_out = validation or data
        # Other readers have told what their rows have, without a row.
        if found.held_out is not None and held_out.reader.gives() is None:
            _require_needs(self.recipe, held_out.rows[found.held_out.rows[0]])
        apart = found.held_out and [replace(found.held_out, data=held_out.rows)]
        parts = [replace(found, data=data.rows), *(apart or [])]
        warn_of_missing_pictures(self.recipe, self.builder, parts)
        return found

    def _of_sections(self, data: _Source, validation: _Source | None) -> CheckedData:
        checked = self._of(data, "checking data")
        if validation is None:
            return checked
        with _in_validation(validation.reader):
            held_out = self._of(validation, "checking validation")
        stored = {**checked.stored, **held_out.stored}
        checked = replace(checked, held_out=replace(held_out, stored={}), stored=stored)
        warn_of_shared_pictures(checked.keys, held_out.keys)
        return checked

    def _of(self, source: _Source, stage: str) -> CheckedData:
        reader, rows, files = source
        found = self.store.find(reader, self.builder, len(rows), files) if self.store is not None else None
        checked = replace(found or self._checked_now(source, stage), data=rows)
        self.tell(checked)
        checked.require_valid(quarantine=reader.most_bad)
        parted = _parted(checked, reader)
        tried = tried_with(self.recipe, reader, self.builder)
        if checked.tried != tried:
            held_out = parted if reader is self.recipe.validation else parted.held_out
            for part in (parted, parted.held_out):
                if part is not None:
                    self.builder.build(part.valid_examples(), [0], epoch=0)  # encodes one row before a model is loaded
            if held_out is not None:
                _try_corruptions(self.recipe, self.builder, held_out.valid_examples())
            checked = replace(checked, tried=tried)
            checked = self.store.keep(checked) if self.store is not None else checked
        apart = parted.held_out and replace(parted.held_out, data=(), files={}, stored={})
        return replace(parted, data=(), held_out=apart, files={}, tried=tried, stored=checked.stored)

    def _checked_now(self, source: _Source, stage: str) -> CheckedData:
        reader, rows, _ = source
        progress, workers = progress_of(stage, self.world), self.recipe.train.workers
        if reader.check != "all" and reader.hold_out is not None:
            looking = progress_of("reading rows", self.world)
            return check_beside_held_out(rows, self.builder, reader, (looking, progress), workers)
        check = partial(check_data, rows, self.builder, progress, workers)
        chosen = chosen_rows(reader.check, len(rows))
        if chosen is None:
            return check(without_duplicates=reader.duplicates == "quarantine")
        return check_some(lambda some: check(chosen=some), chosen)


def _parted(checked: CheckedData, reader: Reader) -> CheckedData:
    """The rows to train on and those that are held out. Raises `DataError` if one of the two would be empty."""
    if reader.hold_out is None:
        return checked
    return split(checked, reader.hold_out) if reader.check == "all" else split_at(checked, checked.apart)


def tried_with(recipe: Recipe, reader: Reader, builder: BatchBuilder) -> str:
    """What decides, besides the check of a row, whether it can be encoded: its views and their corruptions.

    And which row is the first.
    """
    options = recipe.to_dict()["corruptions"]
    used = {name: options[name] for name in builder.corruptions}
    hold_out = reader.hold_out and reader.hold_out.model_dump()
    measured = [[each.component_name(), each.model_dump(mode="json")] for _, each in _corruptions_of(recipe)]
    return json.dumps([sorted(map(str, builder.views)), used, builder.seed, builder.always_images, hold_out, measured])


def _corruptions_of(recipe: Recipe) -> Iterator[tuple[int, Corruption]]:
    """The corruptions that evaluators apply to held-out rows, with the positions of these evaluators."""
    for position, evaluator in enumerate(recipe.evaluators):
        source = f"corruptions() of the evaluator '{evaluator.component_name()}'"
        for corruption in told_by_plugin(source, evaluator.corruptions, (tuple, list), "corruptions"):
            yield position, corruption


def _try_corruptions(recipe: Recipe, builder: BatchBuilder, rows: Sequence[Example]) -> None:
    """Apply the corruptions of evaluators to the first held-out row; other rows may be what one of them needs."""
    for position, corruption in _corruptions_of(recipe):
        name = f"evaluators.{position}"
        try:
            replace(builder, corruptions={name: corruption}).corrupt(rows[0], name, rows, epoch=0)
        except DataError as error:
            raise DataError([replace(each, where=f"{name}: {each.where}") for each in error.problems]) from error


@contextmanager
def _in_validation(reader: Reader | None) -> Iterator[None]:
    """Problems are of the section ``validation``, and say so; so does their advice about its options."""
    try:
        yield
    except DataError as error:
        raise DataError([_of_validation(each, reader) for each in error.problems]) from error
    except Exception as error:
        put_before_source("validation: ", error)
        raise


def _of_validation(problem: Problem, reader: Reader | None) -> Problem:
    options = "|".join(type(reader).model_fields) if reader is not None else ""
    of_data = re.compile(rf"(?<![\w./-])data(?=\.({options})\b(?!\.\w))")
    where = f"validation: {of_data.sub('validation', problem.where)}".rstrip(": ")
    return replace(problem, where=where, message=of_data.sub("validation", problem.message))
