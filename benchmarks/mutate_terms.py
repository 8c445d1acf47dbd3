"""Do the tests of losses and anchors catch what can go wrong in one: ``python benchmarks/mutate_terms.py [FILE ...]``.

Each mutant is one change to one line of ``plugins/mdpo_objectives``: a sign or a comparison turned round, an option or
a factor left out, two views or policy and reference swapped, a detach or a check forgotten. A process of its own runs the tests
with it, the quick ones first, and stops at the first that fails. What no test notices is printed with its line, and
fails the script unless ``mutants_explained.yaml`` says why. Uses as many processes as there are cores; some minutes a
file.
"""

from __future__ import annotations

import argparse
import ast
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
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "plugins" / "mdpo_objectives"
# No terms: registration, and a corruption.
NOT_MUTATED = {"__init__.py", "mismatched.py"}
# The quick ones first; those of their tests that need no fixture but a folder or a small model.
TESTS = [
    "test_losses_vectors",
    "test_losses_options",
    "test_losses_tokens",
    "test_objectives",
    "test_losses",
    "test_losses_batches",
    "test_losses_relations",
    "test_probes",
]
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

SWAPPED_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Gt: ast.LtE,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
SWAPPED_NAMES = {
    "prefer": "over",
    "over": "prefer",
    "preferred": "other",
    "other": "preferred",
    "chosen": "rejected",
    "rejected": "chosen",
    "policy": "reference",
    "reference": "policy",
    "policy_tokens": "reference_tokens",
    "reference_tokens": "policy_tokens",
    "corrupted": "blank",
    "blank": "corrupted",
    "desirable": "undesirable",
    "undesirable": "desirable",
}
# Methods without which a tensor keeps its shape.
DROPPED_CALLS = {
    *(
        "detach",
        "relu",
        "clamp",
        "square",
        "sigmoid",
        "exp",
        "log",
        "flip",
        "argsort",
        "where",
        "abs",
        "sqrt",
        "cumsum",
    ),
    *("log_softmax",),
}
SUMS = {"mean_log_ratio": "log_ratio", "mean_log_prob": "policy"}


@dataclass(frozen=True)
class Mutant:
    """A changed file: ``line`` of it, in the class ``term`` or outside of any, and what is there now."""

    file: Path
    line: int
    term: str | None
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others of its file: the line, what was there and what is."""
        return self.file.read_text().splitlines()[self.line - 1].strip(), self.before, self.after

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}: {self.before}  ->  {self.after}"


def mutants(file: Path) -> Iterator[Mutant]:
    """All mutants of a file, one change each."""
    text = file.read_text()
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    tree = ast.parse(text)
    unread = set(_annotations_of_functions(tree))
    for place, node in enumerate(ast.walk(tree)):
        if not hasattr(node, "lineno") or _is_text(node) or node in unread:
            continue
        before = ast.unparse(node)
        for after in _changes(node):
            if ast.unparse(after) != before:
                term = next((each.name for each in classes if _holds(each, node)), None)
                yield Mutant(file, node.lineno, term, before, ast.unparse(after), _with(text, place, after))


def _with(text: str, place: int, new: ast.AST) -> str:
    """The source with the ``place``-th node replaced."""
    tree = ast.parse(text)
    old = list(ast.walk(tree))[place]
    _replace(tree, old, new)
    return ast.unparse(ast.fix_missing_locations(tree))


def _annotations_of_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Nobody reads them when a test runs; those of options, pydantic does."""
    for node in ast.walk(tree):
        annotation = {ast.arg: "annotation", ast.FunctionDef: "returns"}.get(type(node))
        found = getattr(node, annotation) if annotation else None
        yield from ast.walk(found) if found is not None else ()


def _holds(term: ast.ClassDef, node: ast.expr | ast.stmt) -> bool:
    return term.lineno <= node.lineno <= (term.end_lineno or 0)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED_OPERATORS:
        yield ast.BinOp(node.left, SWAPPED_OPERATORS[type(node.op)](), node.right)  # type: ignore[arg-type]
        yield node.left
        yield node.right
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED_OPERATORS:
        yield ast.Compare(node.left, [SWAPPED_OPERATORS[type(node.ops[0])]()], node.comparators)  # type: ignore[list-item]
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Attribute) and node.attr in SWAPPED_NAMES:
        yield ast.Attribute(node.value, SWAPPED_NAMES[node.attr], node.ctx)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in SWAPPED_NAMES:
        yield ast.Name(SWAPPED_NAMES[node.id], node.ctx)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and "super()" not in ast.unparse(node):
        yield ast.Pass()


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Attribute) and node.func.attr in DROPPED_CALLS and not _is_module(node.func.value):
        yield node.func.value
    if isinstance(node.func, ast.Name) and node.func.id in SUMS:
        scores, view = node.args
        held = ast.Attribute(scores, SUMS[node.func.id], ast.Load())
        is_sum = node.func.id == "mean_log_prob"
        yield ast.Subscript(held, view, ast.Load()) if is_sum else ast.Call(held, [view], [])
    if isinstance(node.func, ast.Name) and node.func.id == "log_sigmoid":
        yield ast.UnaryOp(ast.USub(), ast.Call(node.func, [ast.UnaryOp(ast.USub(), node.args[0])], []))


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("math", "torch")


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list) and any(each is old for each in value):
                setattr(parent, name, [new if each is old else each for each in value])
                return


class _Finder(SourceFileLoader):
    """Finds one module, and loads the mutant's source for it."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(f"{PLUGIN.name}.{mutant.file.stem}", str(mutant.file))
        self._mutant = mutant

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.source, self.path, "exec")


def registered(text: str) -> dict[str, str]:
    """The names that the plugin registers the classes of a source by."""
    pairs = re.findall(r'"(\w+)": (\w+),', (PLUGIN / "__init__.py").read_text())
    return {term: name for name, term in pairs if re.search(rf"^class {term}\b", text, re.MULTILINE)}


def components_with(mutant: Mutant) -> frozenset[str]:
    """The names of all components that a mutant may have to do with: its class's, or those that use its file."""
    own = registered(mutant.file.read_text())
    if mutant.term in own:
        return frozenset({own[mutant.term]})
    texts = [file.read_text() for file in PLUGIN.glob("*.py") if file.name not in NOT_MUTATED]
    users = [text for text in texts if f"from {PLUGIN.name}.{mutant.file.stem} import" in text]
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
            sys.meta_path.insert(0, _Finder(mutant))  # type: ignore[arg-type]  # a finder by its method
            # Runs tell how they go.
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        for name in TESTS:
            run_tests(name, about)
        run_contracts(about)
    except BaseException as error:
        if mutant is None:
            traceback.print_exception(error)
        os._exit(KILLED)
    os._exit(SURVIVED)


def run_tests(name: str, about: frozenset[str]) -> None:
    """A file's tests as the functions that they are: pytest costs seconds, and most mutants none."""
    text = (ROOT / "tests" / f"{name}.py").read_text()
    # One that names no component is about all.
    if not _names(text, about) and _names(text, _all_components()):
        return
    module = importlib.import_module(name)
    tests = [value for key, value in vars(module).items() if key.startswith("test_")]
    with pytest.MonkeyPatch.context() as patch:
        for value in vars(module).values():
            # What all of the file's tests need changed.
            if isinstance(value, FIXTURE) and inspect.signature(value).parameters.keys() == {"monkeypatch"}:
                inspect.unwrap(value)(patch)  # type: ignore[arg-type]
        for test in sorted(tests, key=lambda test: not _names(inspect.getsource(test), about)):
            _run_cases(test, about)


def _names(text: str, components: Iterable[str]) -> bool:
    return any(f'"{name}"' in text for name in components)


def _run_cases(test: Callable[..., object], about: frozenset[str]) -> None:
    needed = inspect.signature(test).parameters.keys()
    for arguments in _cases(test):
        # From recipes the same values come, through files.
        if needed <= arguments.keys() | FOLDERS.keys() and arguments.get("path") != "recipe":
            if _is_about(arguments, about):
                test(**arguments | {name: FOLDERS[name]() for name in needed & FOLDERS.keys()})


def _cases(test: object) -> Iterator[dict[str, object]]:
    """The arguments that pytest would call a test with, as far as marks say them."""
    each = []
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args[0], mark.args[1]
        names = names.split(",") if isinstance(names, str) else list(names)
        rows = [(value,) if len(names) == 1 else value for value in values]
        each.append([dict(zip(names, row, strict=True)) for row in rows])
    for parts in itertools.product(*each):
        yield {name: value for part in parts for name, value in part.items()}


def _is_about(arguments: dict[str, object], about: frozenset[str]) -> bool:
    """Whether a case may concern some components: it is given one of them or its name, or none at all."""
    from mdpo_core import Term
    from mdpo_core.registry import current_registry

    name, term = arguments.get("name"), arguments.get("term")
    if isinstance(term, Term):
        name = current_registry().name_of(type(term))
    return name in about or name not in _all_components()


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
    parser.add_argument("files", nargs="*", help="names in plugins/mdpo_objectives; default: all")
    names = parser.parse_args().files or sorted({file.name for file in PLUGIN.glob("*.py")} - NOT_MUTATED)
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

    entries = YAML(typ="safe").load(EXPLAINED).get(file.name, [])
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
    from small_llava import build_llava

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
