"""The settings of a model's video processor, without the processor of transformers, which needs torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mdpo_vlm.families import VideoInput
from mdpo_vlm.files.folder import read_json, unfit

_MOST_PIXELS = 2**32
_NUMBERS = {"patch_size": 2**10, "temporal_patch_size": 2**6, "merge_size": 2**6}
_REMEDY = "download it again, or set model.video: frames"


@dataclass(frozen=True)
class VideoSettings:
    """How frames become patches.

    ``pixels``: the smallest and the largest number, of ``limited``. ``merge_size``: as many patches in height and in
    width become one token. ``rescale_factor``, ``mean`` and ``std``: None where the step is left out. ``resample``: a
    filter of Pillow; None: frames keep their size.
    """

    pixels: tuple[int, int]
    limited: Literal["each frame", "all frames"]
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    resample: int | None
    rescale_factor: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @classmethod
    def of(cls, folder: Path, video: VideoInput) -> VideoSettings:
        """The settings in the files of a model, where transformers looks for them. Raises `DataError`."""
        file, found = _read(folder)
        if found.get("cap_pixels_per_frame"):
            raise unfit(file, f"cap_pixels_per_frame of the video processor is not supported; {_REMEDY}")
        defaults = {"patch_size": video.patch_size, "temporal_patch_size": 2, "merge_size": 2}
        numbers = {name: found.get(name, default) for name, default in defaults.items()}
        for name, number in numbers.items():
            if not isinstance(number, int) or not 1 <= number <= _NUMBERS[name]:
                raise unfit(file, f"{name} of the video processor is {number!r}; give a number from 1; {_REMEDY}")
        normalizes = found.get("do_normalize", True)
        return cls(
            pixels=_pixels(file, found, video),
            limited=video.limited,
            resample=int(found.get("resample", 3)) if found.get("do_resize", True) else None,
            rescale_factor=float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else None,
            mean=tuple(found.get("image_mean", video.mean)) if normalizes else None,
            std=tuple(found.get("image_std", video.std)) if normalizes else None,
            **numbers,
        )


def _read(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file with the settings, and the settings."""
    processor = folder / "processor_config.json"
    nested = read_json(processor).get("video_processor") if processor.is_file() else None
    if isinstance(nested, Mapping):
        return processor, nested
    files = [folder / name for name in ("video_preprocessor_config.json", "preprocessor_config.json")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise unfit(folder, f"has no settings of a video processor; {_REMEDY}")
    return file, read_json(file)


def _pixels(file: Path, found: Mapping[str, Any], video: VideoInput) -> tuple[int, int]:
    size = found.get("size") or {}
    names = ("shortest_edge", "longest_edge")
    chosen = [size.get(name, default) if size else default for name, default in zip(names, video.pixels, strict=True)]
    if video.limited == "each frame":  # names of older files, which this kind of processor still reads
        older = (found.get("min_pixels"), found.get("max_pixels"))
        chosen = [new if old is None else old for old, new in zip(older, chosen, strict=True)]
    least, most = chosen
    if not (isinstance(least, int) and isinstance(most, int) and 0 < least <= most <= _MOST_PIXELS):
        raise unfit(file, f"the video processor limits pixels to {least!r} and {most!r}; {_REMEDY}")
    return least, most
