"""How many examples the property tests draw that run a model: some in `make test`, all in `make test-nightly`."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("MDPO_HYPOTHESIS") == "thorough"


def num_examples(few: int, many: int) -> int:
    """``many`` in the nightly run, ``few`` in every other; explicit examples are tried in both."""
    return many if THOROUGH else few
