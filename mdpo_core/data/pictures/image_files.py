"""What an image file holds: damage that decoders do not notice, and files that are no images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from mdpo_core.data.pictures.file_kinds import other_kind

_PNG_SIGNATURE, _PNG_CHUNK, _PNG_CRC = 8, struct.Struct(">I4s"), struct.Struct(">I")
_PNG_START = b"\x89PNG\r\n\x1a\n"
# The chunks of a PNG that its pixels, its ground and its orientation depend on.
_PNG_USED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
_PNG_USED_NOTES = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_JPEG_END, _JPEG_SCAN = b"\xff\xd9", 0xDA
# A flat WebP ends in zeros, which are 6 % of its bytes; a file that was not written whole ends in more.
_MOST_ZEROS = 1 / 8

_OTHER_KINDS = (
    (rb"\s*(<.*)?<(!doctype\s+svg|svg)\b", "an SVG drawing; save it as PNG"),
    (rb"\s*<\?xml", "an XML document, such as the error of a web server; download the image again"),
    (rb"\s*[{\[]\s*[\"{\[\]}]", "a JSON text, such as the error of a web server; download the image again"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file, which is a program; save it as PNG"),
    (rb"%PDF", "a PDF document; save its page as PNG"),
    (rb"....ftyp(hei[cxms]|hev|mif1|msf1)", "a HEIC photograph; save it as JPEG"),
    (rb"....ftyp(?!avi)|\x1aE\xdf\xa3|RIFF....AVI ", "a video; save one of its frames as an image"),
    (
        rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|....ftypavi|II\*\0|MM\0\*|\0\0\0\x0cjP  ",
        "a damaged image, or one of a kind that Pillow does not know; download it again, or save it as PNG",
    ),
)


def instead_of_image(content: bytes, formats: Sequence[str]) -> str:
    """What a file is that has none of the ``formats``, and what to do about it."""
    found = other_kind(content, _OTHER_KINDS)
    return f"it is {found or 'not an image that Pillow can read as ' + ', '.join(formats)}"


def damage(content: bytes, form: str | None) -> str | None:
    """Damage to a file of this format that shows without decoding: a wrong checksum, or an end that is missing.

    Decoders pass over it and fill the rest of the picture. None if there is none, or if the format cannot show any.
    """
    if form == "PNG":
        return _png_damage(content)
    if form in ("JPEG", "MPO") and not _has_jpeg_end(content):
        return "its end marker is missing: the file was cut off, or not written whole"
    zeros = len(content) - len(content.rstrip(b"\0"))
    if form in ("WEBP", "AVIF") and zeros > len(content) * _MOST_ZEROS:
        return f"its last {zeros} bytes are zeros: the file was not written whole"
    return None


def _png_damage(content: bytes) -> str | None:
    place, name, view = _PNG_SIGNATURE, b"", memoryview(content)
    while name != b"IEND":
        if place + _PNG_CHUNK.size > len(content):
            return "its last chunk (IEND) is missing: the file was cut off, or not written whole"
        length, name = _PNG_CHUNK.unpack_from(content, place)
        end = place + _PNG_CHUNK.size + length
        if end + _PNG_CRC.size > len(content):
            return f"its chunk {name!r} ends behind the file: the file was cut off, or not written whole"
        if zlib.crc32(view[place + 4 : end]) != _PNG_CRC.unpack_from(content, end)[0]:
            return f"its chunk {name!r} has a wrong checksum: the file is damaged"
        place = end + _PNG_CRC.size
    return None


def without_notes(content: bytes) -> bytes:
    """A PNG without the texts, colour profiles and times beside its pixels; anything else as it is.

    Pillow decodes them, and refuses a picture if one of them is long or odd.
    """
    if not content.startswith(_PNG_START):
        return content
    kept, place = [content[:_PNG_SIGNATURE]], _PNG_SIGNATURE
    while place + _PNG_CHUNK.size <= len(content):
        length, name = _PNG_CHUNK.unpack_from(content, place)
        start, end = place + _PNG_CHUNK.size, place + _PNG_CHUNK.size + length + _PNG_CRC.size
        if name in _PNG_USED or content.startswith(_PNG_USED_NOTES, start):
            kept.append(content[place:end])
        place = end
    return b"".join(kept)


def _has_jpeg_end(content: bytes) -> bool:
    """Whether the end marker comes after the first scan; a thumbnail before it has one of its own."""
    if content.endswith(_JPEG_END):
        return True
    place = 2
    while place + 4 <= len(content) and content[place + 1] != _JPEG_SCAN:
        fill = content[place + 1] == 0xFF  # a marker may stand behind fill bytes
        place += 1 if fill else 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return _JPEG_END in content[place:]


def png_transparency(content: bytes, value: object) -> object:
    """The transparent colour of a PNG in 8 bits a channel, as Pillow gives the pixels.

    ``value``: the colour in the depth of the file, as Pillow leaves it, or a palette's transparency, which stays.
    """
    depth, color = content[24], content[25]
    if depth == 16 and isinstance(value, tuple):
        return tuple(channel >> 8 for channel in value)
    if color == 0 and depth in (2, 4) and isinstance(value, int):
        return value * 255 // (2**depth - 1)
    return value
