"""What the probe costs: its share of the time from the first step to the last, on the digits.

python -m benchmarks.probe_cost [RECIPE]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mdpo_objectives.evaluators.probe import Probe

from mdpo_core import Policy, hookimpl, load_recipe, register, run
from mdpo_core.registry.discovery import current_registry


@register("timed_probe")
class TimedProbe(Probe):
    """A probe that adds up its time."""

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        began = time.perf_counter()
        found = super().evaluate(policy, folder, step)
        SECONDS.append(time.perf_counter() - began)
        return found


class Clock:
    """Hears when the steps begin and end."""

    began = ended = 0.0

    @hookimpl
    def mdpo_run_started(self) -> None:
        self.began = time.perf_counter()

    @hookimpl
    def mdpo_step_finished(self) -> None:
        self.ended = time.perf_counter()


SECONDS: list[float] = []


def main() -> None:
    """Run the recipe with the probe as its only evaluator, and print the share."""
    recipe, clock = sys.argv[1] if len(sys.argv) > 1 else "recipes/quickstart.yaml", Clock()
    current_registry().plugins.register(clock)
    with TemporaryDirectory() as folder:
        run(load_recipe(recipe, ["evaluators=[{evaluator: timed_probe}]", "trackers=[]", f"output.dir={folder}/run"]))
    total, probes = clock.ended - clock.began, sum(SECONDS)
    # The first probe may come before the clock starts, and the last one after it ends: all count.
    print(f"{len(SECONDS)} probes: {probes:.2f} s of {total:.1f} s, {probes / total:.2%}")


if __name__ == "__main__":
    main()
