"""Mutants of a source: one change each, as a slip in a formula would make it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
        if not isinstance(node, ast.expr | ast.stmt) or _is_text(node) or node in unread:
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
