"""When the frames of a video are shown: from files, and from folders and lists with a frame rate."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_readers.videos.sampling import EndToEnd, Sampling
from PIL import Image
from support.videos import write_video

from mdpo_core import DataError, Example, component
from mdpo_core.data.validity import problems_of_row

ROW = {"prompt": "<video>What happens?", "chosen": "It grows.", "rejected": "It shrinks."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``walk.mp4`` of 20 frames, 10 a second, and the folder ``steps`` of 12 frames."""
    write_video(tmp_path / "walk.mp4")
    (tmp_path / "steps").mkdir()
    for number in range(12):
        Image.new("RGB", (20 + number, 20)).save(tmp_path / "steps" / f"f{number}.png")
    return tmp_path


def example(folder: Path, video: Any, reader: str = "pairs", **options: Any) -> Example:
    (folder / "rows.jsonl").write_text(json.dumps({**ROW, "video": video}))
    columns = {"image": None, "video": "video"} if reader == "pairs" else {}
    opened: Any = component("reader", reader, path=str(folder / "rows.jsonl"), images=folder, **columns, **options)
    [found] = opened.open()
    assert isinstance(found, Example)
    assert problems_of_row(found) == []
    return found


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({"frames": 4}, [0.25, 0.75, 1.25, 1.75]),
        ({"frames": 1}, [1.0]),
        ({"fps": 2}, [0.0, 0.5, 1.0, 1.5]),
        ({"frames": 100}, [number / 10 for number in range(20)]),
    ],
)
def test_a_file_says_when_its_frames_are_shown(options: dict[str, Any], times: list[float], folder: Path) -> None:
    assert list(*example(folder, "walk.mp4", **options).frame_times) == pytest.approx(times)


def test_a_folder_or_a_list_has_times_with_a_frame_rate_alone(folder: Path) -> None:
    names = [f"steps/f{number}.png" for number in range(12)]
    assert example(folder, "steps", frames=3).frame_times == ()
    assert example(folder, "steps", frames=3, frame_rate=4).frame_times == ((0.5, 1.5, 2.5),)
    assert example(folder, names, frame_rate=4).frame_times == (tuple(number / 4 for number in range(12)),)
    by_rate = example(folder, "steps", fps=1, frame_rate=4)
    assert (by_rate.frame_times, [image.width for image in by_rate.images]) == (((0.0, 1.0, 2.0),), [20, 24, 28])
    hound = example(folder, "steps", "hound", frames=3, frame_rate=4)
    assert hound.frame_times == ((0.0, 1.25, 2.75),)


def test_of_two_videos_one_may_have_times(folder: Path) -> None:
    (folder / "rows.jsonl").write_text(
        json.dumps({**ROW, "prompt": "<video><video>Which?", "video": ["walk.mp4", "steps"]})
    )
    opened: Any = component(
        "reader", "pairs", path=str(folder / "rows.jsonl"), images=folder, image=None, video="video", frames=2
    )
    assert opened.open()[0].frame_times == ((0.5, 1.5), ())


@given(
    st.lists(st.fractions(Fraction(1, 100), 2), min_size=1, max_size=30),
    st.one_of(
        st.builds(Sampling, frames=st.integers(1, 12)),
        st.builds(Sampling, fps=st.integers(1, 9), max_frames=st.integers(1, 12)),
        st.builds(EndToEnd, frames=st.integers(1, 12)),
    ),
)
def test_each_frame_is_shown_at_its_moment(lengths: list[Fraction], sampling: Sampling) -> None:
    starts = [sum(lengths[:number], Fraction(5)) for number in range(len(lengths))]
    end = sum(lengths, Fraction(5))
    taken = sampling.taken(starts, end)
    assert sampling.of_times(starts, end) == [number for number, _ in taken]
    assert all(one.moment < other.moment for one, other in pairwise(taken))
    for number, moment in taken:
        assert starts[number] <= 5 + moment < [*starts[1:], end][number]


def video(*times: float, frames: int = 3) -> Example:
    images = tuple(Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(frames + 1))
    responses = {"chosen": "a", "rejected": "b"}
    return Example(
        "1", "<image>" * (frames + 1), responses, images, videos=(range(1, frames + 1),), frame_times=(times,)
    )


def test_a_frame_that_is_removed_takes_its_time_along() -> None:
    row = video(0.0, 0.5, 2.0)
    assert row.without_images({0}).frame_times == ((0.0, 0.5, 2.0),)
    assert row.without_images({0, 2}).frame_times == ((0.0, 2.0),)
    assert (row.without_images({1, 2, 3}).frame_times, row.without_images({1, 2, 3}).videos) == ((), ())
    assert replace(row, frame_times=()).without_images({1}).frame_times == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (video(0.0, 0.5), r"the frame times of the video 1 are \[0.0, 0.5\]; they must be 3 seconds, one for each"),
        (video(0.0, 0.5, 0.5), "each later than the one before"),
        (video(0.0, 0.5, float("inf")), "the frame times of the video 1"),
        (replace(video(0.0, 1.0, 2.0), frame_times=((), ())), "the frame times are of 2 videos, but the row has 1"),
        (replace(video(), frame_times=3), "its frame times must be a tuple"),  # type: ignore[arg-type]
        (replace(video(), frame_times=(("a",),)), "its frame times must contain only seconds, found the str 'a'"),  # type: ignore[arg-type]
    ],
)
def test_times_that_are_none_make_a_row_bad(row: Example, message: str) -> None:
    with pytest.raises(DataError, match=message):
        raise DataError("; ".join(problems_of_row(row)))
