"""Pixels that transformers' image processors compute with torchvision. Run this file to compute them again.

Running it needs torch, torchvision (of one build), transformers and numpy; mdpo is not used. ``expected.npz`` was
written with torch 2.14.1, torchvision 0.29.1 and transformers 5.23.0 on a CPU with AVX2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

FILE = Path(__file__).parents[2] / "data" / "pixels" / "expected.npz"
# Settings as small as the processors allow, so that the file stays small.
SETTINGS = {
    "Cohere2VisionImageProcessor": {"size": {"height": 28, "width": 28}, "max_patches": 4},
    "Gemma4UnifiedImageProcessor": {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70},
    "Kimi_K25ImageProcessor": {"patch_size": 4, "max_patches": 64},
    "Lfm2VlImageProcessor": {"encoder_patch_size": 7, "tile_size": 28, "min_image_tokens": 1, "max_image_tokens": 4},
    "Llama4ImageProcessor": {"size": {"height": 28, "width": 28}, "max_patches": 4},
    "Molmo2ImageProcessor": {
        "size": {"height": 28, "width": 28},
        "patch_size": 7,
        "overlap_margins": [1, 0],
        "max_crops": 4,
    },
    "MuseGlimmerImageProcessor": {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 1024}},
    "Phi4MultimodalImageProcessor": {"size": {"height": 28, "width": 28}, "patch_size": 7, "dynamic_hd": 4},
}


def pictures() -> list[Image.Image]:
    """Wide, tall, tiny and exact: waves and noise, of fixed seeds."""
    made = []
    for seed, (height, width) in enumerate([(41, 90), (101, 37), (9, 13), (28, 28)]):
        down, right = np.mgrid[:height, :width]
        noise = np.random.default_rng(seed).integers(0, 256, (height, width))
        values = np.stack(
            [127 + 127 * np.sin(right / 5 + down / 9), 255 * (down + right) / (height + width), noise], -1
        )
        made.append(Image.fromarray(values.astype(np.uint8)))
    return made


def as_array(values: torch.Tensor) -> np.ndarray:
    """numpy has no bfloat16."""
    return (values.float() if values.is_floating_point() else values).numpy()


if __name__ == "__main__":
    arrays = {}
    for name, settings in SETTINGS.items():
        processor = getattr(transformers, name)(**settings)
        for number, picture in enumerate(pictures()):
            for key, values in processor(images=[picture], return_tensors="pt").items():
                arrays[f"{name}/{number}/{key}"] = as_array(values)
    np.savez_compressed(FILE, **arrays)
