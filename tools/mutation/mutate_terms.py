"""Do the tests of losses and anchors catch a wrong one: ``python tools/mutation/mutate_terms.py [FILE ...]``.

Each mutant is one change to one line of ``plugins/mdpo_objectives``: a sign or a comparison turned round, an option or
a factor left out, two views or policy and reference swapped, a detach or a check forgotten. A
process of its own runs the tests with it, the quick ones first, and stops at the first that fails. What no test notices
is printed with its line, and fails the script unless ``mutants_explained.yaml`` says why. Uses as many processes as
there are cores; some minutes a file.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import itertools
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import NoReturn

import pytest
from mutations import Mutant, mutants

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugins" / "mdpo_objectives"
# The quick ones first; those of their tests that need no fixture but a folder or a small model.
TESTS = [
    "test_losses_vectors",
    "test_losses_options",
    "test_losses_tokens",
    "test_losses_modules",
    "test_objectives",
    "test_losses",
    "test_losses_batches",
    "test_losses_relations",
    "test_probes",
]
# Their components stand elsewhere than in their text; the others are about those that they name.
ABOUT_ALL = {"test_losses_vectors", "test_losses_options"}
SECONDS = 600
EXPLAINED = Path(__file__).with_name("mutants_explained.yaml")
FIXTURE = type(pytest.fixture(lambda: None))
# What tests may ask for besides their cases' arguments; a model is filled in by main.
SCRATCH = tempfile.TemporaryDirectory(prefix="mdpo-mutants-")
FOLDERS: dict[str, Callable[[], Path]] = {
    "tmp_path": lambda: Path(tempfile.mkdtemp(dir=SCRATCH.name)),
    "llava": lambda: Path(SCRATCH.name) / "llava",
}
KILLED, SURVIVED = 1, 0


class _Finder(SourceFileLoader):
    """Finds one module, and loads the mutant's source for it."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(module_name(mutant.file), str(mutant.file))
        self._mutant = mutant

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.source, self.path, "exec")


def sources() -> list[Path]:
    """The files that are mutated: all but those that only join others."""
    return sorted(file for file in PLUGIN.rglob("*.py") if file.name != "__init__.py")


def module_name(file: Path) -> str:
    """As an import names a file of the plugin."""
    return ".".join(file.relative_to(PLUGIN.parent).with_suffix("").parts)


def registered(text: str) -> dict[str, str]:
    """The names that a source registers its classes by."""
    pairs = re.findall(r'"(\w+)": (\w+),', text)
    return {term: name for name, term in pairs if re.search(rf"^class {term}\b", text, re.MULTILINE)}


def components_with(mutant: Mutant) -> frozenset[str]:
    """The names of all components that a mutant may have to do with: its class's, or those that use its file."""
    own = registered(mutant.file.read_text())
    if mutant.term in own:
        return frozenset({own[mutant.term]})
    texts = [file.read_text() for file in sources()]
    users = [text for text in texts if f"from {module_name(mutant.file)} import" in text]
    return frozenset(own.values()).union(*(registered(text).values() for text in users))


def tried(found: Sequence[tuple[Mutant | None, frozenset[str]]]) -> Iterator[tuple[Mutant | None, bool]]:
    """Each mutant, and whether all tests of some components pass with it (None: without one), as they are done."""
    running: dict[int, Mutant | None] = {}
    for mutant, about in found:
        # Forked in no thread: a lock that another thread held would never be given back in the child.
        child = os.fork()
        if child == 0:
            _test(mutant, about)
        running[child] = mutant
        if len(running) == os.cpu_count():
            yield _finished(running)
    while running:
        yield _finished(running)


def _finished(running: dict[int, Mutant | None]) -> tuple[Mutant | None, bool]:
    child, status = os.wait()
    return running.pop(child), not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == KILLED)


def _test(mutant: Mutant | None, about: frozenset[str]) -> NoReturn:
    """Leaves the process; one that hangs is ended by its alarm, and counts as not noticed."""
    signal.alarm(SECONDS)
    try:
        if mutant is not None:
            sys.meta_path.insert(0, _Finder(mutant))
            # Runs tell how they go.
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        run_tests(about, naming=True)
        run_contracts(about)
        run_tests(about, naming=False)
    except BaseException as error:
        if mutant is None:
            traceback.print_exception(error)
        os._exit(KILLED)
    os._exit(SURVIVED)


def run_tests(about: frozenset[str], naming: bool) -> None:
    """The tests that name one of some components, or what else is in the files that do."""
    for name in TESTS:
        if name in ABOUT_ALL or _names((ROOT / "tests" / f"{name}.py").read_text(), about):
            module = importlib.import_module(name)
            found = [value for key, value in vars(module).items() if key.startswith("test_")]
            chosen = [test for test in found if (name in ABOUT_ALL or _names(inspect.getsource(test), about)) == naming]
            _run(module, chosen, about)


def _run(module: ModuleType, tests: Iterable[Callable[..., object]], about: frozenset[str]) -> None:
    """As the functions that they are: pytest costs seconds, and most mutants none."""
    with pytest.MonkeyPatch.context() as patch:
        for value in vars(module).values():
            # What all of the file's tests need changed.
            if isinstance(value, FIXTURE) and inspect.signature(value).parameters.keys() == {"monkeypatch"}:
                inspect.unwrap(value)(patch)
        for test in tests:
            if not _marks(test, "long"):
                _run_cases(test, about)


def _names(text: str, components: Iterable[str]) -> bool:
    return any(f'"{name}"' in text for name in components)


def _run_cases(test: Callable[..., object], about: frozenset[str]) -> None:
    needed = inspect.signature(test).parameters.keys()
    for arguments in _cases(test):
        # From recipes the same values come, through files.
        can_run = needed <= arguments.keys() | FOLDERS.keys() and arguments.get("path") != "recipe"
        if can_run and _is_about(arguments, about):
            test(**arguments | {name: FOLDERS[name]() for name in needed & FOLDERS.keys()})


def _marks(test: object, name: str) -> list[pytest.Mark]:
    return [mark for mark in getattr(test, "pytestmark", []) if mark.name == name]


def _cases(test: object) -> Iterator[dict[str, object]]:
    """The arguments that pytest would call a test with, as far as marks say them."""
    each = []
    for mark in _marks(test, "parametrize"):
        names, values = mark.args[0], mark.args[1]
        names = names.split(",") if isinstance(names, str) else list(names)
        rows = [(value,) if len(names) == 1 else value for value in values]
        each.append([dict(zip(names, row, strict=True)) for row in rows])
    for parts in itertools.product(*each):
        yield {name: value for part in parts for name, value in part.items()}


def _is_about(arguments: dict[str, object], about: frozenset[str]) -> bool:
    """Whether a case may concern some components: it is given one of them or its name, or none at all."""
    from mdpo_core import Term

    name, term = arguments.get("name"), arguments.get("term")
    if isinstance(term, Term):
        name = term.component_name()
    return str(name) in about or str(name) not in _all_components()


def _all_components() -> Iterable[str]:
    from mdpo_core.registry import current_registry

    return {name for kind in ("loss", "anchor") for name in current_registry().components(kind)}


def run_contracts(about: frozenset[str]) -> None:
    from test_contracts import CONTRACTS

    for (kind, name), contract in CONTRACTS.items():
        if kind in ("loss", "anchor") and name in about:
            contract(Path(), Path(), Path())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="paths in the plugin, as losses/pairwise.py; default: all")
    names = parser.parse_args().files or [str(file.relative_to(PLUGIN)) for file in sources()]
    _import_what_all_need()
    found = {name: [(mutant, components_with(mutant)) for mutant in mutants(PLUGIN / name)] for name in names}
    concerned = frozenset[str]().union(*(about for each in found.values() for _, about in each))
    require_passing(concerned)
    unexplained = sum([try_file(PLUGIN / name, each) for name, each in found.items()])
    # Had something else broken the tests meanwhile, all mutants would have seemed to be noticed.
    require_passing(concerned)
    sys.exit(f"{unexplained} to be explained, or explained for nothing" if unexplained else 0)


def try_file(file: Path, found: Sequence[tuple[Mutant, frozenset[str]]]) -> int:
    """Print what no test notices; how many of these nobody explains, and of explanations that hold no longer."""
    why, alive = explained(file), []
    for number, (mutant, lives) in enumerate(tried(found), start=1):
        print(f"{file.name}: {number} of {len(found)}", end="\r", file=sys.stderr)
        if mutant is not None and lives:
            alive.append(mutant.key)
            print(f"  {mutant}: {why.get(mutant.key, 'NOT NOTICED')}", flush=True)
    told = [key for key in alive if key in why]
    print(f"{file.name}: {len(found)} mutants, {len(found) - len(alive)} noticed, {len(told)} explained", flush=True)
    for key in why.keys() - set(alive):
        print(f"  explained, but noticed or gone: {key}", flush=True)
    return len(alive) - len(told) + len(why.keys() - set(alive))


def explained(file: Path) -> dict[tuple[str, str, str], str]:
    """Why no test can notice some mutants of a file, by their keys."""
    from ruamel.yaml import YAML

    entries = YAML(typ="safe").load(EXPLAINED).get(str(file.relative_to(PLUGIN)), [])
    return {(each["line"], each["before"], each["after"]): each["why"] for each in entries}


def require_passing(about: frozenset[str]) -> None:
    if not all(lives for _, lives in tried([(None, about)])):
        sys.exit("the tests fail without any mutant")


def _import_what_all_need() -> None:
    """Before forking, and all but what is mutated."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "tests")]
    sys.dont_write_bytecode = True
    import conftest  # noqa: F401
    import hypothesis
    from support.builders.small_llava import build_llava

    import mdpo_core.testing  # noqa: F401

    for point in entry_points(group="mdpo"):
        if point.value != PLUGIN.name:
            point.load()
    build_llava(FOLDERS["llava"]())
    # No failing case is written down, nor looked for at length.
    phases = [hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, phases=phases)
    hypothesis.settings.load_profile("mutants")


if __name__ == "__main__":
    main()
