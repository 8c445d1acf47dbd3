"""Do the tests of losses and anchors catch what can go wrong in one: ``python benchmarks/mutate_terms.py [FILE ...]``.

Each mutant is one change to one line of ``plugins/mdpo_objectives``: a sign or a comparison turned round, an option or
a factor left out, two views or policy and reference swapped, a detach forgotten. A process of its own runs the tests
with it, the quick ones first, and stops at the first that fails. What no test notices is printed with its line. Uses as
many processes as there are cores; some minutes for all files.
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
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType
from typing import NoReturn

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "plugins" / "mdpo_objectives"
# No terms: registration, and a corruption.
NOT_MUTATED = {"__init__.py", "mismatched.py"}
# The quick ones first; those of their tests that need no fixture.
TESTS = [
    "test_losses_vectors",
    "test_losses_options",
    "test_objectives",
    "test_losses",
    "test_losses_batches",
    "test_losses_relations",
]
SECONDS = 1800
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
DROPPED_CALLS = {"detach", "relu", "clamp", "square", "sigmoid", "exp", "log", "flip", "argsort"}
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
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node)


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Attribute) and node.func.attr in DROPPED_CALLS:
        yield node.func.value
    if isinstance(node.func, ast.Name) and node.func.id in SUMS:
        scores, view = node.args
        held = ast.Attribute(scores, SUMS[node.func.id], ast.Load())
        is_sum = node.func.id == "mean_log_prob"
        yield ast.Subscript(held, view, ast.Load()) if is_sum else ast.Call(held, [view], [])
    if isinstance(node.func, ast.Name) and node.func.id == "log_sigmoid":
        yield ast.UnaryOp(ast.USub(), ast.Call(node.func, [ast.UnaryOp(ast.USub(), node.args[0])], []))


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


def component_name(term: str) -> str:
    """The name that the plugin registers a class by."""
    [found] = re.findall(rf'"(\w+)": {term},', (PLUGIN / "__init__.py").read_text())
    return str(found)


def tried(found: Sequence[Mutant | None]) -> Iterator[tuple[Mutant | None, bool]]:
    """Each mutant, and whether all tests pass with it (None: without one), as they are done."""
    running: dict[int, Mutant | None] = {}
    for mutant in found:
        # Forked in no thread: a lock that another thread held would never be given back in the child.
        child = os.fork()
        if child == 0:
            _test(mutant)
        running[child] = mutant
        if len(running) == os.cpu_count():
            yield _finished(running)
    while running:
        yield _finished(running)


def _finished(running: dict[int, Mutant | None]) -> tuple[Mutant | None, bool]:
    child, status = os.wait()
    return running.pop(child), not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == KILLED)


def _test(mutant: Mutant | None) -> NoReturn:
    """Leaves the process; one that hangs is ended by its alarm, and counts as not noticed."""
    signal.alarm(SECONDS)
    if mutant is not None:
        sys.meta_path.insert(0, _Finder(mutant))  # type: ignore[arg-type]  # a finder by its method
    about = None if mutant is None or mutant.term is None else component_name(mutant.term)
    try:
        for name in TESTS:
            run_tests(name, about)
        run_contracts(about)
    except BaseException as error:
        if mutant is None:
            traceback.print_exception(error)
        os._exit(KILLED)
    os._exit(SURVIVED)


def run_tests(module: str, about: str | None) -> None:
    """A file's tests as the functions that they are: pytest costs seconds, and most mutants none."""
    for name, test in list(vars(importlib.import_module(module)).items()):
        if name.startswith("test_"):
            for arguments in _cases(test):
                needed = inspect.signature(test).parameters.keys()
                given = arguments | ({"tmp_path": Path()} if "tmp_path" in needed else {})
                # From recipes the same values come, through files.
                if needed <= given.keys() and arguments.get("path") != "recipe" and _is_about(arguments, about):
                    test(**given)


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


def _is_about(arguments: dict[str, object], about: str | None) -> bool:
    """Whether a case may concern a component: it is given that one or its name, or no other."""
    from mdpo_core import Term
    from mdpo_core.registry import current_registry

    name, term = arguments.get("name"), arguments.get("term")
    if isinstance(term, Term):
        name = current_registry().name_of(type(term))
    return about is None or name == about or f'"{name}":' not in (PLUGIN / "__init__.py").read_text()


def run_contracts(about: str | None) -> None:
    from test_contracts import CONTRACTS

    for (kind, name), contract in CONTRACTS.items():
        if kind in ("loss", "anchor") and about in (None, name):
            contract(Path(), Path(), Path())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="names in plugins/mdpo_objectives; default: all")
    names = parser.parse_args().files or sorted({file.name for file in PLUGIN.glob("*.py")} - NOT_MUTATED)
    _import_what_all_need()
    require_passing()
    found = [mutant for name in names for mutant in mutants(PLUGIN / name)]
    print(f"{len(found)} mutants; not noticed:", flush=True)
    num_alive = 0
    for number, (mutant, lives) in enumerate(tried(found), start=1):
        print(f"{number} of {len(found)}", end="\r", file=sys.stderr)
        if lives:
            num_alive += 1
            print(f"  {mutant}", flush=True)
    # Had something else broken the tests meanwhile, all mutants would have seemed to be noticed.
    require_passing()
    print(f"{len(found) - num_alive} of {len(found)} are noticed")


def require_passing() -> None:
    if not all(lives for _, lives in tried([None])):
        sys.exit("the tests fail without any mutant")


def _import_what_all_need() -> None:
    """Before forking, and all but what is mutated."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "tests")]
    sys.dont_write_bytecode = True
    import hypothesis
    import small_llava  # noqa: F401

    import mdpo_core.testing  # noqa: F401

    for point in entry_points(group="mdpo"):
        if point.value != PLUGIN.name:
            point.load()
    # No failing case is written down, nor looked for at length.
    phases = [hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, phases=phases)
    hypothesis.settings.load_profile("mutants")


if __name__ == "__main__":
    main()
