"""What a user sees of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdpo_core import load_recipe
from mdpo_core.console import Console
from mdpo_core.reference_cache import CACHING

RECIPE = Path(__file__).parent.parent / "recipes" / "llava_mdpo.yaml"


@pytest.mark.parametrize(
    ("told", "origin"),
    [
        ([(0, 30), (2, 30), (30, 30)], "computed 30 rows"),
        ([(30, 30)], "reused 30 rows"),
        ([(14, 30), (16, 30), (30, 30)], "reused 14 rows, computed 16 rows"),
    ],
)
def test_the_console_tells_where_the_reference_comes_from(
    told: list[tuple[int, int]], origin: str, cached_changes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        for done, total in told:
            console.mdpo_progress(CACHING, done, total)
        console.mdpo_run_started(Path("x"), 0, 6)
    assert f"run x: 6 steps; reference: cached ({origin})" in capsys.readouterr().out
