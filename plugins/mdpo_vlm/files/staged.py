"""A folder that shows a library only the files that were chosen for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def only(files: Sequence[Path]) -> Iterator[Path]:
    """A temporary folder of links to ``files`` and nothing else.

    Libraries search folders: transformers prefers one file of weights to another, and puts on an adapter that lies
    beside them. Here they find exactly the files whose digests a run writes down.
    """
    with TemporaryDirectory(prefix="mdpo-model-") as name:
        folder = Path(name)
        for file in files:
            (folder / file.name).symlink_to(file.absolute())
        yield folder
