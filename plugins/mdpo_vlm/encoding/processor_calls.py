"""Calls of a model's processor: whatever it raises or warns of becomes a `DataError` that names the row."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mdpo_core import DataError, Example, Problem, is_shortage
from mdpo_vlm.files.damage import is_of_library, quoted

if TYPE_CHECKING:
    from PIL.Image import Image

_SIZES_SHOWN = 3


@contextmanager
def processing(example: Example) -> Iterator[None]:
    """Turn every error of a processor on this row, and every warning about its numbers, into a `DataError`."""
    try:
        with warnings.catch_warnings():
            # Other kinds are about the library's own names and arguments.
            for kind in (UserWarning, RuntimeWarning):
                warnings.simplefilter("error", kind)
            yield
    except DataError:
        raise
    except BaseException as error:  # processors raise nearly anything on a picture that does not fit
        if is_shortage(error) or not is_of_library(error):
            raise
        raise row_error(example, f"the model's processor fails on {_shown(example.images)}: {quoted(error)}") from error


@contextmanager
def tokenizing() -> Iterator[None]:
    """Turn every error of a tokenizer on a response into a `DataError`; whoever knows the row adds its name."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, DataError) or is_shortage(error) or not is_of_library(error):
            raise
        raise DataError([Problem("", "", f"the model's tokenizer fails on it: {quoted(error)}")]) from error


def require_resizable(image_processor: Any, example: Example, max_pixels: int) -> None:
    """Raise `DataError` if the processor would scale or pad an image of the row to more than ``max_pixels``."""
    for image in example.images:
        pixels = _resized_pixels(image_processor, *sorted(image.size))
        if pixels > max_pixels:
            size = f"{image.width} x {image.height} pixels, which the model's processor makes {pixels}"
            raise row_error(
                example, f"an image has {size}; cut it, or raise model.max_resized_pixels, which is {max_pixels}"
            )


def row_error(example: Example, message: str) -> DataError:
    """The error that says ``message`` about a row."""
    return DataError([Problem(f"example '{example.id}'", "", message)])


def _resized_pixels(image_processor: Any, shorter: int, longer: int) -> int:
    """The pixels of an image that was padded to a square, or whose shorter side was scaled to a fixed length."""
    if getattr(image_processor, "do_pad", False) and hasattr(image_processor, "pad_to_square"):
        return longer**2
    size = getattr(image_processor, "size", None)
    edge, limit = (size.get("shortest_edge"), size.get("longest_edge")) if size else (None, None)
    return edge**2 * longer // shorter if edge and not limit else 0


def _shown(images: Sequence[Image]) -> str:
    """``the image of 40 x 30 pixels``, or the first sizes of several images."""
    sizes = [f"{image.width} x {image.height}" for image in images]
    if not sizes:
        return "a prompt without images"
    listed = ", ".join(sizes[:_SIZES_SHOWN]) + (", ..." if len(sizes) > _SIZES_SHOWN else "")
    return f"the image of {listed} pixels" if len(sizes) == 1 else f"{len(sizes)} images ({listed} pixels)"
