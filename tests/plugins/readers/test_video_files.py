"""Frames of video files: which are taken, how they look, and what a file says that cannot be used."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mdpo_readers.videos.decoding import read_video
from mdpo_readers.videos.sampling import EndToEnd, Sampling
from mdpo_readers.videos.timeline import timeline_of
from PIL import Image
from support.videos import av, numbers_of, write_sound, write_video

from mdpo_core import DataError, ImageOptions

ALL = Sampling(frames=1000)
CODECS = [
    ("a.mp4", "libx264"),
    ("a.mkv", "libx264"),
    ("a.webm", "libvpx-vp9"),
    ("a.avi", "mpeg4"),
    ("a.mov", "mjpeg"),
    ("a.ts", "mpeg2video"),
    ("a.gif", "gif"),
    ("a.h264", "libx264"),  # without any times
]


def read(source: Path | bytes, sampling: Sampling = ALL) -> tuple[Image.Image, ...]:
    return read_video(source, sampling, ImageOptions())


def decoded(file: Path) -> list[np.ndarray[Any, Any]]:
    """An independent oracle: all frames, one after another."""
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_frames_are_the_centres_of_equal_parts(name: str, codec: str, tmp_path: Path) -> None:
    file = write_video(tmp_path / name, 20, codec, rate=25 if codec == "mpeg2video" else 10)
    assert numbers_of(read(file)) == list(range(20))
    assert numbers_of(read(file, Sampling(frames=4))) == [2, 7, 12, 17]
    assert numbers_of(read(file.read_bytes(), Sampling(frames=1))) == [10]


@pytest.mark.parametrize("key_every", [1, 7, 100])
def test_a_jump_to_a_key_frame_gives_the_frame_of_plain_decoding(key_every: int, tmp_path: Path) -> None:
    noise = [Image.effect_noise((48, 32), 90).convert("RGB") for _ in range(24)]
    file = write_video(tmp_path / "a.mp4", pictures=noise, key_every=key_every)
    plain = decoded(file)
    for number, frame in zip([2, 6, 10, 14, 18, 22], read(file, Sampling(frames=6)), strict=True):
        assert abs(np.asarray(frame).astype(int) - plain[number]).max() <= 3  # colours are rounded more exactly


def test_only_the_last_part_is_decoded_for_its_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdpo_readers.videos import decoding

    seen: list[int] = []
    timed = decoding._timed
    monkeypatch.setattr(decoding, "_timed", lambda *args: (seen.append(each[0]) or each for each in timed(*args)))
    file = write_video(tmp_path / "a.mkv", 40, key_every=5, rate=10)
    with decoding.opened(file) as (container, stream):
        frames = list(decoding._frames(container, stream, timeline_of(file), [38], jumps=True))
    assert len(frames) == 1
    assert min(seen) >= 3500


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 12))
def test_the_frame_at_a_moment_is_the_one_that_is_shown_then(lengths: Sequence[int], count: int) -> None:
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    taken = Sampling(frames=count).of_times([start + 5 for start in starts], sum(lengths) + 5)
    if count >= len(lengths):
        assert taken == list(range(len(lengths)))
        return
    for place, number in enumerate(taken):
        moment = (place + 0.5) * sum(lengths) / count
        assert starts[number] <= moment + 1e-9
        assert moment - 1e-9 <= starts[number] + lengths[number]
    assert taken == sorted(taken)
    assert len(taken) == count


@given(st.integers(1, 300), st.integers(2, 40))
def test_from_end_to_end_are_the_numbers_of_linspace_rounded_down(count: int, frames: int) -> None:
    taken = EndToEnd(frames).of_count(count)
    number = min(count, frames)
    assert taken == np.linspace(0, count - 1, number, dtype=int).tolist()
    assert (taken[0], taken[-1], len(set(taken))) == (0, count - 1, number)


def test_ten_of_twelve_frames_are_those_of_the_authors_of_llava_hound() -> None:
    assert EndToEnd(10).of_count(12) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 11]


@given(st.integers(1, 300), st.sampled_from([0.5, 1, 2.5, 10]), st.integers(1, 40))
def test_fps_takes_a_frame_at_each_of_its_moments_up_to_the_most(count: int, fps: float, most: int) -> None:
    rate = 10
    starts = [Fraction(number, rate) for number in range(count)]
    taken = Sampling(fps=fps, max_frames=most).of_times(starts, Fraction(count, rate))
    wanted = [int(k / fps * rate + 1e-9) for k in range(count + 1) if k / fps < count / rate - 1e-9]
    if len(wanted) > most:
        assert taken == Sampling(frames=most).of_times(starts, Fraction(count, rate))
    else:
        assert taken == wanted


def test_a_variable_rate_counts_in_seconds(tmp_path: Path) -> None:
    times = [0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5]
    file = write_video(tmp_path / "a.mkv", 10, times=times)
    assert numbers_of(read(file, Sampling(fps=1))) == [0, 3, 3, 4]
    assert numbers_of(read(file, Sampling(frames=2))) == [3, 3]


def test_a_video_of_one_frame_gives_it_once(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", 1)
    for sampling in (Sampling(), Sampling(frames=3), Sampling(fps=2)):
        assert numbers_of(read(file, sampling)) == [0]


def test_a_telephone_s_video_stands_upright(tmp_path: Path) -> None:
    corner = Image.new("RGB", (48, 32), "black")
    corner.paste((255, 255, 255), (0, 0, 16, 16))  # top left
    file = write_video(tmp_path / "a.mp4", pictures=[corner] * 3)
    content = bytearray(file.read_bytes())
    # The matrix of the track's header: (x, y) is shown at (-y, x), a quarter turn clockwise.
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    )
    frame = read(bytes(content))[0]
    assert frame.size == (32, 48)
    assert frame.getpixel((28, 3))[0] > 200  # type: ignore[index]
    assert frame.getpixel((3, 3))[0] < 50  # type: ignore[index]


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    file = tmp_path / "a.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 40, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (40, 32)))))
        container.mux(stream.encode())
    assert read(file)[0].size == (80, 32)


@pytest.mark.parametrize(
    ("name", "codec"), [each for each in CODECS if each[0] in ("a.mp4", "a.mkv", "a.avi", "a.webm")]
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_file_that_was_cut_off_is_refused(name: str, codec: str, share: float, tmp_path: Path) -> None:
    noise = [Image.effect_noise((48, 32), 90).convert("RGB") for _ in range(100)]
    content = write_video(tmp_path / name, codec=codec, pictures=noise).read_bytes()
    with pytest.raises(DataError, match=r"cut off|download it again"):
        read(content[: int(len(content) * share)], Sampling(frames=4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "it is a picture, not a video; name its column as one of pictures"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"#EXTM3U\nhttp://host/a.ts\n", "it is a playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is not a video"),
        (b"hello " * 100, "is not a video"),
    ],
)
def test_what_is_no_video_is_named(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(content)


def test_a_sound_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it has only sound; a video needs pictures"):
        read(write_sound(tmp_path / "a.wav"))


def test_damage_in_the_middle_is_refused(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "a.avi", 40, "ffv1", key_every=1).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    with pytest.raises(DataError, match="holds only 37: the file is damaged or was cut off; download it again"):
        read(bytes(content))


@pytest.mark.parametrize(("name", "codec"), CODECS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_damage_gives_frames_or_a_sentence(name: str, codec: str, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    file = tmp_path / name
    if not file.exists():
        write_video(file, 10, codec, rate=25 if codec == "mpeg2video" else 10)
    content = bytearray(file.read_bytes())
    start = rng.randrange(rng.choice([64, 400, len(content)]) % len(content) or 1)
    content[start : start + rng.choice([1, 4, 200])] = rng.randbytes(rng.choice([0, 1, 4, 50]))
    with suppress(DataError):
        assert all(frame.mode == "RGB" for frame in read(bytes(content), Sampling(frames=4)))


def test_pictures_of_an_unknown_kind_are_named(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mkv").read_bytes()
    assert content.count(b"V_MPEG4/ISO/AVC") == 1
    with pytest.raises(DataError, match="its pictures are stored in a way that PyAV does not know; convert it to MP4"):
        read(content.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ImageOptions(max_pixels=1000), "48 x 32 pixels, more than the reader's max_pixels = 1000"),
        (ImageOptions(max_aspect_ratio=1.2), "48 x 32 pixels, too thin for the reader's max_aspect_ratio = 1.2"),
    ],
)
def test_frames_beyond_the_limits_of_pictures_are_refused(options: ImageOptions, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_video(write_video(tmp_path / "a.mp4"), ALL, options)
