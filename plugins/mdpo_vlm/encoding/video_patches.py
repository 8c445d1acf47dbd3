"""Frames to patches of several frames, by Pillow and numpy: results do not depend on torchvision or the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Resampling
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as smart_resize_all
from transformers.video_utils import VideoMetadata

from mdpo_vlm.encoding.video_settings import VideoSettings
from mdpo_vlm.families import VIDEO_GRID, VIDEO_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image


class VideoPatches:
    """Stands in a processor of transformers where its video processor is, and gives what that gives."""

    def __init__(self, settings: VideoSettings) -> None:
        self._settings = settings
        self.temporal_patch_size, self.merge_size = settings.temporal_patch_size, settings.merge_size
        # It makes the patches of a single frame.
        self._of_frames = Qwen2VLImageProcessorPil(
            do_resize=False,
            do_rescale=settings.rescale_factor is not None,
            rescale_factor=settings.rescale_factor or 1.0,
            do_normalize=settings.mean is not None,
            image_mean=settings.mean,
            image_std=settings.std,
            patch_size=settings.patch_size,
            temporal_patch_size=1,
            merge_size=settings.merge_size,
        )

    def scaled(self, frames: Sequence[Image], size: tuple[int, int]) -> list[Image]:
        """The frames in RGB, and in the size ``(width, height)`` that the model takes of a video of ``size``."""
        used, (width, height) = self._settings, size
        if used.resample is not None:
            factor, (least, most) = used.patch_size * used.merge_size, used.pixels
            if used.limited == "each frame":
                height, width = smart_resize(height, width, factor, least, most)
            else:
                height, width = smart_resize_all(
                    len(frames), height, width, self.temporal_patch_size, factor, least, most
                )
        filtering = Resampling.BICUBIC if used.resample is None else Resampling(used.resample)
        return [frame.convert("RGB").resize((width, height), filtering) for frame in frames]

    def __call__(self, videos: Sequence[Sequence[Image]], video_metadata: Any, **_: Any) -> dict[str, Any]:
        """Patches ``(patches, values)`` and grids ``(videos, 3)`` of frames that `scaled` gave, and their times."""
        made = [self._patches(frames) for frames in videos]
        return {
            VIDEO_PIXELS: np.concatenate([patches for patches, _ in made]),
            VIDEO_GRID: np.array([grid for _, grid in made]),
            "video_metadata": [VideoMetadata(**each) for each in video_metadata],
        }

    def _patches(self, frames: Sequence[Image]) -> tuple[np.ndarray[Any, Any], tuple[int, int, int]]:
        together = self.temporal_patch_size
        # The last frame fills the last patch, as in transformers.
        filled = [*frames, *[frames[-1]] * (-len(frames) % together)]
        made = self._of_frames(filled, return_tensors="np")
        _, height, width = made["image_grid_thw"][0].tolist()
        num_times, channels = len(filled) // together, 3
        by_frame = made["pixel_values"].reshape(num_times, together, height * width, channels, -1)
        patches = by_frame.transpose(0, 2, 3, 1, 4).reshape(num_times * height * width, -1)
        return patches, (num_times, height, width)
