"""The mutants that no test notices, each with the reason: ``mutants_explained.yaml``."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from tools.mutation.mutations import Key


def read_explanations(path: Path, file: str) -> dict[Key, str]:
    """The reasons that ``path`` gives for mutants of ``file``."""
    entries = (YAML(typ="safe").load(path) or {}).get(file, [])
    return {(entry["line"], str(entry["before"]), str(entry["after"])): entry["why"] for entry in entries}
