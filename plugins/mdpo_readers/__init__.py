"""Readers of preference data.

The files, from the ground up; each imports only files above it in this list:

    columns, cell_types                          which columns are read; one value
    tables                                       where rows are stored: JSON, or a table of `datasets`
    conversations, images, vectors_and_boxes     what a cell holds
    stored_pairs                                 rows as they are stored
    examples                                     a stored row becomes an example
    pairs                                        the reader and its options
"""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_readers.pairs import Pairs


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"pairs": Pairs}
