"""Recipes with damaged structure: types, keys, tags, anchors, aliases, merge keys, nesting, and the text itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML


class _Map(list[Any]):
    """A mapping as a list of pairs, so that keys can be of any kind and occur twice."""


class _Raw(str):
    """Text of YAML that is written as it is."""


_ODD_SCALARS = (
    *(
        "null",
        "~",
        "''",
        "true",
        "no",
        "-1",
        "0",
        "1e400",
        "-1.0e-300",
        ".inf",
        "-.inf",
        ".nan",
        "1_000",
        "0x1F",
        "1e5",
    ),
    *("9" * 26, "9" * 5000, f"0x{'F' * 400}", "1" * 300 + ".5", "2020-01-01", "2020-13-45", "12:30:45", "=", "<<"),
    *("!!int abc", "!!float x", "!!bool maybe", "!!null x", "!!timestamp x", "!!binary '@'", "!!str 5", "!!int '5'"),
    *("!x 5", "!x", "!", "! a", "!!python/name:os.system", "!!python/object/apply:os.system ['true']", "!!set {a}"),
    *("!!omap [a: 1]", "!!map [1]", "!!seq {a: 1}", "!!merge x", "!<tag:x,2020:y> 1", "!!str {a: 1}", "&a &b 1"),
    *('"\\U00110000"', '"\\ud800"', '"\\0"', '"\\x1b[31m"', '"\\q"', "'\u202e\u0301\u200b'", "'\U0001f600'", '"\\\n"'),
    *("a" * 300, "'" + "ab " * 2000 + "'", "'../x'", "/dev/null", "x\u0000y", "'a@b'", "'chosen@'", "'@crop'", "*none"),
    *(
        "'{}'",
        "'[]'",
        "'# no comment'",
        "|\n  text\n",
        ">-\n  folded\n",
        "? a",
        "- a",
        "a: b: c",
        "@a",
        "`a`",
        "%x",
        "\t1",
    ),
)
_ODD_KEYS = (
    *("null", "5", "1.5", "true", "2020-01-01", "''", "~", "=", "<<", "[a, b]", "{a: 1}", "!x a", "&k a", "*none", "?"),
    *('"\\0"', '"\\ud800"', "'a@b'", "'\u0301'", "a" * 300, "'a\n\n b'", "'clean'", "'a.b'", "?  ", "! a", "!!int abc"),
)
_BOMBS = (
    "&a [*a]",
    "&a {b: *a}",
    "&a {<<: *a}",
    "[&a [1, 1], &b [*a, *a], &c [*b, *b, *b, *b], &d [*c, *c, *c, *c], &e [*d, *d, *d, *d], [*e, *e, *e, *e, *e, *e]]",
    "{a: &a {x: 1, y: 2}, b: &b {p: *a, q: *a}, c: {<<: *b, r: *b}, d: {<<: [*a, *b]}, e: {<<: [1, *a]}, f: {<<: 5}}",
    "[" + ", ".join(f"&x{n} {{a: [*x{n - 1}, *x{n - 1}], b: *x{n - 1}}}" if n else "&x0 1" for n in range(60)) + "]",
    "[" * 30 + "]" * 30,
    "[" * 500 + "]" * 500,
    "[" * 2000,
    "{a: " * 200 + "1" + "}" * 200,
    "[[" + ", ".join(["1"] * 6000) + "]]",
    "- " * 60 + "a",
)
_ODD_CHARACTERS = "\0\x07\x1b\x7f\x85\xa0\ufeff\u2028\ud7ff\ufffe\U0001f600\u202e{}[]:,&*#?|-<>=!%@`'\"\\\t\r\n ~0aé"


def mutant(rng: random.Random, text: str) -> bytes:
    """The text of a recipe with one to four mutations of its structure, its text or its bytes."""
    if rng.random() < 0.7:
        tree = _read(YAML(typ="safe", pure=True).load(text))
        for _ in range(rng.randint(1, 4)):
            _mutate_tree(rng, tree)
        text = _document(rng, tree)
    for _ in range(rng.choice((0, 0, 1)) if rng.random() < 0.7 else rng.randint(1, 3)):
        text = rng.choice(_TEXT_MUTATIONS)(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    return rng.choice(_BYTE_MUTATIONS)(rng, data) if rng.random() < 0.1 else data


def assignment(rng: random.Random) -> str:
    """A ``--set`` argument, mostly odd."""
    parts = (
        "train",
        "epochs",
        "objective",
        "0",
        "9",
        "²",
        "-1",
        "",
        " ",
        "model",
        "lora",
        "extends",
        "a" * 400,
        "\0",
        "٣",
    )
    path = ".".join(rng.choice(parts) for _ in range(rng.choice((1, 2, 2, 3, 4, 60))))
    return f"{path}{rng.choice(('=', '=', '=', '', '=='))}{rng.choice((*_ODD_SCALARS, *_BOMBS))}"


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return _Map([[_Raw(json.dumps(key)), _read(item)] for key, item in value.items()])
    return [_read(item) for item in value] if isinstance(value, list) else value


def _document(rng: random.Random, tree: Any) -> str:
    """The tree as YAML: the sections as lines, or all of it as flow; or what else it has become."""
    if isinstance(tree, _Map) and rng.random() < 0.9:
        return "".join(f"{_flow(key)}: {_flow(value)}\n" for key, value in tree)
    return _flow(tree)


def _flow(value: Any) -> str:
    if isinstance(value, _Raw):
        return value
    if isinstance(value, _Map):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return json.dumps(value)


def _mutate_tree(rng: random.Random, tree: Any) -> None:
    places = list(_places(tree))
    holder, index = rng.choice(places) if places else (tree, 0)
    if places:
        rng.choice(_TREE_MUTATIONS)(rng, holder, index, places)


def _places(tree: Any) -> Any:
    """Every value as the list that holds it, and its index."""
    for index, item in enumerate(tree if isinstance(tree, list) else []):
        if isinstance(tree, _Map):
            yield item, 1
            yield from _places(item[1])
        else:
            yield tree, index
            yield from _places(item)


def _other_value(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    holder[index] = _Raw(rng.choice(_ODD_SCALARS))


def _bomb(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    holder[index] = _Raw(rng.choice(_BOMBS))


def _number(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    holder[index] = _Raw(f"{rng.choice(('', '-'))}{rng.random() * 10:.3g}e{rng.randint(-320, 320)}")


def _wrapped(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    value = holder[index]
    holder[index] = rng.choice(([value], [[value]], _Map([[_Raw("a"), value]]), [value, value], _Map(), []))


def _copied(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    other, place = rng.choice(places)
    holder[index] = _Raw(_flow(other[place]))


def _key(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    holder[0] = _Raw(rng.choice(_ODD_KEYS)) if index == 1 and isinstance(holder[0], _Raw) else holder[0]


def _mappings(places: Any) -> list[Any]:
    return [holder[index] for holder, index in places if isinstance(holder[index], _Map) and holder[index]]


def _pairs(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    """Repeat, remove, move or invent a pair of a mapping."""
    if maps := _mappings(places):
        one, other = rng.choice(maps), rng.choice(maps)
        pair = rng.choice(one)
        odd = [_Raw(rng.choice(_ODD_KEYS)), _Raw(rng.choice(_ODD_SCALARS))]
        copy = [pair[0], _Raw(_flow(pair[1]))]
        change = rng.choice(("repeat", "remove", "move", "invent"))
        if change in ("remove", "move"):
            one.remove(pair)
        if change != "remove":
            {"repeat": one, "move": other, "invent": one}[change].append(odd if change == "invent" else copy)


def _anchored(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    """Give a value an anchor, and put an alias or a merge key elsewhere, mostly behind it."""
    here = next(number for number, place in enumerate(places) if place[0] is holder and place[1] == index)
    inner = sum(1 for _ in _places(holder[index]))
    after = places[here + 1 + inner :]
    other, place = rng.choice(after if after and rng.random() < 0.8 else places)
    holder[index] = _Raw(f"&common {_flow(holder[index])}")
    if isinstance(other[place], _Map) and rng.random() < 0.6:
        merged = rng.choice(("*common", "[*common]", "[*common, *common]", "*none", "{a: *common}", "common"))
        other[place].insert(0, [_Raw("<<"), _Raw(merged)])
    else:
        other[place] = _Raw("*common")


def _tagged(rng: random.Random, holder: Any, index: int, places: Any) -> None:
    tag = rng.choice(
        ("!x", "!!str", "!!int", "!!float", "!!map", "!!seq", "!!omap", "!!python/tuple", "!!set", "!!null")
    )
    holder[index] = _Raw(f"{tag} {_flow(holder[index])}")


_Mutation = Callable[[random.Random, Any, int, Any], None]
_TREE_MUTATIONS: tuple[_Mutation, ...] = (
    *(_other_value, _other_value, _bomb, _number, _wrapped, _copied),
    *(_key, _pairs, _pairs, _anchored, _anchored, _tagged),
)


def _one_character(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(_ODD_CHARACTERS) * rng.choice((1, 1, 3, 200)) + text[place + rng.choice((0, 1)) :]


def _cut(rng: random.Random, text: str) -> str:
    start, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
    return rng.choice((text[:start], text[end:], text[:start] + text[end:], text[:end] + text[start:]))


def _lines(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    changed = rng.choice(
        (" " + lines[one], "\t" + lines[one], "- " + lines[one], "? " + lines[one], lines[one] * 2, "")
    )
    lines[one], lines[other] = rng.choice(((lines[other], lines[one]), (changed, lines[other])))
    return rng.choice(("\n", "\n", "\r\n", "\r")).join(lines)


def _around(rng: random.Random, text: str) -> str:
    before = (
        "%YAML 1.1\n---\n",
        "%YAML 9.9\n---\n",
        "%TAG ! x\n---\n",
        "---\n---\n",
        "\ufeff",
        "--- !x\n",
        "--- &a\n",
        "...\n",
    )
    return rng.choice((rng.choice(before) + text, text + "\n---\na: 1\n", text + "\n...\n\0", text + text, ""))


_TEXT_MUTATIONS = (_one_character, _one_character, _cut, _lines, _lines, _around)


def _one_byte(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]


def _other_encoding(rng: random.Random, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "latin-1", "cp1252")), "replace")


_BYTE_MUTATIONS = (_one_byte, _other_encoding)
