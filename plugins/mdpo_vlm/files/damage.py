"""Errors about a model's files that are damaged or belong to different models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType

import torch

from mdpo_core import MdpoError
from mdpo_vlm.files.folder import read_json, unfit
from mdpo_vlm.files.staged import only
from mdpo_vlm.files.time_limit import time_limit

_NAMES_SHOWN, _LETTERS_QUOTED = 3, 160


def require_whole(
    folder: Path,
    missing: Collection[str],
    unexpected: Collection[str],
    mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]],
    remedy: str = "download them again, or set model.path to the right folder",
) -> None:
    """Raise `DataError` if any tensor is listed; ``mismatched``: name, shape in the file, shape in the model."""
    shapes = [f"{name} {tuple(in_file)} for {tuple(in_model)}" for name, in_file, in_model in mismatched]
    kinds = {"missing": missing, "unexpected": unexpected, "mismatched": shapes}
    problems = [f"{len(names)} {kind} tensors: {_first_names(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise unfit(folder, f"{'; '.join(problems)}; the weights are incomplete or of another model: {remedy}")


@contextmanager
def reading(
    where: Path,
    failure: str,
    files: Sequence[Path],
    seconds: float | None = None,
    remedy: str = "download the model again",
) -> Iterator[Path]:
    """The boundary of a model's folder: every error of a library inside becomes a `DataError`.

    Gives a folder that contains only ``files``. ``where`` is the folder or file to name, ``failure`` says what failed,
    and ``remedy`` what to do. ``seconds`` limits the time for it.
    """
    with only(files) as staged:
        try:
            with time_limit(seconds) if seconds is not None else nullcontext():
                yield staged
        except (MdpoError, torch.OutOfMemoryError):
            raise
        except ImportError as error:
            # Its message says what to install.
            raise unfit(where, f"{failure}: {error}") from error
        except BaseException as error:  # tokenizers raises plain Exception, and transformers nearly anything
            if not is_of_library(error):
                raise
            reason = quoted(error, {str(staged): str(where)})
            _require_readable(files)
            raise unfit(where, f"{failure} ({reason}); {remedy}") from error


def is_of_library(error: BaseException) -> bool:
    """Whether a library failed, and no signal ended the program. Rust's panics are no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def quoted(error: BaseException, paths: Mapping[str, str] = MappingProxyType({})) -> str:
    """The error of a library in one short line; ``paths`` to write for others."""
    text = f"{type(error).__name__}: {error}"
    for path, known in paths.items():
        text = text.replace(path, known)
    return shorten(text, _LETTERS_QUOTED, placeholder=" ...")


def _require_readable(files: Sequence[Path]) -> None:
    """Raise an error that names the damaged file, if there is one; libraries seldom name it."""
    for file in files:
        if file.suffix == ".json":
            content = read_json(file)
            if file.name == "tokenizer.json" and "model" not in content:
                raise unfit(file, "contains no tokenizer; download it again")


def _first_names(names: Collection[str]) -> str:
    first, others = sorted(names)[:_NAMES_SHOWN], len(names) - _NAMES_SHOWN
    return ", ".join(first) + (f" and {others} more" if others > 0 else "")
