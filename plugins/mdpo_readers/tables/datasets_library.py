"""Call the library `datasets` without its log lines and its usage counts, and name faults of its cache."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants

from mdpo_core import Problem

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off the library's progress bars, log lines and usage counts.

    Log lines would mix with ours, and the library's errors say the same. To count the use of a table, even of a local
    file, the library would send a request to the hub.
    """
    import datasets

    log, config = datasets.logging, datasets.config
    verbosity, bars, counts = (
        log.get_verbosity(),
        datasets.are_progress_bars_disabled(),
        config.HF_UPDATE_DOWNLOAD_COUNTS,
    )
    log.set_verbosity(log.CRITICAL)
    datasets.disable_progress_bars()
    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield
    finally:
        config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        log.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()


def is_for_no_rows(error: Exception) -> bool:
    """Whether the library failed because a table has no rows."""
    return "corresponds to no data" in str(error)


def cache_problem(error: Exception) -> Problem | None:
    """The folder of the cache that cannot be written, if that is why the library failed with ``error``."""
    cause = error.__cause__ or error
    if not isinstance(cause, OSError):
        return None
    import datasets

    folders = {"HF_DATASETS_CACHE": datasets.config.HF_DATASETS_CACHE, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    for variable, folder in folders.items():
        reason = cause if cause.errno in _NO_SPACE else _write_error(Path(folder))
        if reason is not None:
            message = f"the cache of `datasets` cannot be written ({reason}); set {variable} to a writable folder"
            return Problem(str(folder), "", message)
    return None


def _write_error(folder: Path) -> OSError | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error
