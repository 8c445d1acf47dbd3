"""Tests the mutants of a file and says what came of each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from tools.mutation.explanations import read_explanations
from tools.mutation.mutations import Key, Mutant, mutants
from tools.mutation.sandbox import SHORTEST_LIMIT, Sandbox
from tools.mutation.suites import tests_for

EXPLANATIONS = "tools/mutation/mutants_explained.yaml"


@dataclass
class Result:
    """The counts of one file. ``stale``: explanations of mutants that a test notices, or that no longer exist."""

    file: str
    possible: int
    tried: int = 0
    caught: int = 0
    timed_out: int = 0
    explained: int = 0
    unexplained: int = 0
    stale: list[Key] = field(default_factory=list)

    @property
    def passes(self) -> bool:
        return not self.unexplained and not self.stale

    def row(self) -> str:
        """A row under `HEADER`."""
        counts = (self.possible, self.tried, self.caught, self.timed_out, self.explained, self.unexplained)
        return f"| {self.file} | {' | '.join(map(str, counts))} |"


HEADER = "| file | mutants | tried | caught | timed out | explained | unexplained |\n" + "|---" * 7 + "|"


class Check:
    """Mutants of the files of one tree; a timeout counts as caught."""

    def __init__(self, root: Path, sandbox: Sandbox) -> None:
        self._root = root
        self._sandbox = sandbox
        self._seconds: dict[str, float] = {}

    def file(self, file: str, sample: int | None, seed: int) -> Result:
        """Try all mutants of a file, or ``sample`` of them; print each."""
        found = list(mutants(self._root / file))
        reasons = read_explanations(self._root / EXPLANATIONS, file)
        result = Result(file, len(found), stale=sorted(reasons.keys() - {mutant.key for mutant in found}))
        tests = tests_for(file, self._root)
        for mutant in _sampled(found, sample, f"{seed} {file}"):
            caught_by = self._caught_by(file, mutant, tests)
            print(f"  {mutant}: {_count(result, mutant.key, caught_by, reasons)}", flush=True)
        return result

    def _caught_by(self, file: str, mutant: Mutant, tests: tuple[str, ...]) -> str | None:
        for test in tests:
            limit = max(3 * self._seconds_of(test), SHORTEST_LIMIT)
            caught_by = self._sandbox.caught_by(file, mutant.source, test, limit)
            if caught_by is not None:
                return caught_by
        return None

    def _seconds_of(self, test: str) -> float:
        if test not in self._seconds:
            self._seconds[test] = self._sandbox.seconds_of(test)
        return self._seconds[test]


def _sampled(found: list[Mutant], sample: int | None, seed: str) -> list[Mutant]:
    if sample is None or sample >= len(found):
        return found
    chosen = random.Random(seed).sample(range(len(found)), sample)
    return [found[index] for index in sorted(chosen)]


def _count(result: Result, key: Key, caught_by: str | None, reasons: dict[Key, str]) -> str:
    """Add a mutant to the counts; what to print about it."""
    result.tried += 1
    if caught_by is not None:
        result.caught += caught_by != "timeout"
        result.timed_out += caught_by == "timeout"
        result.stale += [key] if key in reasons else []
        return f"caught ({caught_by})"
    if key in reasons:
        result.explained += 1
        return f"survived; explained: {reasons[key]}"
    result.unexplained += 1
    return "SURVIVED"
