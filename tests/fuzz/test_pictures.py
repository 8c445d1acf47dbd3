"""Bytes of pictures, mutated: each is read as RGB, or refused in one line, and soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import adapter, plain_inputs
from support.pictures import as_bytes, noise, png, png_chunk, upright

from mdpo_core import DataError, Example, ImageOptions, read_image

SECONDS = 10  # for one picture of at most a million pixels, on a busy machine
OPTIONS = ImageOptions(max_pixels=1_000_000)
Draw = Callable[[st.SearchStrategy[Any]], Any]


@cache
def seeds() -> dict[str, bytes]:
    """Pictures of every format that is read, most with what lies beside the pixels, and some that are not read."""
    PIL.Image.init()
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    small, clear = noise(24, 16), upright().convert("RGBA").resize((20, 15))
    clear.putalpha(small.convert("L").resize((20, 15)))
    made: dict[str, tuple[PIL.Image.Image, str, dict[str, Any]]] = {
        "jpeg": (small, "JPEG", {"exif": exif, "comment": b"x" * 20}),
        "progressive": (small, "JPEG", {"progressive": True, "icc_profile": b"x" * 40}),
        "cmyk": (small.convert("CMYK"), "JPEG", {}),
        "mpo": (small, "MPO", {"save_all": True, "append_images": [small]}),
        "png": (small, "PNG", {"exif": exif, "dpi": (72, 72)}),
        "png alpha": (clear, "PNG", {}),
        "png palette": (clear.quantize(16), "PNG", {"exif": exif}),
        "png key": (small.convert("L"), "PNG", {"transparency": 128}),
        "apng": (small, "PNG", {"save_all": True, "append_images": [clear.convert("RGB").resize((24, 16))]}),
        "png deep": (PIL.Image.new("I;16", (9, 9), 999), "PNG", {}),
        "webp": (small, "WEBP", {"exif": exif}),
        "webp alpha": (clear, "WEBP", {"lossless": True}),
        "webp moving": (small, "WEBP", {"save_all": True, "append_images": [clear.resize((24, 16))]}),
        "gif": (clear, "GIF", {}),
        "gif moving": (small, "GIF", {"save_all": True, "append_images": [small.rotate(90)], "comment": b"x" * 9}),
        "bmp": (small, "BMP", {}),
        "tiff": (small, "TIFF", {"exif": exif}),
        "tiff lzw": (clear, "TIFF", {"compression": "tiff_lzw"}),
        "tiff jpeg": (small, "TIFF", {"compression": "jpeg"}),
        "tiff pages": (small, "TIFF", {"save_all": True, "append_images": [clear.convert("RGB")]}),
        "ppm": (small, "PPM", {}),
        "jpeg 2000": (small, "JPEG2000", {}),
        "avif": (small, "AVIF", {"exif": exif}),
        "ico": (clear, "ICO", {}),
        "eps": (small, "EPS", {}),
    }
    files = {
        name: as_bytes(image, form, **more) for name, (image, form, more) in made.items() if form in PIL.Image.SAVE
    }
    others = {
        "plain ppm": b"P3 2 2 255 " + b"1 2 3 " * 4,
        "svg": b"<svg/>",
        "lfs": b"version https://git-lfs.github.com",
    }
    return files | others | {"png 4 bits": png(4, 1, 4, 0, [b"\x12\x34"], png_chunk(b"tRNS", b"\0\1"))}


def mutated(draw: Draw, content: bytes) -> bytes:
    """The file after a change: of bytes, of lengths, of order, or by a piece of another file."""
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + draw(st.sampled_from([1, 2, 4, 16, 10_000])))))
    before, piece, after = content[:start], content[start:end], content[end:]
    match draw(
        st.sampled_from(["bytes", "zeros", "ones", "cut", "drop", "twice", "insert", "splice", "swap", "chunk"])
    ):
        case "bytes":
            return before + draw(st.binary(min_size=len(piece), max_size=len(piece))) + after
        case "zeros":
            return before + b"\0" * len(piece) + after
        case "ones":
            return before + b"\xff" * len(piece) + after
        case "cut":
            return before
        case "drop":
            return before + after
        case "twice":
            return before + piece * draw(st.integers(2, 50)) + after
        case "insert":
            return before + draw(st.binary(max_size=40)) + piece + after
        case "splice":
            return before + draw(st.sampled_from(sorted(seeds().values())))[start:]
        case "swap":
            return after + piece + before
        case _:
            return with_chunk(draw, content)


def with_chunk(draw: Draw, content: bytes) -> bytes:
    """A PNG with another chunk, or with another header, whose checksum is right; other files grow at their end."""
    if not content.startswith(b"\x89PNG") or len(content) < 33:
        return content + draw(st.binary(max_size=200))
    if draw(st.booleans()):
        numbers = st.sampled_from([0, 1, 2, 3, 4, 6, 8, 16, 255])
        sides = st.sampled_from([0, 1, 300, 70_000, 2**31 - 1, 2**32 - 1])
        header = b"".join(draw(sides).to_bytes(4, "big") for _ in range(2)) + bytes(draw(numbers) for _ in range(5))
        return content[:8] + png_chunk(b"IHDR", header) + content[33:]
    names = [b"eXIf", b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"acTL", b"fcTL", b"gAMA", b"sRGB", b"IDAT"]
    return content[:33] + png_chunk(draw(st.sampled_from(names)), draw(st.binary(max_size=60))) + content[33:]


def outcome(action: Callable[[], Any]) -> Any:
    """What ``action`` returns, or the message of the `DataError` that it raises."""
    try:
        return action()
    except DataError as error:
        return str(error)


def require_read_or_refused(content: bytes) -> None:
    started = time.monotonic()
    found = outcome(lambda: read_image(content, OPTIONS))
    assert time.monotonic() - started < SECONDS
    if isinstance(found, str):
        assert found.strip()
        assert len(found.splitlines()) == 1
        assert len(found) < 400
    else:
        assert found.mode == "RGB"
        assert found.width * found.height <= OPTIONS.max_pixels
        assert len(found.tobytes()) == 3 * found.width * found.height


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=250, derandomize=True)
@given(data=st.data())
def test_a_mutated_picture_is_read_or_refused(data: st.DataObject) -> None:
    content = seeds()[data.draw(st.sampled_from(sorted(seeds())))]
    for _ in range(data.draw(st.integers(1, 3))):
        content = mutated(data.draw, content)
    require_read_or_refused(content)


@pytest.mark.timeout(3600)
@pytest.mark.nightly(reason="many more mutations of the same pictures")
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=20_000)
@given(data=st.data())
def test_of_many_mutated_pictures_each_is_read_or_refused(data: st.DataObject) -> None:
    content = seeds()[data.draw(st.sampled_from(sorted(seeds())))]
    for _ in range(data.draw(st.integers(1, 8))):
        content = mutated(data.draw, content)
    require_read_or_refused(content)


@pytest.mark.nightly(reason="one picture of each kind is tried with its processor more often")
@pytest.mark.parametrize("family", ["qwen2_vl", "llava_next", "llava_onevision", "idefics3", "gemma3", "internvl"])
def test_a_picture_of_any_shape_is_encoded_or_refused(family: str, tmp_path: Path) -> None:
    build_vlm(family, tmp_path)
    encoder, num_read = adapter(family, tmp_path).encoder(), 0
    for size in [(1, 1), (2, 1), (3, 500), (500, 1), (1, 500), (199, 1), (201, 1), (1000, 3), (7, 1000), (999, 1000)]:
        row = Example("1", "<image>\nWhat is in the picture?", {}, (PIL.Image.new("RGB", size, "red"),))
        found = outcome(lambda row=row: encoder.encode_prompt(row))  # type: ignore[misc]
        if isinstance(found, str):
            assert f"{size[0]} x {size[1]} pixels" in found
        else:
            num_read += 1
            plain, _ = plain_inputs(family, tmp_path, row, None)
            assert list(found.token_ids) == plain["input_ids"][0].tolist()
    assert num_read > 0
