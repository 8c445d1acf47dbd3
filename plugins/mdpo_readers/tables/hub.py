"""Data sets on the hub: their files, which are downloaded once, so that pictures are not copied into a second cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError

from mdpo_readers.tables.files.packed_files import kind_of

if TYPE_CHECKING:
    from datasets import Dataset

# How `datasets` names a file on the hub; the revision is a commit.
_FILE = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)@(?P<revision>[^/]+)/(?P<path>.+)")


class HubOptions(NamedTuple):
    """Which configuration and which branch, tag or commit of a data set are read; None: the default."""

    config: str | None = None
    revision: str | None = None


def open_hub(name: str, split: str, options: HubOptions, kinds: Sequence[str]) -> Dataset | Path | list[Path]:
    """The files of a split, if all are stored in one of these ``kinds``; else the table that `datasets` makes of them.

    Without a network: the folder of the files that were downloaded before. Raises any error of `datasets`.
    """
    import datasets

    try:
        builder = datasets.load_dataset_builder(name, options.config, revision=options.revision)
    except OSError:
        before = _downloaded(name, options)
        if before is None:
            raise
        return before
    files = _files(builder, split)
    if files and all(_FILE.fullmatch(file) and kind_of(Path(file)) in kinds for file in files):
        return [_download(file) for file in files]
    return datasets.load_dataset(name, options.config, split=split, revision=options.revision)


def _files(builder: Any, split: str) -> list[str]:
    """The files of a split; none if a script or an earlier run made the data set."""
    by_split = getattr(builder.config, "data_files", None) or {}
    return [str(file) for name, files in by_split.items() if str(name) == split for file in files]


def _download(file: str) -> Path:
    """The file in the hub's cache."""
    found = _FILE.fullmatch(file)
    assert found is not None
    repo, revision, path = found["repo"], found["revision"], found["path"]
    return Path(huggingface_hub.hf_hub_download(repo, path, repo_type="dataset", revision=revision))


def _downloaded(name: str, options: HubOptions) -> Path | None:
    """The folder of the files that were downloaded before, if there is one."""
    try:
        found = huggingface_hub.snapshot_download(
            name, repo_type="dataset", revision=options.revision, local_files_only=True
        )
    except (LocalEntryNotFoundError, ValueError):
        return None
    folder = Path(found)
    named = folder / options.config if options.config else folder
    return named if named.is_dir() else folder
