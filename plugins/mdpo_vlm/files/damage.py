"""What is said of a model's files that are damaged, or are of different models."""

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
    """Raise `DataError` if there are tensors to name; ``mismatched``: with the shape they have and the model's."""
    shapes = [f"{name} {tuple(found)} for {tuple(wanted)}" for name, found, wanted in mismatched]
    kinds = {"missing": missing, "unexpected": unexpected, "mismatched": shapes}
    wrong = [f"{len(names)} {kind} tensors: {_first(names)}" for kind, names in kinds.items() if names]
    if wrong:
        remedy = "download them again, or set model.path to the right folder"
        raise unfit(folder, f"{'; '.join(wrong)}; the weights are incomplete or of another model: {remedy}")


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Make a `DataError` of anything that a library raises over the files of an encoder."""
    try:
        yield
    except ImportError as error:
        # It says itself what to install.
        raise unfit(folder, f"its {what} cannot be loaded: {error}") from error
    except Exception as error:  # tokenizers raises no other class, and transformers trips over what files lack
        _require_readable(folder)
        remedy = "download the model again, or save its processor beside it"
        raise unfit(folder, f"its {what} cannot be loaded ({quoted(error)}); {remedy}") from error


def quoted(error: Exception) -> str:
    """A library's error in one line that is not long."""
    return shorten(f"{type(error).__name__}: {error}", _LETTERS_QUOTED, placeholder=" ...")


def _require_readable(folder: Path) -> None:
    """Where a file is to blame, it is named: libraries seldom do."""
    require_tokenizer(folder)
    for file in encoder_files(folder):
        if file.suffix == ".json":
            content = read_json(file)
            if file.name == "tokenizer.json" and "model" not in content:
                raise unfit(file, "holds no tokenizer; download it again")


def _first(names: Collection[str]) -> str:
    first, others = sorted(names)[:_NAMES_SHOWN], len(names) - _NAMES_SHOWN
    return ", ".join(first) + (f" and {others} more" if others > 0 else "")
