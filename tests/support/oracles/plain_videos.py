"""What plain transformers gives for a model's own video input, with patches and prompts written out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image, Resampling
from torch import Tensor
from transformers import AutoTokenizer

from mdpo_core import Example
from support.builders.small_vlms import SMALL

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
# Those that show a video as Qwen3-VL does.
LIKE_QWEN3_VL = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
QUESTION = "What happens?"
_MERGE, _TOGETHER = 2, 2
_MEAN, _STD = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


def target_size(family: str, num_frames: int, height: int, width: int) -> tuple[int, int]:
    """The formulas of the video processors: Qwen2-VL limits the pixels of a frame, Qwen3-VL those of all frames."""
    options = SMALL[family].image_options
    least, most = options["size"]["shortest_edge"], options["size"]["longest_edge"]
    factor = _MERGE * options["patch_size"]
    of_all, frames = family in LIKE_QWEN3_VL, 1
    if of_all:
        frames = num_frames
        if height < factor or width < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
    rounded = [round(side / factor) * factor for side in (height, width)]
    total = (round(num_frames / 2) * 2 if of_all else 1) * math.prod(rounded)
    if total > most:
        beta = math.sqrt(frames * height * width / most)
        return tuple(max(factor, math.floor(side / beta / factor) * factor) for side in (height, width))  # type: ignore[return-value]
    if total < least:
        beta = math.sqrt(least / (frames * height * width))
        return tuple(math.ceil(side * beta / factor) * factor for side in (height, width))  # type: ignore[return-value]
    return rounded[0], rounded[1]


def patches(family: str, frames: Sequence[Image]) -> tuple[Tensor, list[int]]:
    """Patches ``(patches, values)`` of two frames each, as the video processors cut them, and the grid."""
    side = SMALL[family].image_options["patch_size"]
    height, width = target_size(family, len(frames), frames[-1].height, frames[-1].width)
    scaled = [frame.resize((width, height), Resampling.BICUBIC) for frame in frames]
    pixels = torch.stack([torch.frombuffer(bytearray(each.tobytes()), dtype=torch.uint8) for each in scaled])
    video = pixels.view(len(frames), height, width, 3).permute(0, 3, 1, 2).float() / 255
    video = (video - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
    if len(video) % _TOGETHER:
        video = torch.cat([video, video[-1:]])
    grid = [len(video) // _TOGETHER, height // side, width // side]
    split = video.view(grid[0], _TOGETHER, 3, grid[1] // _MERGE, _MERGE, side, grid[2] // _MERGE, _MERGE, side)
    return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(math.prod(grid), -1), grid


def video_text(family: str, grid: Sequence[int], times: Sequence[float]) -> str:
    """The tokens of a video as the processors write them; Qwen3-VL says when each pair of frames is shown."""
    per_time = grid[1] * grid[2] // _MERGE**2
    if family not in LIKE_QWEN3_VL:
        return f"<|vision_start|>{'<|video_pad|>' * (grid[0] * per_time)}<|vision_end|>"
    filled = [*times, times[-1]]
    means = [(filled[2 * place] + filled[2 * place + 1]) / 2 for place in range(grid[0])]
    parts = (f"<{mean:.1f} seconds><|vision_start|>{'<|video_pad|>' * per_time}<|vision_end|>" for mean in means)
    return f"<|vision_start|>{''.join(parts)}<|vision_end|>"


def plain_inputs(
    family: str, folder: Path, example: Example, response: str, picture: Any = None
) -> tuple[dict[str, Tensor], int]:
    """The inputs of one forward over prompt and response, and the length of the prompt.

    The prompt is pictures and videos in order, and a text. ``picture``: the processor of pictures.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    starts = {video.start: number for number, video in enumerate(example.videos)}
    of_videos = {index for video in example.videos for index in video}
    names = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
    text, inputs = "", dict[str, list[Tensor]]((name, []) for name in names)
    seconds: list[float] = []
    for index, image in enumerate(example.images):
        if index in starts:
            frames = [example.images[place] for place in example.videos[starts[index]]]
            values, grid = patches(family, frames)
            times = example.times_of(starts[index])
            text += video_text(family, grid, times)
            inputs["pixel_values_videos"].append(values)
            inputs["video_grid_thw"].append(torch.tensor([grid]))
            seconds.append(_TOGETHER * (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 2.0)
        elif index not in of_videos:
            made = picture(image, return_tensors="pt")
            num_tokens = int(made["image_grid_thw"].prod()) // _MERGE**2
            text += f"<|vision_start|>{'<|image_pad|>' * num_tokens}<|vision_end|>"
            inputs["pixel_values"].append(made["pixel_values"])
            inputs["image_grid_thw"].append(made["image_grid_thw"])
    prompt = f"<|im_start|>user\n{text}{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    answer = tokenizer(f"{response}<|im_end|>", add_special_tokens=False, return_tensors="pt")["input_ids"]
    both = torch.cat([ids, answer], dim=1) if response else ids
    kinds = torch.zeros_like(both)
    for number, token in ((1, "<|image_pad|>"), (2, "<|video_pad|>")):
        kinds[both == tokenizer.convert_tokens_to_ids(token)] = number
    found = {name: torch.cat(values) for name, values in inputs.items() if values}
    found |= {"input_ids": both, "attention_mask": torch.ones_like(both), "mm_token_type_ids": kinds}
    if seconds and family == "qwen2_5_vl":
        found["second_per_grid_ts"] = torch.tensor(seconds)
    return found, ids.shape[1]


def plain_log_probs(plain: Any, family: str, folder: Path, example: Example, response: str, picture: Any) -> Tensor:
    """Of each token of a response, ``(time,)``."""
    inputs, length = plain_inputs(family, folder, example, response, picture)
    log_probs: Tensor = plain(**inputs).logits[0, length - 1 : -1].log_softmax(-1)
    return log_probs.gather(1, inputs["input_ids"][0, length:, None])[:, 0]
