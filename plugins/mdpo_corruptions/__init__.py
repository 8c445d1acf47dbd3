"""Corruptions: they make the rejected images, or prompts, of image-conditional terms."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_corruptions.blank_or_removed import Blank, NoImage
from mdpo_corruptions.blur_and_pixelate import Blur, Pixelate
from mdpo_corruptions.color import ColorJitter
from mdpo_corruptions.crop import RandomCrop
from mdpo_corruptions.from_columns import DatasetImage, DatasetPrompt
from mdpo_corruptions.in_time.frames import DropFrames, OtherVideo, ReverseFrames, ShuffleFrames
from mdpo_corruptions.mask import PatchMask
from mdpo_corruptions.moco_v2 import MocoV2
from mdpo_corruptions.noise import DiffusionNoise, GaussianNoise
from mdpo_corruptions.other_rows import Mismatched, OtherImage
from mdpo_corruptions.region import RegionMask, RegionNoise
from mdpo_corruptions.rotate_and_flip import Flip, Rotate
from mdpo_corruptions.token_drop import TokenDrop


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {
        "random_crop": RandomCrop,
        "no_image": NoImage,
        "blank": Blank,
        "other_image": OtherImage,
        "mismatched": Mismatched,
        "dataset_image": DatasetImage,
        "dataset_prompt": DatasetPrompt,
        "moco_v2": MocoV2,
        "color_jitter": ColorJitter,
        "blur": Blur,
        "pixelate": Pixelate,
        "gaussian_noise": GaussianNoise,
        "diffusion_noise": DiffusionNoise,
        "region_mask": RegionMask,
        "region_noise": RegionNoise,
        "patch_mask": PatchMask,
        "rotate": Rotate,
        "flip": Flip,
        "token_drop": TokenDrop,
        "shuffle_frames": ShuffleFrames,
        "reverse_frames": ReverseFrames,
        "drop_frames": DropFrames,
        "other_video": OtherVideo,
    }
