"""COCO's files of annotations: the objects and the captions of some pictures.

The files of all of COCO 2014 have 500 MB, of which the outlines of objects are most; those are never read.
"""

from __future__ import annotations

import json
import mmap
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_benchmarks.json_files import read_json
from mdpo_core import DataError, Problem, RecipeError, require_file

# A quote inside a text has a backslash before it, so that this finds keys and nothing else.
_KEY = re.compile(rb'"(image_id|category_id)"\s*:\s*(\d*)')
_CATEGORIES = re.compile(rb'"categories"\s*:\s*')
_LINES = "instances_*.json and captions_*.json, such as COCO's instances_val2014.json and captions_val2014.json"


@dataclass(frozen=True)
class Annotations:
    """The files of annotations in a folder, those of training and of validation together."""

    instances: Sequence[Path]
    captions: Sequence[Path]

    @classmethod
    def within(cls, folder: Path) -> Annotations:
        """Find the files. Raises `RecipeError` if one is missing."""
        found = cls(sorted(folder.glob("instances_*.json")), sorted(folder.glob("captions_*.json")))
        if not found.files:
            raise RecipeError(f"'{folder}' must hold {_LINES}")
        for path in found.files:
            kind, _, name = path.name.partition("_")
            require_file(folder / f"{'captions' if kind == 'instances' else 'instances'}_{name}")
        return found

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*self.instances, *self.captions]

    def objects(
        self, images: Collection[int], categories: Mapping[str, str], named: Callable[[str], Collection[str]]
    ) -> dict[int, set[str]]:
        """What each picture shows: the categories of its instances, and those that its captions name.

        ``categories``: the category of each word. ``named``: the categories that a caption names. Raises `DataError`
        for a damaged file, and for a picture that no file has.
        """
        objects: dict[int, set[str]] = defaultdict(set)
        for path in self.instances:
            for image, name in _instances(path, images):
                objects[image].add(_category(path, name, categories))
        known = set(objects)
        for path in self.captions:
            rows = _CaptionFile.read(path)
            known |= rows.images
            for image, caption in rows.captions:
                if image in images:
                    objects[image].update(named(caption))
        self._require_known(images, known)
        return {image: objects[image] for image in images}

    def _require_known(self, images: Collection[int], known: Collection[int]) -> None:
        missing = [image for image in images if image not in known]
        if missing:
            named = f"{', '.join(map(str, missing[:3]))}{', ...' if len(missing) > 3 else ''}"
            files = ", ".join(path.name for path in self.captions)
            raise DataError(
                f"{len(missing):,} of {len(images):,} pictures are not in {files}: {named}; "
                "are these the answers to another benchmark, or is a file of annotations missing?"
            )


def _category(path: Path, name: str, categories: Mapping[str, str]) -> str:
    if name not in categories:
        raise DataError([Problem(path.name, "categories", f"{name!r} is no word of the list of synonyms")])
    return categories[name]


def _instances(path: Path, images: Collection[int]) -> Iterator[tuple[int, str]]:
    """The picture and the category of each object in some pictures."""
    if path.stat().st_size == 0:
        raise DataError([Problem(path.name, "", "is empty")])
    with path.open("rb") as file:
        # Closed with the last match that refers to it.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    names = _names(path, content)
    wanted = {str(image).encode(): image for image in images}
    keys = _KEY.finditer(content)
    for first in keys:
        second = next(keys, None)
        pair: dict[bytes, bytes] = {each[1]: each[2] for each in (first, second) if each}
        image, category = pair.get(b"image_id"), pair.get(b"category_id")
        if not image or not category:
            message = "each annotation needs one image_id and one category_id, both whole numbers"
            raise DataError([Problem(path.name, "annotations", f"{message}; see byte {first.start():,}")])
        if image in wanted:
            if category not in names:
                raise DataError([Problem(path.name, "categories", f"category {category.decode()} is missing")])
            yield wanted[image], names[category]


def _names(path: Path, content: mmap.mmap) -> dict[bytes, str]:
    """The name of each category, by its number as the file writes it."""
    start = _CATEGORIES.search(content)
    if start is None or not content[-64:].rstrip().endswith(b"}"):
        raise DataError([Problem(path.name, "", "is no whole file of COCO's instances; was it fetched to its end?")])
    try:
        rows = _list_at(content, start.end())
        return {str(int(row["id"])).encode(): str(row["name"]) for row in rows}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        message = f"must be a list of objects with id and name ({type(error).__name__}: {error})"
        raise DataError([Problem(path.name, "categories", message)]) from error


def _list_at(content: mmap.mmap, start: int) -> Any:
    """The list of JSON that begins at a byte. Raises `ValueError` if there is none."""
    end = content.find(b"]", start)
    while end >= 0:
        try:
            return json.loads(content[start : end + 1])
        except ValueError:
            end = content.find(b"]", end + 1)
    raise ValueError("the list does not end")


@dataclass(frozen=True)
class _CaptionFile:
    """A file of captions: the pictures that it has, and each caption with its picture."""

    images: set[int]
    captions: list[tuple[int, str]]

    @classmethod
    def read(cls, path: Path) -> _CaptionFile:
        stored: dict[str, Any] = read_json(path, dict)
        try:
            captions = [(int(row["image_id"]), str(row["caption"])) for row in stored["annotations"]]
            images = {int(row["id"]) for row in stored.get("images", ())}
        except (KeyError, TypeError, ValueError) as error:
            message = "must have annotations with image_id and caption, and images with id"
            raise DataError([Problem(path.name, "", f"{message} ({type(error).__name__}: {error})")]) from error
        return cls(images | {image for image, _ in captions}, captions)
