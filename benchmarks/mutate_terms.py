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
import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
# Modules that were imported before the fork cannot have their asserts rewritten, and need not.
PYTEST = [
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:anyio",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]
SECONDS = 1800
KILLED, SURVIVED, BROKEN = 1, 0, 2

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
    for place, node in enumerate(ast.walk(ast.parse(text))):
        if not hasattr(node, "lineno") or _is_text(node):
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


def stages(term: str | None) -> Iterator[list[str]]:
    """What pytest is called with, the quick tests first: those that are about a class, or all."""
    about = "loss or anchor" if term is None else f"loss-{component_name(term)}] or anchor-{component_name(term)}]"
    named = "test" if term is None else f"{component_name(term)} or {term} or labelled or formulas or overflow or odds"
    yield ["test_losses_options.py"]
    yield ["test_losses_batches.py", "-k", "not train_alike and not resumed and not untrained"]
    yield ["test_losses.py", "-k", named]
    yield ["test_losses_relations.py", "test_objectives.py"]
    yield ["test_contracts.py", "-k", about]


def component_name(term: str) -> str:
    """The name that the plugin registers a class by."""
    [found] = re.findall(rf'"(\w+)": {term},', (PLUGIN / "__init__.py").read_text())
    return str(found)


def survives(mutant: Mutant | None) -> bool:
    """Whether all tests pass with a mutant, or, with None, without one; in a process that is forked for it."""
    child = os.fork()
    if child == 0:
        _test(mutant)
    _, status = os.waitpid(child, 0)
    return not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == KILLED)


def _test(mutant: Mutant | None) -> NoReturn:
    """Leaves the process; one that hangs is ended by its alarm, and counts as not noticed."""
    import hypothesis
    import pytest

    signal.alarm(SECONDS)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    if mutant is not None:
        sys.meta_path.insert(0, _Finder(mutant))  # type: ignore[arg-type]  # a finder by its method
    try:
        _check_vectors()
    except BaseException:
        os._exit(KILLED)
    code = SURVIVED
    for stage in stages(mutant.term if mutant else None):
        files = [str(ROOT / "tests" / word) if word.endswith(".py") else word for word in stage]
        found = pytest.main([*PYTEST, *files])
        # Interrupted: a file whose import fails with this mutant.
        if found in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
            code = KILLED
            break
        if found not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            code = BROKEN
            break
    os._exit(code)


def _check_vectors() -> None:
    """The tests of check values as the functions that they are: most mutants never see pytest, which costs seconds."""
    import test_losses_vectors as tests

    nowhere = Path()
    for name in tests.COVERED:
        tests.test_each_objective_gives_its_values(name, "python", nowhere)
        if tests.VECTORS[name].get("grad"):
            tests.test_each_objective_gives_its_gradients(name, nowhere)
        if "edge" in tests.VECTORS[name]:
            tests.test_margins_of_hundreds_of_nats_give_exact_values_and_finite_gradients(name, nowhere)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="names in plugins/mdpo_objectives; default: all")
    names = parser.parse_args().files or sorted({file.name for file in PLUGIN.glob("*.py")} - NOT_MUTATED)
    _import_what_all_need()
    if not survives(None):
        sys.exit("the tests fail without any mutant")
    found = [mutant for name in names for mutant in mutants(PLUGIN / name)]
    print(f"{len(found)} mutants; not noticed:", flush=True)
    num_alive = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, lives in zip(found, pool.map(survives, found), strict=True):
            if lives:
                num_alive += 1
                print(f"  {mutant}", flush=True)
    print(f"{len(found) - num_alive} of {len(found)} are noticed")


def _import_what_all_need() -> None:
    """Before forking, and all but what is mutated."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "tests")]
    sys.dont_write_bytecode = True
    import hypothesis  # noqa: F401
    import pytest  # noqa: F401
    import small_llava  # noqa: F401

    import mdpo_core.testing  # noqa: F401

    for point in entry_points(group="mdpo"):
        if point.value != PLUGIN.name:
            point.load()


if __name__ == "__main__":
    main()
