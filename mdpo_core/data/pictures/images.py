"""Image files to the picture that people see: upright, on a ground, in RGB; or a `DataError` that says why not."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.data.pictures.image_files import damage, instead_of_image, png_transparency, without_notes
from mdpo_core.data.pictures.levels import in_8_bits, is_deep
from mdpo_core.errors import DataError, is_shortage
from mdpo_core.types.stored_bytes import note_file, remember_stored

if TYPE_CHECKING:
    from PIL.Image import Image

# Formats without this list include some that start a program (EPS: Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
# What Pillow raises on a damaged EXIF block.
_EXIF_DAMAGE = (struct.error, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, OSError)
# What Pillow only warns of when tags are missing that say how to read the pixels.
_TIFF_DAMAGE = ("Corrupt", "Possibly corrupt", "Tag ", "Truncated")
# As an attribute, or as an element; older versions of Pillow look for it in PNG alone.
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\s*["'<]""")
_undecoded: ContextVar[bool] = ContextVar("undecoded", default=False)
_BYTES_PER_PIXEL = 16  # no format stores more, apart from a small header


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read.

    ``max_pixels``: of a picture. ``max_aspect_ratio``: of the longer side to the shorter one. ``background``: the
    colour behind transparent pixels, as Pillow names colours.
    """

    max_pixels: int = 89_478_485
    max_aspect_ratio: float = 500.0
    background: str = "white"


def read_image(source: Path | bytes, options: ImageOptions | None = None) -> Image:
    """The first picture of an image file, or of its bytes, as people see it: upright, and in RGB.

    It is turned as its EXIF orientation says, or, if EXIF says none, its XMP orientation. Transparent pixels show the
    background. Grey of 16 bits is divided by 257; floats must lie from 0 (black) to 1 (white). Raises `DataError` if
    the file is damaged, too large, too thin or no image; the message does not name the file.
    """
    from PIL import UnidentifiedImageError
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    options = options or ImageOptions()
    content = b""
    try:
        content = source if isinstance(source, bytes) else _content(source, options)
        if _undecoded.get():
            return _stand_in(content, options)
        with _limits_of_pillow(options):
            picture = _decoded(content, options)
        remember_stored(picture, content, options.background)
        return picture
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(instead_of_image(content, _FORMATS)) from error
    except (DecompressionBombError, DecompressionBombWarning) as error:
        raise DataError(_too_large(str(error), options)) from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        if is_shortage(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{reason}; download the picture, or save it, again") from error


@contextmanager
def undecoded_images() -> Iterator[None]:
    """Inside the context, `read_image` gives a picture of one pixel, which has the digests of the stored bytes."""
    token = _undecoded.set(True)
    try:
        yield
    finally:
        _undecoded.reset(token)


def _stand_in(content: bytes, options: ImageOptions) -> Image:
    import PIL.Image

    picture = PIL.Image.new("RGB", (1, 1))
    remember_stored(picture, content, options.background)
    return picture


def _content(file: Path, options: ImageOptions) -> bytes:
    note_file(file)
    size, most = file.stat().st_size, _BYTES_PER_PIXEL * options.max_pixels
    if size > most:
        raise DataError(f"it has {size} bytes; a picture of max_pixels = {options.max_pixels} has at most {most}")
    return file.read_bytes()


def _decoded(content: bytes, options: ImageOptions) -> Image:
    import PIL.Image

    if not content:
        raise DataError("it is empty")
    PIL.Image.init()
    known = [name for name in _FORMATS if name in PIL.Image.OPEN]  # AVIF came late
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        # Pillow only warns of an image that is large enough to exhaust the memory.
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(io.BytesIO(without_notes(content)), formats=known) as image:
            _require_shape(image, options)
            image.load()
            _require_undamaged(image, content, [str(each.message) for each in heard])
            if image.format == "PNG" and "transparency" in image.info:
                image.info["transparency"] = png_transparency(content, image.info["transparency"])
            picture = _upright(_in_rgb(image, options.background), _orientation(image))
            picture.info.clear()  # an orientation that stays would turn the picture again
            return picture


def _require_shape(image: Image, options: ImageOptions) -> None:
    shorter, longer = sorted(image.size)
    if longer > options.max_aspect_ratio * shorter:
        size, limit = f"{image.width} x {image.height}", f"the reader's max_aspect_ratio = {options.max_aspect_ratio:g}"
        raise DataError(f"its shape, {size} pixels, is too thin for {limit}; cut it, or raise that")


def _too_large(pillows: str, options: ImageOptions) -> str:
    """The sentence about a decompression bomb; the number of pixels stands in Pillow's own sentence, in parentheses."""
    pixels = pillows.partition("(")[2].partition(")")[0] or "too many pixels"
    limit = f"the reader's max_pixels = {options.max_pixels}"
    return (
        f"it has {pixels}, more than {limit}, and could be a decompression bomb; make it smaller, or raise that option"
    )


def _require_undamaged(image: Image, content: bytes, heard: Sequence[str]) -> None:
    """Raise `DataError` for damage that decoding passed over, or only warned of in ``heard``."""
    tags = [text for text in heard if text.startswith(_TIFF_DAMAGE)]
    if image.format == "TIFF" and tags:
        raise DataError(f"its tags are damaged: {' '.join(tags[0].split())}")
    found = damage(content, image.format)
    if found is not None:
        raise DataError(found)


def _in_rgb(image: Image, background: str) -> Image:
    import PIL.Image

    if is_deep(image):
        # Pillow's way from these to RGB is to clip at 255, which turns most of such an image white.
        image = in_8_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = seen.getchannel("A").getextrema()
    # Programs that write BMP often leave the fourth byte of a pixel at 0, and viewers ignore it then.
    if alpha == (255, 255) or (alpha == (0, 0) and image.format == "BMP"):
        return image.convert("RGB")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", seen.size, background), seen).convert("RGB")


def _orientation(image: Image) -> int:
    """The orientation that EXIF says, or else XMP, from 1 to 8; 1, as in viewers, if neither says one."""
    return _exif_orientation(image) or _xmp_orientation(image) or 1


def _exif_orientation(image: Image) -> int | None:
    """None if there is no orientation from 1 to 8, or if the EXIF block is damaged."""
    from PIL.ExifTags import Base

    try:
        found = image.getexif().get(Base.Orientation)
    except _EXIF_DAMAGE:
        return None
    return found if isinstance(found, int) and 1 <= found <= 8 else None


def _xmp_orientation(image: Image) -> int | None:
    """None if the XMP packet says no orientation from 1 to 8, and for TIFF, which Pillow turned as it decoded it."""
    packet = image.info.get("xmp")
    if image.format == "TIFF" or not isinstance(packet, bytes):
        return None
    found = _XMP_ORIENTATION.search(packet)
    return int(found[1]) if found else None


def _upright(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    how = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image if orientation == 1 else image.transpose(how[orientation])


@contextmanager
def _limits_of_pillow(options: ImageOptions) -> Iterator[None]:
    """Set Pillow's limit on pixels, which also holds for pictures within a picture, and allow it one long text."""
    import PIL.Image
    from PIL import PngImagePlugin

    before = PIL.Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    PIL.Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = options.max_pixels, PngImagePlugin.MAX_TEXT_MEMORY
    try:
        yield
    finally:
        PIL.Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before
