"""From YAML text to a tree of values, or to an error with the line. Nothing in the text can run code or multiply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from mdpo_core.errors import Problem, RecipeError, first_line
from mdpo_core.recipe.node import Node

if TYPE_CHECKING:
    from ruamel.yaml import YAML, MappingNode, ScalarNode
    from ruamel.yaml import Node as YamlNode

# Far more than any recipe has; a text within them is read in less than a second.
MAX_CHARACTERS = 50_000
MAX_DEPTH = 40
MAX_VALUES = 5_000
_MAX_WHOLE_NUMBER = 10**18
_TAG = "tag:yaml.org,2002:"
# No option takes a date, and an error should show its text; `=` and `<<` mean something only as keys.
_TEXTS = ("str", "timestamp", "value", "merge")
_SCALARS = (*_TEXTS, "int", "float", "bool", "null")


def read_yaml(text: str, position: Callable[[int], str]) -> Node | None:
    """The tree of a YAML text; None if it is empty. ``position`` names a line, counted from 0, for messages.

    Understands aliases and merge keys (``<<: *common``). Raises `RecipeError`, with the position, for text that is not
    YAML, for tags such as ``!x``, and for what is larger or deeper than a recipe can be.
    """
    if len(text) > MAX_CHARACTERS:
        _refuse(position(0), f"is too long for a recipe: {len(text):,} characters, at most {MAX_CHARACTERS:,}")
    parser = _parser()
    root = _composed(parser, text, position)
    return None if root is None else _Tree(parser, position).build(root, position(root.start_mark.line))


def _parser() -> YAML:
    from ruamel.yaml import YAML
    from ruamel.yaml.composer import Composer, ComposerError

    class LimitedComposer(Composer):
        """Composes values of a limited depth: each level is a call within a call."""

        level = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.level == MAX_DEPTH:
                mark = self.parser.peek_event().start_mark
                raise ComposerError(None, None, f"more than {MAX_DEPTH} levels of nesting", mark)
            self.level += 1
            node = super().compose_node(parent, index)
            self.level -= 1
            return node

    parser = YAML(typ="safe", pure=True)
    parser.Composer = LimitedComposer
    parser.composer.warn_double_anchors = False  # YAML allows an anchor's name to be used again
    return parser


def _composed(parser: YAML, text: str, position: Callable[[int], str]) -> YamlNode | None:
    """ruamel's nodes, which have marks and tags, and of which nothing has been constructed."""
    from ruamel.yaml.error import MarkedYAMLError

    try:
        constructor, _ = parser.get_constructor_parser(text)
        root: YamlNode | None = constructor.composer.get_single_node()
        return root
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = first_line(Exception(error.problem or error.context or "it cannot be read"))
        raise RecipeError([_problem(position(mark.line if mark else 0), f"not valid YAML: {reason}")]) from error
    except Exception as error:  # the library meets text that its authors did not expect
        line = text.count("\n", 0, _stopped_at(parser, error))
        raise RecipeError([_problem(position(line), f"not valid YAML: {_reason_of(error)}")]) from error


def _reason_of(error: Exception) -> str:
    character = getattr(error, "character", None)
    if isinstance(character, int):  # ruamel's ReaderError
        return f"the character U+{character:04X} is not text; remove it"
    return f"the YAML library fails here ({type(error).__name__}: {first_line(error)})"


def _stopped_at(parser: YAML, error: Exception) -> int:
    """The index of the character at which the library failed."""
    found = getattr(error, "position", None)
    index: int = parser.reader.index if found is None else found
    return index


class _Tree:
    """Builds the tree of one text; counts values, so that aliases cannot multiply them without end."""

    def __init__(self, parser: YAML, position: Callable[[int], str]) -> None:
        self._constructor = parser.constructor
        self._position = position
        self._num_values = self._num_characters = 0
        self._open: list[YamlNode] = []

    def build(self, node: YamlNode, where: str) -> Node:
        from ruamel.yaml.nodes import MappingNode, ScalarNode

        with self._inside(node):
            if isinstance(node, ScalarNode):
                return Node(where, self._scalar(node))
            if isinstance(node, MappingNode):
                self._require_tag(node, "map")
                return Node(where, children=self._children(node))
            self._require_tag(node, "seq")
            items: dict[str | int, Node] = {
                index: self.build(item, self._where(item)) for index, item in enumerate(node.value)
            }
            return Node(where, children=items, is_list=True)

    @contextmanager
    def _inside(self, node: YamlNode) -> Iterator[None]:
        self._num_values += 1
        if any(node is each for each in self._open):
            self._fail(node, f"the anchor '&{node.anchor}' contains an alias of itself")
        if self._num_values > MAX_VALUES:
            self._fail(node, f"its aliases and merge keys grow it beyond {MAX_VALUES:,} values")
        if len(self._open) >= MAX_DEPTH:
            self._fail(node, f"its aliases make more than {MAX_DEPTH} levels of nesting")
        self._open.append(node)
        yield
        self._open.pop()

    def _children(self, node: MappingNode) -> dict[str | int, Node]:
        """The children of a mapping by key. Its own keys take precedence over merged ones."""
        merged: dict[str | int, Node] = {}
        own: dict[str | int, Node] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                merged = {**self._merged(value), **merged}
                continue
            name = self._key(key)
            if name in own:
                self._fail(key, f"found duplicate key '{name}'")
            own[name] = self.build(value, self._where(key))
        return {**merged, **own}

    def _merged(self, value: YamlNode) -> dict[str | int, Node]:
        """The children that a merge key adds: those of a mapping, or of several in a list, the first before others."""
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        found: dict[str | int, Node] = {}
        for source in value.value if isinstance(value, SequenceNode) else (value,):
            if not isinstance(source, MappingNode):
                self._fail(value, "the merge key '<<' takes a mapping, or a list of mappings: <<: *common")
            with self._inside(source):
                found = {**self._children(source), **found}
        return found

    def _key(self, node: YamlNode) -> str:
        """The text of a key. A number is taken as it is written: no option has such a name, and the error shows it."""
        from ruamel.yaml.nodes import ScalarNode

        if not isinstance(node, ScalarNode):
            self._fail(node, "a key must be a name, not a list or a mapping")
        self._require_tag(node, *_SCALARS)
        return self._text(node)

    def _scalar(self, node: ScalarNode) -> Any:
        self._require_tag(node, *_SCALARS)
        text, kind = self._text(node), str(node.tag).removeprefix(_TAG)
        if kind in _TEXTS:
            return text
        try:
            value = getattr(self._constructor, f"construct_yaml_{kind}")(node)
        except Exception as error:  # `!!int abc` and the like: the library raises what int() and others raise
            raise RecipeError([self._found(node, f"'{text[:40]}' is not a valid {kind}")]) from error
        if kind == "int" and abs(value) > _MAX_WHOLE_NUMBER:
            self._fail(node, "a whole number of more than 18 digits, which no option takes")
        return value

    def _text(self, node: ScalarNode) -> str:
        text = str(node.value)
        self._num_characters += len(text)
        if self._num_characters > 2 * MAX_CHARACTERS:
            self._fail(node, f"its aliases and merge keys grow it beyond {2 * MAX_CHARACTERS:,} characters")
        wrong = next((letter for letter in text if _is_control(letter)), None)
        if wrong is not None:
            self._fail(node, f"contains the character U+{ord(wrong):04X}, which is not text; remove it")
        return text

    def _require_tag(self, node: YamlNode, *kinds: str) -> None:
        if str(node.tag) not in [f"{_TAG}{kind}" for kind in kinds]:
            tag = str(node.tag).replace(_TAG, "!!")
            self._fail(node, f"the tag '{tag}' has no meaning in a recipe here; remove it")

    def _where(self, node: YamlNode) -> str:
        return self._position(node.start_mark.line)

    def _found(self, node: YamlNode, message: str) -> Problem:
        return _problem(self._where(node), f"not valid YAML: {message}")

    def _fail(self, node: YamlNode, message: str) -> NoReturn:
        raise RecipeError([self._found(node, message)])


def _is_control(letter: str) -> bool:
    """Whether a character is a control character, or one half of a character that UTF-16 writes as two."""
    return (letter < " " and letter not in "\t\n\r") or letter == "\x7f" or "\ud800" <= letter <= "\udfff"


def _problem(where: str, message: str) -> Problem:
    return Problem(where, "", message)


def _refuse(where: str, message: str) -> NoReturn:
    raise RecipeError([_problem(where, message)])
