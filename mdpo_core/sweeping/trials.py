"""The trials of a search: Optuna chooses their values, and its own file in the directory of the search keeps them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.errors import MdpoError, RecipeError, first_line
from mdpo_core.interfaces.train_options import Goal
from mdpo_core.remedies import either, option
from mdpo_core.storage.differences import differences
from mdpo_core.storage.file_locks import lock
from mdpo_core.storage.files import unwritable
from mdpo_core.storage.resuming import decides
from mdpo_core.sweeping.grid import Point
from mdpo_core.sweeping.space import Choice, Range, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FILE = "search.optuna.jsonl"
_NAME = "search"
_MOST_REPEATED = 60  # points in a row that were there before


@dataclass(frozen=True)
class Trial:
    """A run that a search has chosen.

    ``chosen``: the values by option. ``value``: what the metric reached; None if the run failed or has not ended.
    """

    name: str
    chosen: Mapping[str, Any]
    value: float | None
    has_ended: bool


@dataclass(frozen=True)
class Asked:
    """What a search looks for, and in which recipe. The same search goes on, and another one is refused."""

    space: Space
    goal: Goal
    recipe: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The search as JSON."""
        goal = {"metric": self.goal.metric, "better": "less" if self.goal.less_is_better else "more"}
        return {"options": self.space.to_dict(), "goal": goal, "recipe": dict(self.recipe)}


class Trials:
    """The trials in the order in which they were chosen. With the same results, they are the same.

    A trial whose values were there before is not run, and does not count.
    """

    def __init__(self, study: Study, space: Space) -> None:
        self._study = study
        self._space = space

    def all(self) -> list[Trial]:
        """Every trial that counts."""
        return [self._trial(each) for each in _without_repeated(self._study.trials)]

    def point(self, trial: Trial) -> Point:
        """The trial as the run of a sweep."""
        return Point(trial.name, self._space.changes(trial.chosen), told_of(trial.chosen))

    def new(self) -> Trial | None:
        """The next trial. None: Optuna has proposed nothing new for a long time."""
        for _ in range(_MOST_REPEATED):
            number = len(self._study.trials)
            self._study.sampler = imported().samplers.TPESampler(seed=_seed(number))
            asked = self._study.ask({key: _distribution(each) for key, each in self._space.free.items()})
            found = self._study.trials[asked.number]
            if found in _without_repeated(self._study.trials):
                return self._trial(found)
            self._study.tell(asked.number, state=imported().trial.TrialState.FAIL)
        return None

    def tell(self, trial: Trial, value: float | None) -> None:
        """Keep what a trial reached. None: it failed."""
        number = int(trial.name.rpartition("-")[2])
        if value is None:
            self._study.tell(number, state=imported().trial.TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def _trial(self, found: FrozenTrial) -> Trial:
        return Trial(f"trial-{found.number:03}", found.params, found.value, found.state.is_finished())


@contextmanager
def opened(out: Path, asked: Asked) -> Iterator[Trials]:
    """The trials of the search in ``out``, which is begun if there is none; no other search works there meanwhile.

    Raises `RecipeError` if another search is there, or one that goes on, and `CheckpointError` if it cannot be written.
    """
    imported()
    file = out / FILE
    with unwritable(out):
        out.mkdir(parents=True, exist_ok=True)
        opened_file = file.open("a+b")
    with opened_file as held:
        try:
            lock(held)
        except BlockingIOError:
            raise RecipeError(f"a search goes on in {out}; wait until it ends, or {_other()}") from None
        _clean(file)
        yield Trials(_study(file, asked), asked.space)


def _clean(file: Path) -> None:
    """Remove what a killed search left half done: the end of a line, and Optuna's lock."""
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with file.open("r+b") as half:
            half.truncate(whole)


def _study(file: Path, asked: Asked) -> Study:
    optuna, now = imported(), asked.to_dict()
    storage = optuna.storages.JournalStorage
    backend = optuna.storages.journal.JournalFileBackend
    try:
        study: Study = optuna.create_study(
            storage=storage(backend(str(file))),
            study_name=_NAME,
            direction="minimize" if asked.goal.less_is_better else "maximize",
            load_if_exists=True,
        )
        before = study.user_attrs.get("asked", now)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise MdpoError(f"{file} is damaged ({first_line(error)}); restore it, or {_other()}") from error
    different = differences(before, now, lambda key: not key.startswith("recipe.") or decides(key[len("recipe.") :]))
    if different:
        raise RecipeError("\n  ".join([f"{file.parent} holds another search; {_other()}", *different]))
    if "asked" not in study.user_attrs:
        study.set_user_attr("asked", now)
    return study


def _other() -> str:
    return f"choose another directory with {option('--out DIR')}"


def _without_repeated(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The first trial with each choice of values."""
    found: dict[Any, FrozenTrial] = {}
    for trial in trials:
        found.setdefault(tuple(sorted(trial.params.items())), trial)
    return list(found.values())


def _seed(number: int) -> int:
    """A seed for each trial, so that a search that goes on chooses as one that was not stopped."""
    return int.from_bytes(hashlib.sha256(f"trial {number}".encode()).digest()[:4], "big")


def _distribution(each: Range | Choice) -> BaseDistribution:
    distributions = imported().distributions
    if isinstance(each, Choice):
        found = distributions.CategoricalDistribution(each.texts)
    elif each.is_whole:
        found = distributions.IntDistribution(each.low, each.high, log=each.log)
    else:
        found = distributions.FloatDistribution(each.low, each.high, log=each.log)
    distribution: BaseDistribution = found
    return distribution


def told_of(chosen: Mapping[str, Any]) -> str:
    """The values in few letters: ``train.learning_rate=0.0001234, objective.0.beta=0.1``."""
    return ", ".join(f"{key}={short_number(value)}" for key, value in chosen.items())


def short_number(value: Any) -> str:
    """A chosen value; a fraction with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def imported() -> Any:
    """The library. Raises `RecipeError` if it is not installed."""
    try:
        import optuna
    except ImportError as error:
        said = "needs optuna, which is not installed: pip install 'mdpo[optuna]'"
        raise RecipeError(f"{either('--search', 'a search')} {said}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
