"""How much is tried where a try takes seconds: some in `make test` and `make test-long`, all in `make test-nightly`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

THOROUGH = os.environ.get("MDPO_HYPOTHESIS") == "thorough"


def num_examples(few: int, many: int) -> int:
    """``many`` in the nightly run, ``few`` in every other; explicit examples are tried in both."""
    return many if THOROUGH else few


def nightly_but(kept: Iterable[Any], cases: Iterable[Any], reason: str, *marks: pytest.MarkDecorator) -> list[Any]:
    """The cases as parameters: those that are ``kept`` have ``marks``, the others run nightly for this reason."""
    kept, others = list(kept), pytest.mark.nightly(reason=reason)
    return [pytest.param(case, marks=marks if case in kept else others) for case in cases]
