"""Imports inside a package: only down its floors, and never in a circle. The oracle is the syntax tree of each file."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.paths import ROOT

PLUGINS = ROOT / "plugins"
PACKAGES = sorted(folder for folder in (ROOT / "mdpo_core", *PLUGINS.iterdir()) if (folder / "__init__.py").is_file())

Graph = Mapping[str, set[str]]
Floors = tuple[tuple[str, ...], ...]


def import_graph(package: Path) -> Graph:
    """The modules of ``package`` that each of its modules imports: at the top, late, or for annotations alone."""
    files = {_module_name(file, package.parent): file for file in sorted(package.rglob("*.py"))}
    return {name: set(_imported_modules(name, file, set(files))) for name, file in files.items()}


def _module_name(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported_modules(module: str, file: Path, known: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = _source(module, file, node)
            submodules = {f"{source}.{alias.name}" for alias in node.names}
            # `from package import module` imports the module; any other name is taken from the package itself.
            yield from submodules & known
            yield from {source} & known if submodules - known else ()


def _source(module: str, file: Path, node: ast.ImportFrom) -> str:
    """The full name of the module that ``from`` names, where a relative one is counted from ``module``."""
    parents = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    start = parents[: len(parents) - node.level + 1] if node.level else []
    return ".".join([*start, *([node.module] if node.module else [])])


def circles(graph: Graph) -> list[str]:
    """One circle of imports, or nothing. Python runs a package's `__init__` first, which does not count here."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def upward_imports(package: str, graph: Graph, floors: Floors) -> list[str]:
    """Imports of a room on the same floor or above. A room is a sub-package or a module at the top of ``package``."""
    floor_of = {f"{package}.{room}": number for number, rooms in enumerate(floors) for room in rooms}
    floor_of[package] = floor_of.pop(f"{package}.__init__", len(floors))  # the front door
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if _room(module) != _room(other) and floor_of[_room(other)] >= floor_of[_room(module)]
    ]


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def floors_in(init: Path) -> Floors:
    """The floors that a package's docstring lists from the ground up: lines of four blanks, rooms, blanks, a remark."""
    docstring = ast.get_docstring(ast.parse(init.read_text()), clean=False) or ""
    lines = [line for line in docstring.splitlines() if line.startswith("    ")]
    return tuple(tuple(line.strip().split("  ")[0].split(", ")) for line in lines)


def write_package(folder: Path, **files: str) -> Path:
    package = folder / "house"
    for name, source in {"__init__": "", **files}.items():
        file = package / f"{name.replace('__in__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return package


def core_floors() -> Floors:
    """The floors that the design page lists from the ground up, one a line."""
    block = (ROOT / "docs" / "design" / "overview.md").read_text().split("```floors\n")[1].partition("```")[0]
    return tuple(tuple(line.split(", ")) for line in block.splitlines())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda folder: folder.name)
def test_no_package_has_a_circle_of_imports(package: Path) -> None:
    graph = import_graph(package)
    assert graph
    assert circles(graph) == []


def test_core_imports_run_down_the_floors_of_the_design_page() -> None:
    graph, floors = import_graph(ROOT / "mdpo_core"), core_floors()
    rooms = {_room(module).partition(".")[2] or "__init__" for module in graph}
    assert {room for floor in floors for room in floor} == rooms
    assert upward_imports("mdpo_core", graph, floors) == []


@pytest.mark.parametrize(
    "line",
    [
        "from mdpo_core.training.schedule import learning_rate_at",
        "def late():\n    from mdpo_core.training.schedule import learning_rate_at",
        "if TYPE_CHECKING:\n    from mdpo_core.training import schedule",
        "from mdpo_core import View",
    ],
)
def test_an_upward_import_in_the_core_is_found(line: str, tmp_path: Path) -> None:
    """The copy of the core has one import more; the check of the real core is the same."""
    copy = Path(shutil.copytree(ROOT / "mdpo_core", tmp_path / "mdpo_core"))
    file = copy / "types" / "view.py"
    file.write_text(f"{file.read_text()}\n{line}\n")
    found = upward_imports("mdpo_core", import_graph(copy), core_floors())
    assert [problem.split()[0] for problem in found] == ["mdpo_core.types.view"]


def test_no_folder_of_code_is_crowded() -> None:
    for folder in (ROOT / "mdpo_core", *PACKAGES):
        for room in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            assert len(list(room.glob("*.py"))) <= (8 if room == ROOT / "mdpo_core" else 15), room


@pytest.mark.parametrize("package", ["mdpo_vlm", "mdpo_objectives", "mdpo_readers"])
def test_imports_run_down_the_floors_in_the_docstring(package: str) -> None:
    graph, floors = import_graph(PLUGINS / package), floors_in(PLUGINS / package / "__init__.py")
    rooms = {_room(module).partition(".")[2] for module in graph} - {""}
    assert {room for floor in floors for room in floor} == rooms
    assert upward_imports(package, graph, floors) == []


@pytest.mark.parametrize(
    "source",
    [
        "import house.roof",
        "from house.roof import tiles",
        "from house import roof",
        "from . import roof",
        "from .roof import tiles",
        "def late():\n    from house.roof import tiles",
        "if TYPE_CHECKING:\n    from house.roof import Tile\ndef fit(tile: 'Tile'): ...",
    ],
)
def test_upward_imports_finds_each_form_of_import(source: str, tmp_path: Path) -> None:
    graph = import_graph(write_package(tmp_path, cellar=source, roof=""))
    assert upward_imports("house", graph, (("cellar",), ("roof",))) == ["house.cellar imports house.roof"]
    assert upward_imports("house", graph, (("roof",), ("cellar",))) == []
    assert upward_imports("house", graph, (("roof", "cellar"),)) == ["house.cellar imports house.roof"]


def test_upward_imports_finds_a_room_that_imports_the_front_door(tmp_path: Path) -> None:
    graph = import_graph(write_package(tmp_path, cellar__in__door="from house import key"))
    assert upward_imports("house", graph, (("cellar",),)) == ["house.cellar.door imports house"]


def test_circles_finds_one_through_a_late_import_between_rooms(tmp_path: Path) -> None:
    late = "def late():\n    from ..roof import tiles"
    graph = import_graph(write_package(tmp_path, cellar__in__door=late, roof="import house.cellar.door"))
    [circle] = circles(graph)
    assert set(circle.split(" -> ")) == {"house.cellar.door", "house.roof"}


def test_circles_is_empty_where_a_front_door_imports_its_rooms(tmp_path: Path) -> None:
    package = write_package(tmp_path, __init__="from house.roof import tiles", roof="from house.cellar import door")
    assert circles(import_graph(package)) == []


def test_floors_in_reads_the_list_of_a_docstring(tmp_path: Path) -> None:
    package = write_package(tmp_path, __init__='"""A house.\n\n    cellar, yard  what is below\n    roof  above\n"""')
    assert floors_in(package / "__init__.py") == (("cellar", "yard"), ("roof",))
