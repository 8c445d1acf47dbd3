"""Small pictures as files, and files that no library writes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import pytest

SIZE = (40, 30)


def upright() -> PIL.Image.Image:
    """Red on the left, blue on the right, a white corner at the upper left: it shows how it was turned."""
    image = PIL.Image.new("RGB", SIZE, (200, 30, 30))
    image.paste((30, 30, 200), (20, 0, 40, 30))
    image.paste((250, 250, 250), (0, 0, 5, 5))
    return image


def noise(width: int = 96, height: int = 64) -> PIL.Image.Image:
    """A picture without flat parts, which no compression makes small."""
    pixels = np.random.default_rng(0).normal(128, 40, (height, width, 3))
    return PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def as_bytes(image: PIL.Image.Image, form: str, **options: Any) -> bytes:
    """The picture as a file of a format."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def require_format(form: str) -> None:
    """Skip the test where Pillow cannot write a format, as older versions cannot write AVIF."""
    PIL.Image.init()
    if form not in PIL.Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, color: int, rows: Sequence[bytes], before: bytes = b"") -> bytes:
    """A PNG of any depth and colour type, with other chunks before its pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + png_chunk(b"IEND", b"")
