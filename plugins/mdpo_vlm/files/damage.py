"""Errors about a model's files that are damaged or belong to different models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from mdpo_vlm.files.folder import encoder_files, read_json, require_tokenizer, unfit

_NAMES_SHOWN, _LETTERS_QUOTED = 3, 160


def require_whole(
    folder: Path,
    missing: Collection[str],
    unexpected: Collection[str],
    mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]],
) -> None:
    """Raise `DataError` if any tensor is listed; ``mismatched``: name, shape in the file, shape in the model."""
    shapes = [f"{name} {tuple(found)} for {tuple(wanted)}" for name, found, wanted in mismatched]
    kinds = {"missing": missing, "unexpected": unexpected, "mismatched": shapes}
    problems = [f"{len(names)} {kind} tensors: {_first_names(names)}" for kind, names in kinds.items() if names]
    if problems:
        remedy = "download them again, or set model.path to the right folder"
        raise unfit(folder, f"{'; '.join(problems)}; the weights are incomplete or of another model: {remedy}")


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Turn every error that a library raises while it reads an encoder's files into a `DataError`."""
    try:
        yield
    except ImportError as error:
        # Its message says what to install.
        raise unfit(folder, f"its {what} cannot be loaded: {error}") from error
    except Exception as error:  # tokenizers raises plain Exception, and transformers nearly anything
        _require_readable(folder)
        remedy = "download the model again, or save its processor beside it"
        raise unfit(folder, f"its {what} cannot be loaded ({quoted(error)}); {remedy}") from error


def quoted(error: Exception) -> str:
    """The error of a library in one short line."""
    return shorten(f"{type(error).__name__}: {error}", _LETTERS_QUOTED, placeholder=" ...")


def _require_readable(folder: Path) -> None:
    """Raise an error that names the damaged file, if there is one; libraries seldom name it."""
    require_tokenizer(folder)
    for file in encoder_files(folder):
        if file.suffix == ".json":
            content = read_json(file)
            if file.name == "tokenizer.json" and "model" not in content:
                raise unfit(file, "contains no tokenizer; download it again")


def _first_names(names: Collection[str]) -> str:
    first, others = sorted(names)[:_NAMES_SHOWN], len(names) - _NAMES_SHOWN
    return ", ".join(first) + (f" and {others} more" if others > 0 else "")
