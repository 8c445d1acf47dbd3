"""What commands that only print import: by structure, as times differ from machine to machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mdpo_core
from mdpo_core.registry.kinds import KIND_NAMES
from mdpo_core.registry.offers import KINDS

# The libraries of mdpo.
HEAVY = (
    "torch",
    "transformers",
    "pydantic",
    "pluggy",
    "rich",
    "ruamel",
    "numpy",
    "PIL",
    "safetensors",
)


def loaded(program: str) -> set[str]:
    """The modules that are loaded after a program, in a process of its own."""
    code = f"import sys\ntry:\n    {program}\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "program",
    [
        "import mdpo",
        "import mdpo_core",
        *(
            f"import mdpo_core.cli as cli; cli.main({words!r})"
            for words in (["--help"], ["--version"], ["recipes"], ["check", "--help"], ["new-plugin", "--help"])
        ),
        "import mdpo_core.cli as cli; sys.argv = ['mdpo-run', '--version']; cli.main_run()",
    ],
)
def test_what_only_prints_imports_nothing_heavy(program: str) -> None:
    modules = loaded(program)
    assert not modules & {*HEAVY}
    assert not {name for name in modules if name.startswith("mdpo_") and not name.startswith("mdpo_core")}


def test_the_light_names_of_kinds_are_those_of_the_kinds() -> None:
    assert tuple(KINDS) == KIND_NAMES


def test_names_are_public_where_plugins_take_them() -> None:
    program = "import mdpo_core; from mdpo_core import Loss, View; assert mdpo_core.Loss is Loss; dir(mdpo_core)"
    assert "pydantic" in loaded(program)
    assert {*mdpo_core.__all__} <= {*dir(mdpo_core)}
    with pytest.raises(AttributeError, match="module 'mdpo_core' has no attribute 'Los'"):
        _ = mdpo_core.Los  # type: ignore[attr-defined]
