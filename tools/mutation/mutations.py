"""Mutants of a source: one change each, as a slip in a formula would make it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = tuple[str, str, str]
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
SWAPPED_TESTS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
SWAPPED = SWAPPED_OPERATORS | SWAPPED_TESTS
# Which view, model or group of pairs a formula reads.
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
    *("detach", "relu", "clamp", "square", "sigmoid", "exp", "log", "log_softmax", "flip", "argsort", "where", "abs"),
    *("sqrt", "cumsum"),
}
SUMS = {"mean_log_ratio": "log_ratio", "mean_log_prob": "policy"}


@dataclass(frozen=True)
class Mutant:
    """The ``source`` of a changed file: in line ``line``, once ``text``, ``after`` stands where ``before`` stood."""

    line: int
    text: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> Key:
        """What tells it from the file's other mutants. No line number, so that edits elsewhere keep an explanation."""
        return self.text, self.before, self.after

    def __str__(self) -> str:
        return f"line {self.line}: {_short(self.before)}  ->  {_short(self.after)}"


def mutants(file: Path) -> Iterator[Mutant]:
    """All mutants of a file, one change each."""
    source = file.read_text()
    lines, tree = source.splitlines(), ast.parse(source)
    unread = set(_annotations_of_functions(tree))
    conditions = {node.test for node in ast.walk(tree) if isinstance(node, ast.If)}
    for index, node in enumerate(ast.walk(tree)):
        if not isinstance(node, ast.expr | ast.stmt) or _is_text(node) or node in unread:
            continue
        before = ast.unparse(node)
        changes = [*_changes(node), *(_negated(node) if node in conditions else ())]
        for after in map(ast.unparse, changes):
            if after != before:
                text = lines[node.lineno - 1].strip()
                yield Mutant(node.lineno, text, before, after, _with(source, index, after))


def _with(source: str, index: int, new: str) -> str:
    """The source with the ``index``-th node replaced."""
    tree = ast.parse(source)
    old = list(ast.walk(tree))[index]
    statement = ast.parse(new).body[0]
    changed = statement.value if isinstance(old, ast.expr) and isinstance(statement, ast.Expr) else statement
    if isinstance(old, ast.Name | ast.Attribute) and isinstance(changed, ast.Name | ast.Attribute):
        changed.ctx = old.ctx
    _replace(tree, old, changed)
    return ast.unparse(ast.fix_missing_locations(tree))


def _short(code: str) -> str:
    line = " ".join(code.split())
    return line if len(line) <= 80 else f"{line[:77]}..."


def _annotations_of_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Nobody reads them when a test runs; those of options, pydantic does."""
    for node in ast.walk(tree):
        annotation = {ast.arg: "annotation", ast.FunctionDef: "returns"}.get(type(node))
        found = getattr(node, annotation) if annotation else None
        yield from ast.walk(found) if found is not None else ()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _changes(node: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    """What could stand in a node's place."""
    match node:
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not()):
            yield node.operand
        case ast.BinOp(op=operator) if type(operator) in SWAPPED:
            yield ast.BinOp(node.left, _swapped(operator), node.right)
            yield from (node.left, node.right)
        case ast.AugAssign(op=operator) if type(operator) in SWAPPED:
            yield ast.AugAssign(node.target, _swapped(operator), node.value)
        case ast.BoolOp():
            yield ast.BoolOp(_swapped(node.op), node.values)
        case ast.Compare(ops=[operator, *rest]) if type(operator) in SWAPPED:
            yield ast.Compare(node.left, [_swapped(operator), *rest], node.comparators)
        case ast.IfExp():
            yield from (node.body, node.orelse)
        case ast.Attribute() | ast.Name(ctx=ast.Load()):
            yield from _names(node)
        case ast.Constant():
            yield from _constants(node)
        case ast.Call():
            yield from _calls(node)
        case ast.Expr(value=ast.Call()) if "super()" not in ast.unparse(node):
            yield ast.Pass()
        case ast.Raise():
            yield ast.Pass()


def _negated(condition: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    """Comparisons and negations are turned round anyway."""
    if isinstance(condition, ast.Name | ast.Attribute | ast.Call):
        yield ast.UnaryOp(ast.Not(), condition)


def _swapped(operator: ast.AST) -> Any:
    return SWAPPED[type(operator)]()


def _names(node: ast.Attribute | ast.Name) -> Iterator[ast.AST]:
    if isinstance(node, ast.Attribute) and node.attr in SWAPPED_NAMES:
        yield ast.Attribute(node.value, SWAPPED_NAMES[node.attr], node.ctx)
    if isinstance(node, ast.Name) and node.id in SWAPPED_NAMES:
        yield ast.Name(SWAPPED_NAMES[node.id], node.ctx)


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
            if isinstance(value, list) and any(item is old for item in value):
                setattr(parent, name, [new if item is old else item for item in value])
                return
