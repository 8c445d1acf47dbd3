"""What corruptions cost: ``python -m benchmarks.corruptions [--side 336] [--mode RGB] [--seconds 1]``.

Prints a table in Markdown: images per second of one core's time for every installed corruption of single images with
its default options (one that demands some is left out), the least and most of five rounds, and the peak memory of the
process so far. The picture is made up: smooth colours under noise.
"""

from __future__ import annotations

import argparse
import random
import resource
import time

import PIL.Image
import torch

from mdpo_core import ImageCorruption
from mdpo_core.registry.discovery import current_registry

ROUNDS = 5


def picture(side: int, mode: str) -> PIL.Image.Image:
    layers = [PIL.Image.effect_noise((side, side), 40) for _ in range(3)]
    smooth = PIL.Image.linear_gradient("L").resize((side, side)).convert("RGB")
    return PIL.Image.blend(PIL.Image.merge("RGB", layers), smooth, 0.5).convert(mode)


def rates(corruption: ImageCorruption, image: PIL.Image.Image, seconds: float) -> list[float]:
    """Images a second of each round."""
    corruption(image, random.Random(0))
    found = []
    for _ in range(ROUNDS):
        start, count = time.process_time(), 0
        while time.process_time() - start < seconds / ROUNDS or not count:
            corruption(image, random.Random(count))
            count += 1
        found.append(count / (time.process_time() - start))
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=336)
    parser.add_argument("--mode", default="RGB")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each corruption")
    options = parser.parse_args()
    torch.set_num_threads(1)
    image = picture(options.side, options.mode)
    print(f"| {options.mode}, {options.side} pixels square | images a second | least to most | peak memory, GB |")
    print("|---|---|---|---|")
    for name, cls in sorted(current_registry().components("corruption").items()):
        if issubclass(cls, ImageCorruption) and not any(each.is_required() for each in cls.model_fields.values()):
            found = rates(cls(), image, options.seconds)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
            print(
                f"| `{name}` | {found[ROUNDS // 2]:.4g} | {found[0]:.4g} to {found[-1]:.4g} | {peak:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
