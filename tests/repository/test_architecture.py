"""The rules of the house, read off the source."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

import mdpo_core
from mdpo_core import hooks, load_recipe
from mdpo_core.registry.discovery import current_registry
from mdpo_core.registry.offers import KINDS

CORE = sorted((ROOT / "mdpo_core").rglob("*.py"))
PLUGINS = sorted(ROOT.glob("plugins/**/*.py"))
CORE_MAY_IMPORT = {"mdpo_core", "torch", "pydantic", "pydantic_core", "pluggy", "ruamel", "PIL", "safetensors"}
TESTING_MAY_IMPORT = {"hypothesis", "pytest"}
HEAVY = ["torch", "transformers", "peft", "datasets", "deepspeed", "numpy", "PIL", "matplotlib", "plotly", "hypothesis"]


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


@pytest.mark.parametrize("file", CORE, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_core_imports_no_plugin_and_little_else(file: Path) -> None:
    allowed = set(CORE_MAY_IMPORT)
    allowed |= TESTING_MAY_IMPORT if "testing" in file.parts else set()
    allowed |= {"rich"} if file.name == "console.py" else set()
    allowed |= {"pandas"} if file.name in {"result.py", "comparison.py"} else set()  # for notebooks, where it is there
    allowed |= {"plotly"} if file.parent.name == "page" and file.name == "frame.py" else set()
    allowed |= {"huggingface_hub"} if file.parent.name == "sharing" or file.name == "routers.py" else set()
    allowed |= {"openai"} if file.parent.name == "servers" and file.name == "client.py" else set()
    allowed |= {"optuna"} if file.parent.name == "sweeping" and file.name == "trials.py" else set()
    allowed |= {"openpyxl"} if file.name == "sheets.py" else set()
    allowed |= {"argcomplete"} if file.name == "completion.py" else set()
    allowed |= {"annotated_types"} if file.parent.name == "strengths" else set()  # limits, as pydantic keeps them
    allowed |= {"packaging"} if file.name == "required_version.py" else set()
    found = {name.partition(".")[0] for name in imports(file)} - set(sys.stdlib_module_names)
    assert found <= allowed


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: str(file.relative_to(ROOT)))
def test_plugin_imports_only_core_and_mdpo_vlm_front_doors(file: Path) -> None:
    """A plugin imports front doors only: the core's, and that of what adapters share."""
    package = file.relative_to(ROOT / "plugins").parts[0]
    ours = {name for name in imports(file) if name.startswith("mdpo_")}
    assert {name for name in ours if name.partition(".")[0] != package} <= {
        "mdpo_core",
        "mdpo_core.testing" if package == "mdpo_pytest" else "mdpo_vlm",
    }


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_plugin_takes_public_names_only_from_the_core(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mdpo_core":
            # A submodule could be had this way, too.
            assert {alias.name for alias in node.names} <= set(mdpo_core.__all__)


def test_discovery_imports_nothing_heavy() -> None:
    program = (
        "import sys, mdpo_core; from mdpo_core.registry.discovery import current_registry; current_registry()\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_hook_is_documented_with_its_exact_signature() -> None:
    page = (ROOT / "docs" / "extend" / "hooks.md").read_text()
    specified = [name for name in vars(hooks) if name.startswith("mdpo_")]
    assert len(specified) == 9
    for name in specified:
        # With postponed annotations a signature's text quotes them.
        signature = str(inspect.signature(getattr(hooks, name))).replace("'", "")
        assert f"{name}{signature}" in page


def test_every_component_and_option_says_what_it_is() -> None:
    for kind in KINDS:
        for name, cls in current_registry().components(kind).items():
            assert cls.__doc__, name
            assert all(field.description for field in cls.model_fields.values()), name


@pytest.mark.parametrize(
    "recipe", sorted(str(path.relative_to(ROOT / "recipes")) for path in (ROOT / "recipes").rglob("*.yaml"))
)
def test_every_recipe_checks_and_begins_with_its_command(recipe: str) -> None:
    file = ROOT / "recipes" / recipe
    load_recipe(file)
    assert file.read_text().startswith(f"# mdpo-run recipes/{recipe}")


def test_files_and_functions_are_short() -> None:
    for file in [*CORE, *PLUGINS]:
        assert file.read_text().count("\n") <= 300, file
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 45, f"{file} {node.name}"


def num_code_lines(function: ast.FunctionDef, lines: list[str]) -> int:
    """Lines of a function's body without its docstring, comments and blank lines."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    code = lines[body[0].lineno - 1 : function.end_lineno] if body else []
    return sum(1 for line in code if line.strip() and not line.strip().startswith("#"))


def test_functions_have_few_lines_of_code() -> None:
    sizes = {}
    for file in [*CORE, *PLUGINS]:
        lines = file.read_text().splitlines()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                sizes[f"{file}:{node.lineno} {node.name}"] = num_code_lines(node, lines)
    assert {name: size for name, size in sizes.items() if size > 30} == {}
    assert sorted(sizes.values())[int(0.9 * len(sizes))] <= 13


def test_no_tracked_file_holds_a_path_of_some_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    places = re.compile(r"/(home|root|work|tmp|Users)/\w")
    for name in listed.splitlines():
        file = ROOT / name
        if file.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".json"} and file.is_file():
            assert not places.search(file.read_text()), name
