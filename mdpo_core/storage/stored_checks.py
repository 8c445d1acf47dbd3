"""What was found on the disk, so that what was checked once is not checked again: rows, and a model's files."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mdpo_core.data.checking import CheckedData
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.errors import CheckpointError, Problem, first_line
from mdpo_core.interfaces.reader import Reader
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.storage.check_key import check_key, value_key
from mdpo_core.storage.files import atomic_write, read_json_object
from mdpo_core.storage.quarantine import write_quarantine
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.types.stored_bytes import Files, state_of

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")


def cache_folder() -> Path:
    """``$MDPO_CACHE``, or ``mdpo`` in the user's cache folder."""
    own, users = os.environ.get("MDPO_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(users or Path.home() / ".cache") / "mdpo"


@dataclass
class StoredChecks:
    """Results of checks, in the cache and beside the run; see `mdpo_core.data.reading.CheckStore`.

    ``beside``: the folder beside the run, which is read first; None for commands that make no run.
    """

    recipe: Recipe
    beside: Path | None = None
    _key: str | None = field(default=None, init=False)

    def find(self, reader: Reader, builder: BatchBuilder, num_rows: int, opened: Files) -> CheckedData | None:
        """The result of this check, without the data; None if there is none, or if a file has changed since."""
        self._key = key = check_key(self.recipe, reader, builder, num_rows, opened)
        if key is None:
            return None
        files = [folder / _file_name(key) for folder in (self.beside, _cache()) if folder is not None]
        found = (_usable(file, key) for file in files if _is_there(file))
        return next((each for each in found if each is not None), None)

    def keep(self, checked: CheckedData) -> CheckedData:
        """Keep the result of the check that `find` was last asked for in the cache. Warns if that cannot be written."""
        if self._key is None:
            return checked
        name, content = _file_name(self._key), to_bytes(checked, self._key)
        try:
            cache = _cache()
            if cache is not None:
                atomic_write(cache / name, content)
        except CheckpointError as error:
            _log().warning("%s; the data are checked again at the next start (MDPO_CACHE names the folder)", error)
        return replace(checked, stored={name: content})


def remembered(
    name: str,
    compute: Callable[[], Value],
    *,
    files: Iterable[Path],
    options: Mapping[str, Any],
    code: Iterable[type],
    packages: Iterable[str] = (),
) -> Value:
    """What ``compute`` gives, a JSON value, from the cache if it was computed before. An error of it is not kept.

    It is computed again if anything that it depends on has changed: size or times of ``files``, the bytes of those
    below 64 MB, ``options`` (JSON values), the packages that define the classes of ``code``, or the versions of
    ``packages``, mdpo and its plugins.
    """
    key = value_key(files, options, code, packages)
    try:
        file = None if key is None else cache_folder() / "remembered" / f"{name}-{_digest_of(key)}.json"
    except RuntimeError:  # a user without a home
        file = None
    known = {} if file is None else _known(file, [name, key])
    if "value" in known:
        value: Value = known["value"]
        return value
    value = compute()
    if file is not None:
        _remember(file, [name, key], value)
    return value


def _known(file: Path, of: list[str | None]) -> dict[str, Any]:
    """The content of a file that `_remember` has written; nothing if it is missing, damaged or of something else."""
    try:
        found = read_json_object(file)
    except ValueError:
        return {}
    whole = found.pop("sha256", None) == _digest_of(json.dumps(found))
    return found if whole and found.get("of") == of else {}


def _remember(file: Path, of: list[str | None], value: object) -> None:
    content = {"of": of, "value": value}
    try:
        atomic_write(file, json.dumps(content | {"sha256": _digest_of(json.dumps(content))}).encode())
    except CheckpointError as error:
        _log().info("%s; it is computed again at the next start (MDPO_CACHE names the folder)", error)


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _cache() -> Path | None:
    """The folder of results in the cache; None for a user without a home."""
    try:
        return cache_folder() / "checked"
    except RuntimeError:
        _log().warning("this user has no home directory, so no check is kept; name a folder in MDPO_CACHE")
        return None


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError as error:
        _log().warning(
            "%s cannot be read (%s), so the data are checked again (MDPO_CACHE names the folder)", file, error
        )
        return False


def _file_name(key: str) -> str:
    return f"{_digest_of(key)}.safetensors"


def write_check(directory: RunDirectory, checked: CheckedData) -> None:
    """Write beside a run which rows are bad, and the results of the check, for a resumed run."""
    parts = [checked, *([] if checked.held_out is None else [checked.held_out])]
    if any(part.num_left_out for part in parts):
        write_quarantine(directory.quarantine, *parts)
    for name, content in checked.stored.items():
        if not (directory.checked / name).is_file():
            atomic_write(directory.checked / name, content)


def _usable(file: Path, key: str) -> CheckedData | None:
    """The result in a file; None if it is damaged, of another check, or older than a file that it depends on."""
    try:
        content = file.read_bytes()
        found, its_key = from_bytes(content)
    except Exception as error:  # whatever a damaged file makes a parser raise
        _log().warning("%s is damaged (%s), so the data are checked again", file, first_line(error))
        return None
    if its_key != key:
        _log().info("%s is of another check, so it is not used", file)
        return None
    changed = next((path for path, state in found.files.items() if state_of(path) != state), None)
    if changed is not None:
        _log().info("%s has changed since the data were checked, so they are checked again", changed)
        return None
    return replace(found, stored={file.name: content})


def to_bytes(checked: CheckedData, key: str) -> bytes:
    """The file's content: numbers as arrays, texts as bytes, and the digest of both."""
    import torch
    from safetensors.torch import save

    names = sorted(set(checked.sources))
    texts = {
        "key": key,
        "digest": checked.digest,
        "tried": checked.tried,
        "files": list(checked.files),
        "names": names,
        "ids": checked.ids,
        "duplicates": checked.duplicates,
        "bad": {row: [[each.where, each.path, each.message] for each in found] for row, found in checked.bad.items()},
    }
    number = {name: number for number, name in enumerate(names)}
    tensors = {
        "rows": torch.tensor(checked.rows, dtype=torch.int64),
        "apart": torch.tensor(checked.apart, dtype=torch.int64),
        "lengths": torch.tensor(checked.lengths, dtype=torch.int32),
        "sources": torch.tensor([number[name] for name in checked.sources], dtype=torch.int32),
        "keys": _from_bytes(b"".join(checked.keys)),
        "key_sizes": torch.tensor([len(each) for each in checked.keys], dtype=torch.int32),
        "states": torch.tensor(list(checked.files.values()), dtype=torch.int64).view(-1, 3),
        "texts": _from_bytes(json.dumps(texts).encode()),
    }
    content: bytes = save(tensors, {"sha256": _digest(tensors)})
    return content


def from_bytes(content: bytes) -> tuple[CheckedData, str]:
    """The result without the data, and its key. Raises an error of one of many types if ``content`` is damaged."""
    from safetensors.torch import load

    size = int.from_bytes(content[:8], "little")
    tensors, header = load(content), json.loads(content[8 : 8 + size])
    if header["__metadata__"]["sha256"] != _digest(tensors):
        raise ValueError("its digest does not fit its content")
    texts: dict[str, Any] = json.loads(tensors["texts"].numpy().tobytes())
    found = CheckedData(
        (),
        rows=tensors["rows"].tolist(),
        lengths=tensors["lengths"].tolist(),
        bad={int(row): [Problem(*each) for each in problems] for row, problems in texts["bad"].items()},
        digest=texts["digest"],
        keys=_cut(tensors["keys"].numpy().tobytes(), tensors["key_sizes"].tolist()),
        sources=[texts["names"][number] for number in tensors["sources"].tolist()],
        files=dict(zip(texts["files"], map(tuple, tensors["states"].tolist()), strict=True)),
        tried=texts["tried"],
        ids={int(row): name for row, name in texts["ids"].items()},
        duplicates={int(row): first for row, first in texts["duplicates"].items()},
        apart=tensors["apart"].tolist(),
    )
    return found, texts["key"]


def _from_bytes(content: bytes) -> Tensor:
    import torch

    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


def _cut(content: bytes, sizes: list[int]) -> list[bytes]:
    ends = list(accumulate(sizes))
    return [content[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _log() -> logging.Logger:
    return logging.getLogger(__name__)
