"""Image files: each gives the picture that people see, or a `DataError` with the reason."""

from __future__ import annotations

import errno
import io
import struct
import subprocess
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from PIL import PngImagePlugin
from PIL.Image import Transpose
from support.pictures import SIZE, as_bytes, noise, png, png_chunk, require_format, upright

from mdpo_core import DataError, ImageOptions, read_image

# What lays the upright picture down as each orientation says.
LAID_DOWN = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
ORIENTED = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
RED, BLUE, WHITE = (200, 30, 30), (30, 30, 200), (250, 250, 250)


def refused(content: bytes, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_image(content, ImageOptions(**options))
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    return message


def require_upright(image: PIL.Image.Image) -> None:
    assert (image.mode, image.size) == ("RGB", SIZE)
    for place, color in (((2, 2), WHITE), ((10, 20), RED), ((30, 20), BLUE)):
        assert np.abs(np.subtract(image.getpixel(place), color)).max() <= 16, place  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ORIENTED)
@pytest.mark.parametrize("number", [1, *LAID_DOWN])
def test_a_picture_is_turned_as_its_orientation_says(name: str, number: int) -> None:
    form = name.split()[0]
    require_format(form)
    laid = upright() if number == 1 else upright().transpose(LAID_DOWN[number])
    exif = PIL.Image.Exif()
    exif[0x0112] = number
    image = read_image(as_bytes(laid, form, exif=exif, **ORIENTED[name]))
    require_upright(image)
    require_upright(PIL.ImageOps.exif_transpose(image))


XMP = {
    "attribute": '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>',
    "element": "<rdf:Description><tiff:Orientation>{}</tiff:Orientation></rdf:Description>",
    "other quotes and spaces": "<rdf:Description tiff:Orientation = '{}'/>",
    "element with spaces": "<rdf:Description><tiff:Orientation>\n {} \n</tiff:Orientation></rdf:Description>",
}


def with_xmp(image: PIL.Image.Image, name: str, packet: str, **more: Any) -> bytes:
    """The picture as a file of a format, with an XMP packet where the format has its place for it."""
    form = name.split()[0]
    require_format(form)
    if form == "TIFF":
        return as_bytes(image, form, tiffinfo={700: packet.encode()}, **more)
    if form != "PNG":
        return as_bytes(image, form, xmp=packet.encode(), **ORIENTED[name], **more)
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet.encode())
    content, end = as_bytes(image, form, **more), png_chunk(b"IEND", b"")
    # One place before the pixels, and one behind them: both are allowed.
    return content[:33] + text + content[33:] if name == "PNG" else content.removesuffix(end) + text + end


@pytest.mark.parametrize("form", ["JPEG", "MPO", "PNG", "PNG with its XMP at the end", "WEBP", "AVIF"])
@pytest.mark.parametrize("words", XMP)
@pytest.mark.parametrize("number", [1, 3, 6, 8])
def test_a_picture_is_turned_as_its_xmp_says(form: str, words: str, number: int) -> None:
    laid = upright() if number == 1 else upright().transpose(LAID_DOWN[number])
    require_upright(read_image(with_xmp(laid, form, XMP[words].format(number))))


def test_a_tiff_is_turned_once_where_pillow_reads_its_xmp() -> None:
    content = with_xmp(upright().transpose(LAID_DOWN[6]), "TIFF", XMP["attribute"].format(6))
    with PIL.Image.open(io.BytesIO(content)) as image:
        if 0x0112 not in image.getexif():
            pytest.skip("this Pillow does not look for XMP in TIFF")
    require_upright(read_image(content))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_comes_before_xmp_unless_it_is_damaged(form: str) -> None:
    exif, xmp = PIL.Image.Exif(), XMP["attribute"]
    exif[0x0112] = 1
    require_upright(read_image(with_xmp(upright(), form, xmp.format(6), exif=exif)))
    laid = upright().transpose(LAID_DOWN[6])
    for block in (b"Exif\0\0nothing of the kind", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        require_upright(read_image(with_xmp(laid, form, xmp.format(6), exif=block)))


@pytest.mark.parametrize("said", ["0", "9", "", "six"])
def test_an_xmp_orientation_that_is_none_turns_nothing(said: str) -> None:
    for words in XMP.values():
        require_upright(read_image(with_xmp(upright(), "JPEG", words.format(said))))


@pytest.mark.parametrize(
    "stored",
    [
        struct.pack("<HII", 3, 1, 0),
        struct.pack("<HII", 3, 1, 9),
        struct.pack("<HII", 2, 2, ord("6")),
    ],
    ids=["0", "9", "a text"],
)
def test_an_orientation_that_is_none_turns_nothing(stored: bytes) -> None:
    block = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01" + stored + bytes(4)
    require_upright(read_image(as_bytes(upright(), "PNG", exif=block)))


def test_a_damaged_exif_block_leaves_the_picture_as_it_is_stored() -> None:
    for block in (b"Exif\0\0nothing of the kind", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\xff\xff\xff\xff"):
        for form in ("JPEG", "PNG", "WEBP"):
            require_upright(read_image(as_bytes(upright(), form, exif=block, quality=95)))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_a_printers_colours_are_those_of_the_picture(form: str) -> None:
    require_upright(read_image(as_bytes(upright().convert("CMYK"), form)))


def test_lab_and_ycbcr_are_those_of_the_picture() -> None:
    from PIL import ImageCms

    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    in_lab = ImageCms.profileToProfile(upright(), rgb, lab, outputMode="LAB")  # type: ignore[arg-type]
    assert in_lab is not None
    for image in (in_lab, upright().convert("YCbCr")):
        require_upright(read_image(as_bytes(image, "TIFF")))


def ink(ground: int = 0) -> PIL.Image.Image:
    """Black ink, ``ground`` where it is transparent: the left half is ink."""
    image = PIL.Image.new("RGBA", (8, 4), (ground, ground, ground, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 4))
    return image


def with_colour_key(mode: str, key: object) -> bytes:
    image = PIL.Image.new(mode, (8, 4), key)  # type: ignore[arg-type]
    image.paste(0 if mode == "L" else (0, 0, 0), (0, 0, 4, 4))
    return as_bytes(image, "PNG", transparency=key)


TRANSPARENT = {
    "RGBA PNG": lambda: as_bytes(ink(), "PNG"),
    "RGBA WebP": lambda: as_bytes(ink(), "WEBP", lossless=True),
    "RGBA TIFF": lambda: as_bytes(ink(), "TIFF"),
    "RGBA, white below": lambda: as_bytes(ink(255), "PNG"),
    "LA PNG": lambda: as_bytes(ink().convert("LA"), "PNG"),
    "LA TIFF": lambda: as_bytes(ink().convert("LA"), "TIFF"),
    "palette PNG": lambda: as_bytes(ink().quantize(8), "PNG"),
    "GIF": lambda: as_bytes(ink(), "GIF"),
    "tRNS of L": lambda: with_colour_key("L", 7),
    "tRNS of RGB": lambda: with_colour_key("RGB", (7, 8, 9)),
    "tRNS of 2 bits": lambda: png(8, 4, 2, 0, [bytes([0b00000000, 0b01010101])] * 4, png_chunk(b"tRNS", b"\0\1")),
    "tRNS of 4 bits": lambda: png(8, 4, 4, 0, [bytes([0, 0, 0x55, 0x55])] * 4, png_chunk(b"tRNS", b"\0\5")),
    "tRNS of 16 bits": lambda: png(
        8,
        4,
        16,
        2,
        [struct.pack(">24H", *[0] * 12, *[1000] * 12)] * 4,
        png_chunk(b"tRNS", struct.pack(">3H", *[1000] * 3)),
    ),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_pixels_show_the_background(name: str) -> None:
    for options, ground in ((ImageOptions(), (255, 255, 255)), (ImageOptions(background="#102030"), (16, 32, 48))):
        image = read_image(TRANSPARENT[name](), options)
        assert (image.mode, image.size) == ("RGB", (8, 4))
        assert (image.getpixel((1, 1)), image.getpixel((6, 1))) == ((0, 0, 0), ground)


def test_half_transparent_pixels_are_mixed_with_the_background() -> None:
    image = read_image(as_bytes(PIL.Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    assert image.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "1", "P", "CMYK"])
def test_pictures_without_orientation_and_transparency_have_the_pixels_of_pillow(mode: str) -> None:
    for form in ("TIFF", "JPEG") if mode == "CMYK" else ("TIFF", "PNG"):
        content = as_bytes(noise().convert(mode), form)
        with PIL.Image.open(io.BytesIO(content)) as image:
            assert read_image(content).tobytes() == image.convert("RGB").tobytes()


def test_a_thin_picture_is_refused_with_its_size_and_the_option() -> None:
    for size in ((1, 1_000_000), (30_000, 2)):
        content = as_bytes(PIL.Image.new("L", size), "PNG")
        assert f"{size[0]} x {size[1]} pixels, is too thin for the reader's max_aspect_ratio = 500" in refused(content)
    wide = as_bytes(PIL.Image.new("L", (500, 1)), "PNG")
    assert read_image(wide).size == (500, 1)
    assert "max_aspect_ratio = 499.5" in refused(wide, max_aspect_ratio=499.5)


def test_a_large_picture_is_refused_with_its_pixels_and_the_option() -> None:
    content = as_bytes(upright(), "PNG")
    for limit in (1199, 500):  # Pillow only warns of the first
        message = refused(content, max_pixels=limit)
        assert f"it has 1200 pixels, more than the reader's max_pixels = {limit}, and could be" in message
    assert read_image(content, ImageOptions(max_pixels=1200)).size == SIZE


def test_a_file_longer_than_any_picture_is_not_read_into_memory(tmp_path: Path) -> None:
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="it has 1099511627776 bytes"):
        read_image(tmp_path / "long.png")


def test_pillows_own_limits_stay_as_they_were() -> None:
    before = PIL.Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    read_image(as_bytes(upright(), "PNG"), ImageOptions(max_pixels=5000))
    refused(b"", max_pixels=5000)
    assert before == (PIL.Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK)


@pytest.mark.parametrize("form", ["EPS", "PCX", "PDF", "ICO"])
def test_only_known_formats_are_opened_and_none_starts_a_program(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    monkeypatch.setattr(subprocess, "Popen", started)
    assert refused(as_bytes(upright(), form)).startswith("it is ")


def test_a_long_text_beside_the_pixels_does_not_matter() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "mdpo " * 250_000, zip=True)
    assert read_image(as_bytes(upright(), "PNG", pnginfo=texts)).tobytes() == upright().tobytes()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("share", [0.4, 0.5, 0.75])
def test_a_file_that_was_written_in_part_is_refused(form: str, share: float) -> None:
    require_format(form)
    content = as_bytes(noise(), form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
    kept = int(len(content) * share)
    refused(content[:kept])
    refused(content[:kept] + b"\0" * (len(content) - kept))


def chunks(content: bytes) -> Iterator[tuple[bytes, int]]:
    """The name of each chunk of a PNG, and the place of its checksum."""
    place = 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        yield content[place + 4 : place + 8], place + 8 + length
        place += 12 + length


def test_a_wrong_checksum_in_any_chunk_of_a_png_is_refused() -> None:
    content = as_bytes(noise(), "PNG", dpi=(72, 72))
    end = content.rindex(b"IEND") - 4
    content = content[:end] + png_chunk(b"tEXt", b"behind\0the pixels") + content[end:]
    found = list(chunks(content))
    assert {name for name, _ in found} == {b"IHDR", b"pHYs", b"tEXt", b"IDAT", b"IEND"}
    for name, checksum in found:
        changed = content[:checksum] + bytes([content[checksum] ^ 1]) + content[checksum + 1 :]
        words = "a damaged image" if name == b"IHDR" else f"its chunk {name!r} has a wrong checksum"
        assert words in refused(changed)


def test_pixels_of_a_png_that_decode_to_others_are_refused() -> None:
    row = bytes(range(60))
    content = png(20, 1, 8, 2, [row])
    changed = content.replace(zlib.compress(b"\0" + row), zlib.compress(b"\0" + row[:-1] + b"\0"))
    assert len(changed) == len(content)
    with PIL.Image.open(io.BytesIO(changed)) as image:
        assert image.convert("RGB").tobytes() != row
    assert refused(changed) == "its chunk b'IDAT' has a wrong checksum: the file is damaged"


def test_flat_pictures_are_whole_though_they_end_in_zeros() -> None:
    for form in ("WEBP", "AVIF"):
        require_format(form)
        for color in ("white", "black"):
            content = as_bytes(PIL.Image.new("RGB", (1000, 1000), color), form)
            assert read_image(content).getpixel((999, 999)) == (255 * (color == "white"),) * 3


def test_bytes_behind_a_jpeg_do_not_matter() -> None:
    content = as_bytes(noise(), "JPEG", exif=b"Exif\0\0" + b"\xff\xd9" * 9)
    for tail in (b"\0" * 5000, b"\xff\xda\0\0" * 50, b"tail"):  # padding, the video of a telephone, anything
        assert read_image(content + tail).tobytes() == read_image(content).tobytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"\xef\xbb\xbf\n<HTML><head>", "a web page"),
        (b"<!-- x --><!-- y -->\n<html>", "a web page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "an SVG drawing"),
        (b'<?xml version="1.0"?>\n<!-- made -->\n<svg/>', "an SVG drawing"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'{"error": "not found"}', "a JSON text"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photograph"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"PK\x03\x04" + b"x" * 50, "an archive"),
        (b"\0" * 5000, "a file that begins with zeros"),
        (b"\xff\xd8\xff" + b"x" * 50, "a damaged image"),
        (b"GIF8 is no version", "a damaged image"),
        (b"no picture", "not an image that Pillow can read as JPEG, PNG, "),
        (b"", "empty"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(content: bytes, words: str) -> None:
    assert refused(content).startswith(f"it is {words}")


RAMP = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
GREYS = [0, 0, 1, 1, 128, 255]  # a 257th of each, rounded by hand


def grey(levels: np.ndarray[Any, Any], form: str, **options: Any) -> bytes:
    return as_bytes(PIL.Image.fromarray(levels), form, **options)


DEEP = {
    "PNG": lambda: grey(RAMP, "PNG"),
    "TIFF": lambda: grey(RAMP, "TIFF"),
    "TIFF lzw": lambda: grey(RAMP, "TIFF", compression="tiff_lzw"),
    "JPEG 2000": lambda: grey(np.tile(RAMP, (6, 1)), "JPEG2000"),
    "PGM": lambda: b"P5 6 1 65535\n" + RAMP.astype(">u2").tobytes(),
    "TIFF of floats": lambda: grey((RAMP / 65535).astype(np.float32), "TIFF"),
    "PFM": lambda: b"Pf 6 1 -1.0\n" + (RAMP / 65535).astype("<f4").tobytes(),
    "TIFF whose white is 0": lambda: grey(65535 - RAMP, "TIFF", tiffinfo={262: 0}),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_grey_goes_from_black_to_white(name: str) -> None:
    image = read_image(DEEP[name]())
    assert [image.getpixel((x, 0)) for x in range(6)] == [(level,) * 3 for level in GREYS]


def test_a_transparent_level_of_16_bits_shows_the_background() -> None:
    for key, ground in ((129, (0, 0, 255)), (128, (1, 1, 1))):
        content = png(6, 1, 16, 0, [RAMP.astype(">u2").tobytes()], png_chunk(b"tRNS", struct.pack(">H", key)))
        assert read_image(content, ImageOptions(background="#0000ff")).getpixel((2, 0)) == ground


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (np.array([[0, 255]], np.float32), "its pixels are floats from 0 to 255, and must lie from 0 (black) to 1"),
        (np.array([[-0.5, 1]], np.float32), "its pixels are floats from -0.5 to 1, and must lie"),
        (np.array([[0, np.nan]], np.float32), "some of its pixels are no finite number; save it with"),
        (
            np.array([[0, 70_000]], np.int32),
            "its pixels are whole numbers of 32 bits, or with a sign, and nothing says",
        ),
    ],
)
def test_levels_without_black_and_white_are_refused(levels: np.ndarray[Any, Any], words: str) -> None:
    assert refused(grey(levels, "TIFF")).startswith(words)


BESIDE_PIXELS = {
    "a text of 70 MB": lambda: png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(70_000_000))),
    "a profile of 70 MB": lambda: png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(70_000_000))),
    "a profile that is none": lambda: png_chunk(b"iCCP", b"k\0\x07none"),
    "a text that is none": lambda: png_chunk(b"iTXt", b"k\0\1\0\0\0none"),
    "an XMP that is none": lambda: png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0none"),
    **{f"a short {name}": partial(png_chunk, name.encode(), b"") for name in ("pHYs", "gAMA", "cHRM", "sRGB", "acTL")},
}


@pytest.mark.parametrize("name", BESIDE_PIXELS)
def test_texts_and_profiles_of_a_png_do_not_make_it_bad(name: str) -> None:
    content = as_bytes(upright(), "PNG")
    assert read_image(content[:33] + BESIDE_PIXELS[name]() + content[33:]).tobytes() == upright().tobytes()


def test_an_orientation_in_a_text_of_imagemagick_counts() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    text = png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n" + f"{len(raw):8}\n{raw.hex()}\n".encode())
    content = as_bytes(upright().transpose(LAID_DOWN[6]), "PNG")
    require_upright(read_image(content[:33] + text + content[33:]))


def test_colours_of_16_bits_keep_their_upper_8() -> None:
    content = png(2, 1, 16, 2, [struct.pack(">6H", *[257 * value for value in (*RED, *BLUE)])])
    image = read_image(content)
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == (RED, BLUE)


def test_of_moving_pictures_the_first_is_read() -> None:
    frames = [PIL.Image.new("RGB", (8, 8), color) for color in ("red", "lime")]
    for form in ("GIF", "WEBP", "TIFF", "PNG"):
        content = as_bytes(frames[0], form, save_all=True, append_images=frames[1:])
        red, green, _ = read_image(content).getpixel((4, 4))  # type: ignore[misc]
        assert red > 200 > 50 > green


def test_a_tiff_whose_tags_reach_beyond_the_file_is_refused() -> None:
    content = as_bytes(upright(), "TIFF", tiffinfo={270: "description" * 5})
    entry = content.index(struct.pack("<HH", 270, 2))
    longer = content[: entry + 4] + struct.pack("<I", 10**6) + content[entry + 8 :]
    assert refused(longer).startswith("its tags are damaged: ")
    require_upright(read_image(content))


def test_shortage_of_the_machine_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With quarantine, a row would be left out because too many files were open."""
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "image.png")

    def fails(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(OSError, match="Too many open files"):
        read_image(tmp_path / "image.png")


def test_unused_alpha_of_a_bmp_hides_nothing() -> None:
    """Programs that write 32-bit BMP often leave the fourth byte of a pixel at 0."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 1, 1, 1, 32, 3, 4, 2835, 2835, 0, 0) + masks + b"BGRs" + bytes(48)
    start = 14 + len(header)
    content = b"BM" + struct.pack("<IHHI", start + 4, 0, 0, start) + header + bytes([200, 40, 30, 0])
    assert read_image(content).getpixel((0, 0)) == (30, 40, 200)
