"""Recipes whose structure is damaged: each is refused with file and line, or it is a recipe."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from support.fuzz.recipes import assignment, mutant
from support.paths import RECIPES

from mdpo_core import MdpoError, Recipe, load_recipe

_SHIPPED = sorted(file.relative_to(RECIPES) for file in RECIPES.rglob("*.yaml"))
_SEEDS = st.integers(0, 2**63)
_SECONDS = 2.0


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all recipes; a mutant stands beside them, as it may extend one."""
    return Path(shutil.copytree(RECIPES, tmp_path_factory.mktemp("fuzz") / "recipes"))


def test_quickly(copies: Path) -> None:
    seed(0)(settings(max_examples=150)(given(_SEEDS, st.sampled_from(_SHIPPED))(_mutants(copies))))()


def test_assignments_quickly() -> None:
    seed(0)(settings(max_examples=50)(given(_SEEDS)(_assignments)))()


@pytest.mark.nightly(reason="10,000 mutants take minutes; the quick profile tries 150 of them")
@pytest.mark.timeout(3600)
def test_at_length(copies: Path) -> None:
    # Explaining a failure traces every line, which takes ten times as long as the limit measures.
    phases = [phase for phase in Phase if phase is not Phase.explain]
    settings(max_examples=int(os.environ.get("MDPO_FUZZ", "10000")), phases=phases)(
        given(_SEEDS, st.sampled_from(_SHIPPED))(_mutants(copies))
    )()


def _mutants(copies: Path) -> Callable[[int, Path], None]:
    def is_refused_with_file_and_line_or_loads(number: int, shipped: Path) -> None:
        file = copies / shipped.parent / "mutant.yaml"
        file.write_bytes(mutant(random.Random(number), (RECIPES / shipped).read_text()))
        error = _error(lambda: load_recipe(file))
        assert error is None or all(re.search(r"\.yaml:\d+: ", line) for line in error.splitlines()), error

    return is_refused_with_file_and_line_or_loads


def _assignments(number: int) -> None:
    odd = assignment(random.Random(number))
    error = _error(lambda: load_recipe(RECIPES / "quickstart.yaml", [odd]))
    assert error is None or "the change " in error or ".yaml:" in error, error


def _error(load: Callable[[], Recipe]) -> str | None:
    """The message of a refusal; None if the recipe loads, and can be written and loaded again."""
    error, seconds = _tried(load)
    # Python's garbage collection may fall into the first try, with all that thousands of mutants left.
    assert seconds < _SECONDS or _tried(load)[1] < _SECONDS
    return error


def _tried(load: Callable[[], Recipe]) -> tuple[str | None, float]:
    start = time.process_time()
    try:
        load().to_dict()
    except MdpoError as error:
        return str(error), time.process_time() - start
    return None, time.process_time() - start
