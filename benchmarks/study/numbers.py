"""The numbers of the study, which its page is made from: read from runs, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.study.variants import BASE
from benchmarks.study.worlds import Measure

NOTHING = "zero"  # what a difference is taken from when it is the number itself


@dataclass(frozen=True)
class WorldNumbers:
    """What was measured in a world.

    ``base``: by measure, of the model before training. ``runs``: by variant, by seed, by measure. ``seconds``: the time
    of all runs together.
    """

    name: str
    title: str
    about: str
    recipe: str
    options: Sequence[str]
    steps: int
    seconds: float
    measures: Sequence[Measure]
    base: Mapping[str, float]
    runs: Mapping[str, Mapping[int, Mapping[str, float]]]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seeds of all runs."""
        return sorted({seed for runs in self.runs.values() for seed in runs})

    def measure(self, name: str) -> Measure:
        """The measure of this name; ``first`` is the one that the claims on hallucination are about."""
        return self.measures[0] if name == "first" else next(each for each in self.measures if each.name == name)

    def values(self, variant: str, measure: str) -> dict[int, float]:
        """A measure of a variant, or of the model before training, by seed; empty if it was not run."""
        name = self.measure(measure).name
        if variant in (BASE, NOTHING):
            known = 0.0 if variant == NOTHING else self.base.get(name)
            return {} if known is None else dict.fromkeys(self.seeds, known)
        return {seed: run[name] for seed, run in sorted(self.runs.get(variant, {}).items()) if name in run}

    def differences(self, first: str, second: str, measure: str) -> list[float]:
        """``first`` minus ``second``, of each seed that both have."""
        one, other = self.values(first, measure), self.values(second, measure)
        return [one[seed] - other[seed] for seed in one if seed in other]


def save(file: Path, worlds: Mapping[str, WorldNumbers]) -> None:
    """Write the numbers of these worlds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({name: asdict(world) for name, world in worlds.items()}, indent=1) + "\n")


def load(file: Path) -> dict[str, WorldNumbers]:
    """The numbers that `save` wrote; none if the file does not exist."""
    stored = json.loads(file.read_text()) if file.is_file() else {}
    return {name: _world(each) for name, each in stored.items()}


def _world(stored: Mapping[str, object]) -> WorldNumbers:
    measures = [Measure(**each) for each in stored["measures"]]  # type: ignore[attr-defined]
    runs = {
        variant: {int(seed): found for seed, found in by_seed.items()}
        for variant, by_seed in stored["runs"].items()  # type: ignore[attr-defined]
    }
    return WorldNumbers(**{**stored, "measures": measures, "runs": runs})  # type: ignore[arg-type]
