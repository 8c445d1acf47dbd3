"""Small videos, written by PyAV. Each frame is of one grey level, which says its number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

av: Any = pytest.importorskip("av", reason="videos are written and read by PyAV: pip install 'mdpo[video]'")

LEVEL, STEP = 20, 5  # the level of the first frame, and how much lighter the next one is


def write_video(
    file: Path,
    count: int = 20,
    codec: str = "libx264",
    size: tuple[int, int] = (48, 32),
    *,
    rate: int = 10,
    key_every: int = 5,
    times: Sequence[float] = (),
    pictures: Sequence[Image.Image] = (),
) -> Path:
    """``times``: when each frame begins, in seconds; without them, ``rate`` frames a second."""
    shown = pictures or [Image.new("RGB", size, (LEVEL + STEP * number,) * 3) for number in range(count)]
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = shown[0].size
        stream.pix_fmt, stream.gop_size = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p"), key_every
        if times:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(shown):
            frame = av.VideoFrame.from_image(picture)
            if times:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def numbers_of(frames: Sequence[Image.Image]) -> list[int]:
    """The number of each frame, by its level, which lossy codecs change a little."""
    levels = [frame.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) for frame in frames]
    return [round((sum(level) / 3 - LEVEL) / STEP) for level in levels]  # type: ignore[arg-type]


def write_sound(file: Path) -> Path:
    """A tenth of a second of silence."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file
