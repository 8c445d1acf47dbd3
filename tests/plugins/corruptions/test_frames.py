"""Corruptions in time change the frames of videos, and nothing else."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import IMAGE_MARK, Corruption, DataError, Example, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.validity import problems_of_row
from mdpo_core.testing import check_corruption

SEEDS = st.integers(0, 10**6)
NAMES = ["shuffle_frames", "reverse_frames", "drop_frames"]


def corruption(name: str, **options: Any) -> Corruption:
    made = component("corruption", name, **options)
    assert isinstance(made, Corruption)
    return made


def levels(example: Example) -> list[int]:
    return [image.getpixel((0, 0))[0] for image in example.images]  # type: ignore[index]


def row(*shown: int, videos: tuple[range, ...], name: str = "1") -> Example:
    images = tuple(PIL.Image.new("RGB", (3, 2), (level, 0, 0)) for level in shown)
    prompt = IMAGE_MARK * len(shown) + "What happens?"
    return Example(name, prompt, {"chosen": "a", "rejected": "b"}, images, videos=videos)


def changed(example: Example, name: str, seed: int, data: Any = (), **options: Any) -> Example:
    return corruption(name, **options).apply(example, random.Random(seed), data)


@st.composite
def rows_with_videos(draw: st.DrawFn) -> Example:
    """Pictures and videos by turns; frames of few different kinds, so that some are equal."""
    shown: list[int] = []
    videos: list[range] = []
    for _ in range(draw(st.integers(1, 3))):
        shown += draw(st.lists(st.integers(100, 102), max_size=2))
        frames = draw(st.lists(st.integers(0, 2), min_size=1, max_size=5))
        videos.append(range(len(shown), len(shown) + len(frames)))
        shown += frames
    return row(*shown, videos=tuple(videos))


@pytest.mark.parametrize(
    ("name", "varies"),
    [("shuffle_frames", True), ("reverse_frames", False), ("drop_frames", True), ("other_video", True)],
)
def test_a_corruption_in_time_keeps_the_contract(name: str, varies: bool) -> None:
    check_corruption(corruption(name), varies=varies)


@given(rows_with_videos(), SEEDS, st.sampled_from(NAMES))
def test_pictures_stay_and_videos_that_can_change_do(example: Example, seed: int, name: str) -> None:
    made = changed(example, name, seed)
    assert problems_of_row(made) == []
    assert made.videos == example.videos
    before, after = levels(example), levels(made)
    of_videos = {index for video in example.videos for index in video}
    assert all(before[index] == after[index] for index in range(len(before)) if index not in of_videos)
    for video in example.videos:
        old, new = before[video.start : video.stop], after[video.start : video.stop]
        fixed = old == old[::-1] if name == "reverse_frames" else len(set(old)) == 1
        assert (old == new) is fixed
    assert corruption(name).applies_to(example) is (before != after)


@given(rows_with_videos(), SEEDS)
def test_shuffled_frames_are_the_same_frames(example: Example, seed: int) -> None:
    made = levels(changed(example, "shuffle_frames", seed))
    for video in example.videos:
        assert sorted(made[video.start : video.stop]) == sorted(levels(example)[video.start : video.stop])


def test_every_wrong_order_is_drawn_and_the_right_one_never() -> None:
    example = row(0, 1, 2, videos=(range(3),))
    drawn = {tuple(levels(changed(example, "shuffle_frames", seed))) for seed in range(200)}
    assert drawn == {(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}


def test_reversed_frames_run_backwards_between_the_pictures() -> None:
    example = row(9, 0, 1, 2, 8, 3, 4, videos=(range(1, 4), range(5, 7)))
    assert levels(changed(example, "reverse_frames", 0)) == [9, 2, 1, 0, 8, 4, 3]


@pytest.mark.parametrize(("share", "dropped"), [(0.01, 1), (0.5, 4), (1.0, 7)])
def test_the_frame_before_stands_where_one_is_dropped(share: float, dropped: int) -> None:
    example = row(*range(8), videos=(range(8),))
    for seed in range(50):
        made = levels(changed(example, "drop_frames", seed, share=share))
        assert made[0] == 0
        assert sum(one == other for one, other in pairwise(made)) == dropped
        assert all(new in (number, made[number - 1]) for number, new in enumerate(made))


def test_every_frame_but_the_first_is_dropped_as_often() -> None:
    example = row(*range(5), videos=(range(5),))
    made = [levels(changed(example, "drop_frames", seed, share=0.4)) for seed in range(400)]
    for number in range(1, 5):
        assert 150 < sum(levels[number] != number for levels in made) < 250


@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_another_video_comes_with_as_many_frames(seed: int, own: int, others: int) -> None:
    example = row(200, *range(own), 201, videos=(range(1, own + 1),))
    other = row(*range(100, 100 + others), 202, videos=(range(others),), name="2")
    data = [example, row(50, videos=(), name="3"), other]
    made = levels(changed(example, "other_video", seed, data))
    # Oracle: the centre of each of the equal parts of the other video.
    assert made == [200, *(100 + int((place + 0.5) / own * others) for place in range(own)), 201]


def test_no_other_video_is_a_sentence() -> None:
    example = row(1, 2, videos=(range(2),))
    data = [example, row(1, 2, videos=(range(2),), name="2"), row(3, videos=(), name="3")]
    with pytest.raises(
        DataError, match="example '1': other_video found none of 3 rows with another id and a different"
    ):
        changed(example, "other_video", 0, data)


class Marks:
    """An encoder that is not called."""


@pytest.mark.parametrize("name", [*NAMES, "other_video"])
def test_a_row_without_a_video_stays_and_is_left_out(name: str) -> None:
    condition = corruption(name)
    picture = row(1, 2, videos=())
    builder = BatchBuilder(Marks(), (), {"wrong": condition}, (), 100, 0)  # type: ignore[arg-type]
    assert builder.corrupt(picture, "wrong", [picture], 0) is picture
    assert not builder.is_corruptible(picture)
    assert builder.is_corruptible(row(1, 2, videos=(range(2),)))


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ((range(1, 1),), "the video 1 has no frames"),
        ((range(2), range(1, 3)), "the frames of the video 2 are range(1, 3); they must be the images 2 to 3"),
        ((range(3, 5),), "the frames of the video 1 are range(3, 5); they must be the images 0 to 3"),
        ((range(2, -1, -1),), "the frames of the video 1 are range(2, -1, -1)"),
        ((range(0, 4, 2),), "the frames of the video 1 are range(0, 4, 2)"),
        (((0, 1),), "its videos must contain only ranges of images"),
        (None, "its videos must be a tuple"),
    ],
)
def test_frames_that_are_no_images_of_the_row_are_named(videos: Any, message: str) -> None:
    [problem] = problems_of_row(row(1, 2, 3, 4, videos=videos))
    assert message in problem


@given(rows_with_videos(), st.data())
def test_images_that_are_removed_leave_their_videos(example: Example, data: st.DataObject) -> None:
    removed = data.draw(st.sets(st.sampled_from(range(len(example.images)))))
    left = example.without_images(removed)
    video_of = {index: number for number, video in enumerate(example.videos) for index in video}
    kept = [index for index in range(len(example.images)) if index not in removed]
    assert levels(left) == [levels(example)[index] for index in kept]
    shown = [[kept[index] for index in video] for video in left.videos]
    assert shown == [
        each
        for number in range(len(example.videos))
        if (each := [index for index in kept if video_of.get(index) == number])
    ]


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        corruption("drop_frames", share=share)
