"""Options of an extended recipe that go with the component that another one replaces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any

from mdpo_core.processes.world import current_world
from mdpo_core.recipe.node import Node
from mdpo_core.recipe.yaml_document import Document, Keys
from mdpo_core.registry.discovery import Registry
from mdpo_core.registry.kinds import KIND_NAMES


def warn_of_dropped_options(document: Document, registry: Registry) -> None:
    """Warn of options that the new component has, too, and that nobody has set again, such as ``lora``.

    Without ``lora`` the whole model trains, and its user would not know why.
    """
    if current_world().size > 1:  # the process that starts the others has warned
        return
    for keys, node in _replacing(document.root, ()):
        assert node.replaced is not None
        text = _dropped(node.plain(), node.replaced.plain(), registry)
        if text:
            _warn_once(str(document.problem(keys, text)))


@cache
def _warn_once(text: str) -> None:
    """A command may load the same recipe several times."""
    logging.getLogger(__name__).warning("%s", text)


def _replacing(node: Node, keys: Keys) -> Iterator[tuple[Keys, Node]]:
    if node.replaced is not None:
        yield keys, node
    for key, child in (node.children or {}).items():
        yield from _replacing(child, (*keys, key))


def _dropped(new: dict[str, Any], old: dict[str, Any], registry: Registry) -> str:
    for kind in KIND_NAMES:
        cls = registry.components(kind).get(str(new.get(kind)))
        if cls is None or kind not in old:
            continue
        options = (name for name in old if name in cls.model_fields and name not in new)
        lost = [name for name in options if old[name] != _default(cls.model_fields[name])]
        if lost:
            return (
                f"the {kind} '{new[kind]}' replaces '{old[kind]}' of the recipe that this one extends, and does not "
                f"take over: {', '.join(lost)}; write what you want to keep"
            )
    return ""


def _default(field: Any) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})
