"""Which values are pictures themselves, and which name their files."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping

# PNG, JPEG, GIF, WebP, BMP, TIFF, PPM, JPEG 2000 and AVIF begin like this in base64; a path like it is far shorter.
_BASE64_START = re.compile(r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk|SUkqA|TU0AK|UDYK|AAAADGpQIC|AAAA.[GWm2]Z0eX")
# The same formats, JPEG 2000 and Matroska as bytes; AVIF and MP4 have b"ftyp" in the place of _BOX.
_STARTS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"RIFF",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P6\n",
    b"\0\0\0\x0cjP  ",
    b"\x1aE\xdf\xa3",
)
_BOX = slice(4, 8)
# Of these, the pictures: the boxes and RIFF also begin videos.
_PICTURE = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|P6\n|\0\0\0\x0cjP  |....ftypavi[fs]", re.DOTALL
)
_PICTURE_START = 16  # bytes, more than the longest of these
_SHORTEST_BASE64 = 80
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*", re.ASCII)
# The keys under which an object holds a picture or names its file.
PICTURE_KEYS = ("bytes", "path", "url", "base64", "data", "image", "image_url", "file", "file_name", "filename", "src")
_OF_BASE64 = ("base64", "data")
_AROUND = ("source",)  # an object in it holds the picture: {type: base64, media_type, data}
# The endings of all pictures. One of a format that `read_image` does not read, such as HEIC, is refused, not left out.
PICTURE_ENDINGS = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff", "avif", "avifs"),
    *("jp2", "j2k", "jpx", "jpf", "jpc", "j2c", "ppm", "pgm", "pbm", "pnm", "pfm", "tga", "ico", "icns", "qoi"),
    *("psd", "pcx", "dds", "sgi", "heic", "heif"),
)
VIDEO_ENDINGS = ("mp4", "m4v", "webm", "avi", "mov", "mkv", "mpg", "mpeg", "wmv", "flv", "3gp", "ogv")
_LONGEST_NAME = 4096  # letters


def is_embedded(value: object) -> bool:
    """Whether a value is a picture as bytes or base64, not a path."""
    found = held(value)
    return isinstance(found, bytes) or (isinstance(found, str) and base64_of(found) is not None)


def has_bytes_of_picture(value: object) -> bool:
    """Whether a value of any column is an image, or a video, with its bytes, which begin like those of one.

    An object is one if such a value is under a key of ``PICTURE_KEYS``.
    """
    if isinstance(value, Mapping):
        return any(has_bytes_of_picture(value[key]) for key in PICTURE_KEYS if key in value)
    if isinstance(value, str):
        return value.startswith(("data:image/", "data:video/")) or _is_bare_base64(value)
    return isinstance(value, bytes) and (value.startswith(_STARTS) or value[_BOX] == b"ftyp")


def is_embedded_picture(value: bytes | str) -> bool:
    """Whether bytes, or a text in base64 or a data URI, are a picture, not a video."""
    if isinstance(value, bytes):
        return _PICTURE.match(value) is not None
    if value.startswith("data:"):
        return value.startswith("data:image/")
    start = "".join(value[:_SHORTEST_BASE64].split())[: 2 * _PICTURE_START]
    return _is_bare_base64(value) and _PICTURE.match(b64decode(start)) is not None


def names_picture(text: str) -> bool:
    """Whether a text is the path or the address of a picture, by its ending."""
    return _ending(text) in PICTURE_ENDINGS


def names_video(text: str) -> bool:
    """Whether a text is the path or the address of a video, by its ending."""
    return _ending(text) in VIDEO_ENDINGS


def _ending(text: str) -> str:
    """The ending of a path or an address, in lower case; empty text if the text is neither."""
    name, _, ending = text.partition("?")[0].rpartition(".")
    return ending.lower() if name.strip() and len(text) <= _LONGEST_NAME and "\n" not in text else ""


def named_file(value: object) -> str:
    """The path or the address that a value of any column may name a picture by; empty text if there is none."""
    if isinstance(value, Mapping):
        found = (named_file(value[key]) for key in PICTURE_KEYS if key in value)
        return next(filter(None, found), "")
    return value if isinstance(value, str) else ""


def held(value: object) -> object:
    """The picture that an object, or a part of a message, holds: bytes or text; any other value as it is."""
    if not isinstance(value, dict):
        return value
    found = [_under(value, key) for key in (*PICTURE_KEYS, *_AROUND)]
    found = [each for each in found if isinstance(each, bytes | str)]
    return next(filter(None, found), found[0] if found else value)


def _under(value: Mapping[str, object], key: str) -> object:
    """What an object holds under a key: a text in base64 as a data URI."""
    inner = value.get(key)
    if isinstance(inner, dict):
        return held(inner)
    if key in _AROUND:
        return None
    is_bare = key in _OF_BASE64 and isinstance(inner, str) and bool(inner) and not inner.startswith("data:")
    return f"data:;base64,{inner}" if is_bare else inner


def base64_of(text: str) -> str | None:
    """The base64 text of a picture; None for a path."""
    if text.startswith("data:"):
        return text.partition(",")[2]
    return text if _is_bare_base64(text) else None


def _is_bare_base64(text: str) -> bool:
    starts = len(text) >= _SHORTEST_BASE64 and _BASE64_START.match(text) is not None
    return starts and _BASE64.fullmatch(text) is not None
