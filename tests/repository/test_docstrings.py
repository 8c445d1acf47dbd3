"""Every public name of the core and of the plugins says what it is. The oracle is the syntax tree of each file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from support.paths import ROOT

FILES = sorted([*(ROOT / "mdpo_core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
TREES = {file: ast.parse(file.read_text()) for file in FILES}
CLASSES: dict[str, list[ast.ClassDef]] = {}
for _tree in TREES.values():
    for _node in _tree.body:
        if isinstance(_node, ast.ClassDef):
            CLASSES.setdefault(_node.name, []).append(_node)
HOOKS = {
    node.name
    for node in TREES[ROOT / "mdpo_core" / "hooks.py"].body
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)
}


def public_methods(cls: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """The public methods and properties that a class defines."""
    yield from (node for node in cls.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"))


def sources_of(cls: ast.ClassDef) -> Iterator[str]:
    """Names of the base classes, and of the protocols that the docstring names in backticks."""
    for base in cls.bases:
        node = base.value if isinstance(base, ast.Subscript) else base
        yield node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    yield from re.findall(r"`(?:\w+\.)*(\w+)`", ast.get_docstring(cls) or "")


def documents(name: str, method: str, seen: frozenset[str] = frozenset()) -> bool:
    """True if a class called ``name``, or one that it takes its methods from, has a docstring for ``method``."""
    for cls in CLASSES.get(name, []):
        if any(each.name == method and ast.get_docstring(each) for each in public_methods(cls)):
            return True
        if any(documents(source, method, seen | {name}) for source in sources_of(cls) if source not in seen | {name}):
            return True
    return False


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions, classes, methods and properties whose docstring nobody can find."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node) and node.name not in HOOKS and not _is_overload(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (
                    f"{node.name}.{method.name}"
                    for method in public_methods(node)
                    if not ast.get_docstring(method)
                    and method.name not in HOOKS
                    and not any(documents(source, method.name) for source in sources_of(node))
                )


def _is_overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return any(getattr(decorator, "id", "") == "overload" for decorator in node.decorator_list)


def test_every_public_name_has_a_docstring() -> None:
    """A method needs none if a base class, or a protocol that its class names, documents it."""
    found = [f"{file.relative_to(ROOT)}: {name}" for file, tree in TREES.items() for name in undocumented(tree)]
    assert found == []


def test_a_name_without_a_docstring_is_found() -> None:
    source = (
        'class Engine2:\n    """A `Engine`."""\n    def step(self): ...\n    def other(self): ...\ndef function(): ...'
    )
    assert list(undocumented(ast.parse(source))) == ["Engine2.other", "function"]
