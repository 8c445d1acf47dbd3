"""Which values are pictures themselves, and not paths."""

from __future__ import annotations

import re

# PNG, JPEG, GIF, WebP and BMP begin like this in base64. A path of such a name is far shorter.
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk")
# The same formats and TIFF as bytes.
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_SHORTEST_BASE64 = 80
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*", re.ASCII)


def is_embedded(value: object) -> bool:
    """Whether a value is a picture as bytes or base64, not a path."""
    found = held(value)
    return isinstance(found, bytes) or (isinstance(found, str) and base64_of(found) is not None)


def has_bytes_of_picture(value: object) -> bool:
    """Whether a value of any column is an image, or a video, with its bytes, which begin like those of one."""
    if isinstance(value, str):
        return value.startswith(("data:image/", "data:video/")) or _is_bare_base64(value)
    found = value.get("bytes") if isinstance(value, dict) else value
    return isinstance(found, bytes) and found.startswith(_STARTS)


def held(value: object) -> object:
    """The picture that an object holds; any other value as it is."""
    if not isinstance(value, dict):
        return value
    found = [value.get(key) for key in ("bytes", "path", "url")]
    return next((each for each in found if isinstance(each, bytes | str)), value)


def base64_of(text: str) -> str | None:
    """The base64 text of a picture; None for a path."""
    if text.startswith("data:"):
        return text.partition(",")[2]
    return text if _is_bare_base64(text) else None


def _is_bare_base64(text: str) -> bool:
    starts = text.startswith(_BASE64_STARTS) and len(text) >= _SHORTEST_BASE64
    return starts and _BASE64.fullmatch(text) is not None
