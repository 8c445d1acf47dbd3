"""The steps of a run: which rows they take, and their batches, which are built ahead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_core.data.checking import CheckedData
from mdpo_core.data.encoding import BatchBuilder, BuildBatch, TrainingData
from mdpo_core.data.reading import check_block
from mdpo_core.data.sampler import MicroBatch, Sampler, mixed_seed
from mdpo_core.errors import DataError, PluginError, Problem, blame_on
from mdpo_core.interfaces.train_options import Train
from mdpo_core.processes.portable_error import PortableError
from mdpo_core.processes.workers import Workers
from mdpo_core.processes.world import World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.storage.quarantine import entries_of, write_entries
from mdpo_core.types.batch import Batch
from mdpo_core.types.rows import Block, RowStream

CheckBlock = Callable[[Block, Workers], CheckedData]


class Step(NamedTuple):
    """The rows of an optimizer step.

    ``num_rows``: of all processes. ``micro_batches``: of this process. ``batches`` gives the batch of each of them,
    one after the other.
    """

    num_rows: int
    micro_batches: list[MicroBatch]
    batches: Iterator[Batch]


class Feed(ABC):
    """What a run trains on, step by step."""

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Number of optimizer steps in the whole run."""

    @abstractmethod
    def epochs(self, finished: int) -> float:
        """Passes over the data in the first ``finished`` steps, of which the last one was just given."""

    @abstractmethod
    def steps(self, first_step: int) -> AbstractContextManager[Iterator[Step]]:
        """All steps after the first ``first_step``, in order. The context ends the worker processes."""

    def state(self) -> Mapping[str, Any]:
        """What a checkpoint must keep as JSON values, by name, so that `restore` can go on after the last step."""
        return {}

    def restore(self, metadata: Mapping[str, Any]) -> None:  # noqa: B027  # most feeds have no state
        """Take up the `state` among the ``metadata`` of a checkpoint, before `steps` is called."""


@dataclass
class SampledFeed(Feed):
    """Rows whose number is known, in the order of a sampler."""

    data: TrainingData
    sampler: Sampler
    train: Train
    world: World

    @property
    def num_steps(self) -> int:
        return self.sampler.num_steps

    def epochs(self, finished: int) -> float:
        return finished / self.sampler.steps_per_epoch

    @contextmanager
    def steps(self, first_step: int) -> Iterator[Iterator[Step]]:
        with Workers(self.train.workers) as workers, self.steps_by(workers, first_step) as steps:
            yield steps

    @contextmanager
    def steps_by(self, workers: Workers, first_step: int) -> Iterator[Iterator[Step]]:
        """The same, with workers that are kept."""
        numbers = range(first_step, self.num_steps)
        with self._built(workers, numbers) as batches:
            yield (Step(len(self.sampler.rows(step)), self._micro_batches(step), batches) for step in numbers)

    def _micro_batches(self, step: int) -> list[MicroBatch]:
        return self.sampler.micro_batches(step, self.train.micro_batch_size, self.world)

    def _built(self, workers: Workers, numbers: range) -> AbstractContextManager[Iterator[Batch]]:
        tasks = chain.from_iterable(map(self._micro_batches, numbers))
        return workers.ahead(BuildBatch(self.data.builder, self.data.rows), tasks)


@dataclass(frozen=True)
class AgreedStream(RowStream):
    """A stream that every process reads by itself: if one of them cannot, or reads other rows, all end with its error.

    ``reader``: its name, for messages.
    """

    stream: RowStream
    reader: str
    world: World

    def blocks(self, state: Mapping[str, Any] | None = None) -> Iterator[Block]:
        blocks = self.stream.blocks(state)
        while True:
            found = self._next(blocks)
            failures = self.world.gather(PortableError.of(found) if isinstance(found, Exception) else None)
            for rank, failure in enumerate(failures):
                if failure is not None:
                    # The error of this process itself has its traceback.
                    mine = found if rank == self.world.rank and isinstance(found, Exception) else failure.to_raise()
                    raise self._of_process(rank, mine)
            assert isinstance(found, Block), "a process without a block has an error"
            self._require_equal(self.world.gather((found.first, len(found.rows))))
            yield found

    def _next(self, blocks: Iterator[Block]) -> Block | Exception:
        """The next block, or why this process has none."""
        try:
            with blame_on(f"the reader '{self.reader}', which streams rows,"):
                block = next(blocks, None)
        except Exception as error:
            return error
        text = f"the stream of the reader '{self.reader}' has ended; after the last row it must give the first one"
        return PluginError(text) if block is None else block

    def _of_process(self, rank: int, error: Exception) -> Exception:
        """The error of one of several processes; problems of data say which process cannot read them."""
        if self.world.size == 1 or not isinstance(error, DataError):
            return error
        return DataError([replace(each, where=f"process {rank}: {each.where}".rstrip(": ")) for each in error.problems])

    def _require_equal(self, blocks: Sequence[tuple[int, int]]) -> None:
        """``blocks``: of each process, the rows before its block, and those in it."""
        for rank, (first, num_rows) in enumerate(blocks):
            if (first, num_rows) != blocks[0]:
                text = (
                    f"process {rank} reads {num_rows:,} rows after row {first:,}, but process 0 reads {blocks[0][1]:,} "
                    f"after row {blocks[0][0]:,}; all processes need the same files"
                )
                raise DataError([Problem("", "data", text)])


class _Place(NamedTuple):
    """Where a stream is: the state of the block that gave the last step, its pass, and the steps before it."""

    block: Mapping[str, Any]
    epoch: int
    steps_before: int


@dataclass
class StreamFeed(Feed):
    """Rows of a stream, block by block: the rows of a block are shuffled, and its last step may be smaller.

    ``check`` checks the rows of a block when it is met; ``quarantine`` is the file that lists the bad ones.
    ``train.max_steps`` is the number of steps.
    """

    stream: AgreedStream
    check: CheckBlock
    builder: BatchBuilder
    train: Train
    world: World
    quarantine: Path
    _at: _Place | None = field(default=None, init=False)
    _bad: list[dict[str, Any]] = field(default_factory=list, init=False)

    @property
    def num_steps(self) -> int:
        assert self.train.max_steps is not None  # recipes with streams are refused without it
        return self.train.max_steps

    def epochs(self, finished: int) -> float:
        """The number of complete passes: the length of a stream is not known."""
        return 0.0 if self._at is None else float(self._at.epoch)

    def state(self) -> Mapping[str, Any]:
        return {} if self._at is None else {"stream": self._at._asdict() | {"bad": self._bad}}

    def restore(self, metadata: Mapping[str, Any]) -> None:
        saved = dict(metadata["stream"])
        self._bad = saved.pop("bad")
        self._at = _Place(**saved)

    @contextmanager
    def steps(self, first_step: int) -> Iterator[Iterator[Step]]:
        with Workers(self.train.workers) as workers, closing(self._steps(workers, first_step)) as steps:
            yield steps

    def _steps(self, workers: Workers, first_step: int) -> Generator[Step, None, None]:
        steps_before = 0 if self._at is None else self._at.steps_before
        for block in self.stream.blocks(None if self._at is None else self._at.block):
            feed = self._of_block(block, workers)
            self._at = _Place(block.state, block.epoch, steps_before)
            with feed.steps_by(workers, first_step - steps_before) as steps:
                for step in steps:
                    yield step
                    first_step += 1
                    if first_step == self.num_steps:
                        return
            steps_before += feed.num_steps

    def _of_block(self, block: Block, workers: Workers) -> SampledFeed:
        checked = self.check(block, workers)
        known = {entry["row"] for entry in self._bad}
        self._bad += [entry for entry in entries_of(checked, block.first) if entry["row"] not in known]
        if self._bad and self.world.is_main:
            write_entries(self.quarantine, self._bad)
        data = TrainingData(checked.valid_examples(), checked.lengths, self.builder)
        return SampledFeed(data, self._sampler(block, checked), self.train, self.world)

    def _sampler(self, block: Block, checked: CheckedData) -> Sampler:
        once = {"epochs": 1, "max_steps": None, "seed": mixed_seed(self.train.seed, block.number)}
        sampler = Sampler.of(self.train.model_copy(update=once), checked.lengths, checked.keys)
        return replace(sampler, first_epoch=block.epoch)


def feed_of(recipe: Recipe, checked: CheckedData, builder: BatchBuilder, world: World, quarantine: Path) -> Feed:
    """The steps of a run: of all ``checked`` rows, or of a stream whose first block they are.

    ``quarantine``: the file that lists bad rows of later blocks.
    """
    train, data = recipe.train, recipe.data
    if data.is_streamed():
        check = partial(check_block, recipe, builder, checked, world)
        stream = AgreedStream(data.stream(), data.component_name(), world)
        return StreamFeed(stream, check, builder, train, world, quarantine)
    return SampledFeed(checked.with_builder(builder), Sampler.of(train, checked.lengths, checked.keys), train, world)
