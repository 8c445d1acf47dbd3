"""Corruptions that add Gaussian noise to a picture."""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdpo_corruptions.pillow_modes import AnyMode

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Schedule = Literal["sigmoid", "linear", "cosine"]

_STEPS = 1000
_AT_ONCE = 2**22  # number of levels that are converted to floats at the same time


class Noise(AnyMode):
    """A corruption that mixes each level with a normal random number."""

    side: int | None = Field(
        default=336,
        gt=0,
        description="largest shorter side of the noise, which is enlarged for larger pictures: a model that shrinks "
        "the picture would average finer noise away; null: every pixel has its own noise",
    )

    def change(self, image: Image, rng: random.Random) -> Image:
        import PIL.Image
        import torch

        width, height = image.size
        num_channels = len(image.getbands())
        levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(height, width, num_channels)
        colors = levels[..., : num_channels - image.mode.endswith("A")]
        noise = _normal(self._grid(width, height), colors.shape[2], rng)
        keep, shift, std = self.mix()
        num_rows = max(1, _AT_ONCE // (width * num_channels))
        for rows in (range(first, min(first + num_rows, height)) for first in range(0, height, num_rows)):
            mixed = _enlarged(noise, rows, colors) * (255 * std) + 255 * shift
            mixed.add_(colors[rows.start : rows.stop], alpha=keep)
            colors[rows.start : rows.stop] = mixed.round_().clamp_(0, 255)
        return PIL.Image.frombytes(image.mode, image.size, levels.numpy().tobytes())

    @abstractmethod
    def mix(self) -> tuple[float, float, float]:
        """The factor of each level, the number added to it, and the noise's standard deviation; levels are 0 to 1."""

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """Numbers of rows and columns of the noise."""
        shrink = max(1.0, min(width, height) / (self.side or math.inf))
        return round(height / shrink), round(width / shrink)


class GaussianNoise(Noise):
    """Add normal noise to every level."""

    std: float = Field(default=0.3, gt=0, description="standard deviation, as a share of the range of levels")

    def mix(self) -> tuple[float, float, float]:
        return 1.0, 0.0, self.std


class Diffusion(Noise):
    """A corruption that mixes levels and noise like the first steps of a diffusion with 1,000 steps."""

    step: int = Field(default=500, ge=0, lt=_STEPS, description="the last step, counted from 0")
    schedule: Schedule = Field(
        default="sigmoid",
        description="schedule of the variance: POVID's (sigmoid), DDPM's (linear) or improved diffusion's (cosine)",
    )
    center: float = Field(default=0.45, ge=0, le=1, description="level, from 0 to 1, that the picture fades to")
    spread: float = Field(
        default=0.27,
        gt=0,
        description="standard deviation of the noise at step 999, as a share of the range of levels; CLIP's center and "
        "spread are 0.45 and 0.27, SigLIP's are 0.5 and 0.5",
    )

    def mix(self) -> tuple[float, float, float]:
        signal = signal_share(self.schedule, self.step)
        keep = math.sqrt(signal)
        return keep, self.center * (1 - keep), self.spread * math.sqrt(1 - signal)


class DiffusionNoise(Diffusion):
    """Add the noise of a diffusion, up to a step of 1,000 (POVID, arXiv:2402.11411; CHiP, arXiv:2501.16629).

    The released codes add the noise to pixels that the model's preprocessing has normalized. This adds it to the
    picture as read, in the same units (``center``, ``spread``), and clips levels to the picture's range. ``schedule:
    linear`` at step 999 leaves only noise (V-DPO's random image, arXiv:2411.02712).
    """


@cache
def signal_share(schedule: Schedule, step: int) -> float:
    """The picture's share of the variance after a step, counted from 0: alpha bar in papers."""
    return math.prod(1 - _variance(schedule, each) for each in range(step + 1))


def _variance(schedule: Schedule, step: int) -> float:
    progress = step / (_STEPS - 1)
    if schedule == "linear":  # arXiv:2006.11239
        return 1e-4 + progress * (0.02 - 1e-4)
    if schedule == "cosine":  # arXiv:2102.09672, eq. 17
        return min(1 - _cosine(step + 1) / _cosine(step), 0.999)
    return (0.005 - 1e-5) / (1 + math.exp(6 - 12 * progress)) + 1e-5


def _cosine(step: int) -> float:
    return math.cos((step / _STEPS + 0.008) / 1.008 * math.pi / 2) ** 2


def _normal(size: tuple[int, int], num_channels: int, rng: random.Random) -> Tensor:
    import torch

    return torch.randn(*size, num_channels, generator=torch.Generator().manual_seed(rng.getrandbits(63)))


def _enlarged(noise: Tensor, rows: range, colors: Tensor) -> Tensor:
    """The noise for ``rows`` of the picture, enlarged to the picture's width."""
    import torch

    if noise.shape == colors.shape:
        return noise[rows.start : rows.stop]
    (height, width, _), (noise_height, noise_width, _) = colors.shape, noise.shape
    enlarged = noise[torch.tensor(rows) * noise_height // height]
    return enlarged[:, torch.arange(width) * noise_width // width]
