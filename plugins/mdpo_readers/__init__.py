"""Readers of preference data.

The files, from the ground up; each imports only files above it in this list:

    pair_columns, cell_types                     the columns to read; single values
    tables                                       stored rows: JSON, or a table of `datasets`
    conversations, images, vectors_and_boxes     the contents of a cell
    stored_pairs                                 rows as they are stored
    examples                                     examples from stored rows
    pairs                                        the reader and its options
"""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_readers.pairs import Pairs


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"pairs": Pairs}
