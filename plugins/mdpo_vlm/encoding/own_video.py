"""The model's own video input: which marks are videos, and what the model gets of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdpo_core import IMAGE_MARK, EncodedPrompt, Example, ImageInputs
from mdpo_vlm.encoding.processor_calls import processing, row_error
from mdpo_vlm.encoding.video_settings import VideoSettings
from mdpo_vlm.families import SECONDS_PER_PATCH, VIDEO_GRID, VIDEO_PIXELS, VideoInput
from mdpo_vlm.files.folder import unfit

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedConfig, ProcessorMixin

# A mark, and the line break before it: marks of frames may stand below one another.
_MARK = re.compile(rf"\n?{re.escape(IMAGE_MARK)}")
_REMEDY = "or set model.video: frames, and each frame is an image"


@dataclass(frozen=True)
class Shown:
    """What the prompt of a row shows.

    ``example``: its prompt has one mark for each picture or video, and its images are the ``pictures``. ``are_videos``:
    for each mark, whether a video stands there. ``video_options``: arguments of the processor.
    """

    example: Example
    are_videos: tuple[bool, ...]
    video_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> tuple[Image, ...]:
        """The pictures that enter as images, in order."""
        return self.example.images

    @classmethod
    def frames_as_images(cls, example: Example) -> Shown:
        """A row in which every frame is an image."""
        return cls(example, (False,) * len(example.images))


class OwnVideo:
    """Shows videos by the input that the model has for them; changes ``processor`` so that it takes them.

    ``folder`` contains the settings of the video processor. Raises `DataError` if these or the video token are missing.
    """

    def __init__(self, processor: ProcessorMixin, config: PreTrainedConfig, video: VideoInput, folder: Path) -> None:
        from mdpo_vlm.encoding.video_patches import VideoPatches

        self._video = video
        self._image_token: int = config.image_token_id
        self._token: int = processor.video_token_id
        if processor.video_token not in processor.tokenizer.get_vocab() or config.video_token_id != self._token:
            message = f"the tokenizer has no video token {processor.video_token!r}, or config.json names another one"
            raise unfit(folder, f"{message}; set model.video: frames, or download the model again")
        self._settings = VideoSettings.of(folder, video)
        self._patches = processor.video_processor = VideoPatches(self._settings)

    def problems(self, example: Example) -> list[str]:
        """Why the frames of a row are no videos for the model, a sentence for each."""
        return list(self._problems(example))

    def _problems(self, example: Example) -> Iterator[str]:
        for number, video in enumerate(example.videos, start=1):
            sizes = {example.images[index].size for index in video}
            if len(sizes) > 1:
                listed = ", ".join(f"{width} x {height}" for width, height in sorted(sizes)[:2])
                found = f"the frames of the video {number} have different sizes ({listed} pixels)"
                yield f"{found}, but the model's own video input has one for all: scale them, {_REMEDY}"

    def shown(self, example: Example) -> Shown:
        """A row with its videos scaled. Raises `DataError` if the model does not take one of them."""
        videos = [tuple(example.images[index] for index in video) for video in example.videos]
        for number, frames in enumerate(videos):
            self._require_frames(example, number, len(frames))
        starts, frames_of_all = {video[0] for video in example.videos}, {i for video in example.videos for i in video}
        shown = [index for index in range(len(example.images)) if index in starts or index not in frames_of_all]
        pictures = tuple(image for index, image in enumerate(example.images) if index not in frames_of_all)
        alone = replace(_with_one_mark_each(example), images=pictures, videos=(), frame_times=())
        options: dict[str, Any] = {}
        if videos:
            times = [self._metadata(len(frames), example.times_of(number)) for number, frames in enumerate(videos)]
            with processing(example):
                scaled = [self._patches.scaled(frames, _usual_size(frames)) for frames in videos]
            options = {"videos": scaled, "videos_kwargs": {"video_metadata": times}}
        return Shown(alone, tuple(index in starts for index in shown), options)

    def _require_frames(self, example: Example, number: int, num_frames: int) -> None:
        if self._video.reads_times and not example.times_of(number):
            message = f"the video {number + 1} does not say when its frames are shown, which this model reads"
            raise row_error(
                example, f"{message}: for frames in folders and lists set data.frame_rate to their rate, {_REMEDY}"
            )
        least = self._settings.temporal_patch_size
        if self._video.limited == "all frames" and num_frames < least:
            message = f"the video {number + 1} has {num_frames} frame, but this model takes at least {least}"
            raise row_error(example, f"{message}: take more frames, {_REMEDY}")

    @staticmethod
    def _metadata(num_frames: int, times: Sequence[float]) -> dict[str, Any]:
        """The times as the processor reads them: as a video of one frame in a second, of which some are taken."""
        length = num_frames * (times[-1] - times[0]) / (num_frames - 1) if times and num_frames > 1 else num_frames
        return {"fps": 1.0, "total_num_frames": length, "frames_indices": list(times or range(num_frames))}

    def encoded(
        self, token_ids: Tensor, pictures: Sequence[ImageInputs], shown: Shown, inputs: Mapping[str, Any]
    ) -> EncodedPrompt:
        """The prompt with the inputs of its pictures and videos, in order.

        Every token of a video becomes an image token: the model reads neither of the two, as features take their place,
        and all that is said of image tokens then holds for those of a video.
        """
        remaining, videos = iter(pictures), self._inputs_of_videos(inputs)
        in_order = tuple(next(videos if is_video else remaining) for is_video in shown.are_videos)
        return EncodedPrompt(token_ids.masked_fill(token_ids == self._token, self._image_token), in_order)

    @staticmethod
    def _inputs_of_videos(inputs: Mapping[str, Any]) -> Iterator[ImageInputs]:
        if VIDEO_GRID not in inputs:
            return
        grids = torch.as_tensor(inputs[VIDEO_GRID])
        pixels = torch.split(torch.as_tensor(inputs[VIDEO_PIXELS]), grids.prod(dim=1).tolist())
        for number, (grid, values) in enumerate(zip(grids, pixels, strict=True)):
            found = {VIDEO_PIXELS: values.clone(), VIDEO_GRID: grid[None].clone()}
            if SECONDS_PER_PATCH in inputs:
                seconds = float(inputs[SECONDS_PER_PATCH][number])
                found[SECONDS_PER_PATCH] = torch.tensor([seconds], dtype=torch.float32)
            yield found


def _with_one_mark_each(example: Example) -> Example:
    """The example without the marks of a video's later frames. Raises `DataError` if text stands between them."""
    later, numbers = {index for video in example.videos for index in video[1:]}, count()

    def kept(mark: re.Match[str]) -> str:
        number = next(numbers)
        if number not in later:
            return mark[0]
        if not mark.string.endswith(IMAGE_MARK, 0, mark.start()):
            video = next(place for place, each in enumerate(example.videos, start=1) if number in each)
            message = f"the prompt has text between the frames of the video {video}, which enter as one"
            raise row_error(example, f"{message}: take it out, {_REMEDY}")
        return ""

    return example.with_prompt(lambda text: _MARK.sub(kept, text))


def _usual_size(frames: Sequence[Image]) -> tuple[int, int]:
    """The size of most frames, or of the first of these; a corruption may have replaced some by other pictures."""
    [(size, _)] = Counter(frame.size for frame in frames).most_common(1)
    return size
