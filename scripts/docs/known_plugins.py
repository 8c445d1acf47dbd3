"""The page of known plugins, made from entry points: those that come with mdpo, and the examples of this repository."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from mdpo_core.registry.discovery import current_registry
from mdpo_core.registry.offers import KINDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extend" / "known-plugins.md"
_HEAD = """# Known plugins

<!-- Made by `python scripts/docs/make.py known-plugins.md`; a test compares it with the entry points. -->

A plugin is a package with an entry point in the group `mdpo`. `mdpo plugins` lists what is installed on your machine,
and `mdpo plugins KIND NAME` shows one component with its options.

## Those that come with mdpo

| plugin | brings |
|---|---|
{ours}

## Examples to copy from

They are small packages in `examples/`: `pip install ./examples/mdpo_hinge2`.

| package | plugin | requires |
|---|---|---|
{examples}

## Yours

Packages of others are found by the same entry points, wherever they are installed from. None is listed here yet: open
an issue with the package's name, what it brings, and which mdpo it
[requires](write-a-plugin.md#say-which-mdpo-it-needs). We list packages with a licence whose
[contracts](contracts.md) pass.
"""


def page() -> str:
    """The page as its text should be now."""
    return _HEAD.format(ours="\n".join(_ours()), examples="\n".join(_examples()))


def _ours() -> Iterator[str]:
    registry = current_registry()
    for point in sorted(distribution("mdpo").entry_points.select(group="mdpo"), key=lambda point: point.name):
        brought = []
        for kind in KINDS:
            names = [name for name in sorted(registry.components(kind)) if registry.owner(kind, name) == point.name]
            if names:
                brought.append(f"{kind}: {', '.join(f'`{name}`' for name in names)}")
        yield f"| `{point.name}` | {'; '.join(brought)} |"


def _examples() -> Iterator[str]:
    for file in sorted(ROOT.glob("examples/*/pyproject.toml")):
        project = tomllib.loads(file.read_text())["project"]
        points = project["entry-points"]["mdpo"]
        needed = ", ".join(f"`{each}`" for each in project["dependencies"])
        yield f"| `{project['name']}` | {', '.join(f'`{name}`' for name in points)} | {needed} |"
