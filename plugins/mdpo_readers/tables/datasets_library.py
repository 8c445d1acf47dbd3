"""How the library `datasets` is called: in silence, without counting its use, and with faults of its cache named."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
from huggingface_hub import constants

from mdpo_core import Problem

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off the library's progress bars and log lines, which would mix with ours, and what it sends home.

    Its errors say the same as its log. It counts the use of each table, of local files, too, by a request to the hub.
    """
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
    folders = {"HF_DATASETS_CACHE": datasets.config.HF_DATASETS_CACHE, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    for variable, folder in folders.items():
        reason = cause if cause.errno in _NO_SPACE else _write_error(Path(folder))
        if reason is not None:
            text = f"the cache of `datasets` cannot be written ({reason}); set {variable} to a folder that can be"
            return Problem(str(folder), "", text)
    return None


def _write_error(folder: Path) -> OSError | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error
