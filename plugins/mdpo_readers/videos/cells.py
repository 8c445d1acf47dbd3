"""The videos of a cell as frames: pictures in RGB, in order."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

from mdpo_core import DataError, ImageOptions, note_file
from mdpo_readers.cell_types import Cell
from mdpo_readers.embedded import is_embedded_picture
from mdpo_readers.images import file_inside, images, require_no_address
from mdpo_readers.videos.folder import PICTURES, frames_in
from mdpo_readers.videos.frames import Frames
from mdpo_readers.videos.sampling import Sampling

_NEEDS_AV = "needs PyAV to be read: pip install 'mdpo[video]', or store its frames as a folder of pictures"


def videos(cell: Cell, root: Path, sampling: Sampling, options: ImageOptions | None = None) -> tuple[Frames, ...]:
    """The frames of each video of a cell, which holds one video, a list of videos, or none (null, empty text or list).

    A video is the path of a file or of a folder of frames below ``root``; bytes; a data URI; an object with ``bytes``
    or ``path``; or a list of frames, which are paths or embedded pictures. A list of pictures is one video.
    """
    return tuple(frames(each, root, sampling, options) for each in _each(cell))


def require_frames(cell: Cell) -> None:
    """Raise `DataError` if a cell has an empty list or text where a row without a video has null."""
    if cell.value in ("", []):
        raise cell.wrong("is a video without frames; write null for a row without one, or remove the row")


def frames(cell: Cell, root: Path, sampling: Sampling, options: ImageOptions | None = None) -> Frames:
    """The frames of the one video of a cell, at least one. Raises `DataError` with row, column, reason and remedy."""
    value = _held(cell.value)
    if isinstance(value, list):
        return _chosen(cell, value, root, sampling, options, is_list=True)
    if isinstance(value, str) and value.startswith("data:"):
        value = _decoded(cell, value)
    if isinstance(value, bytes):
        return _from_file(cell, value, f"an embedded video of {len(value)} bytes", sampling, options)
    if not isinstance(value, str) or not value:
        raise cell.must_be("the name of a folder of frames or of a video file, a list of frames, or a video's bytes")
    folder = _folder(cell, value, root)
    if folder is not None:
        names = [str(Path(value) / name) for name in frames_in(cell, folder)]
        return _chosen(cell, names, root, sampling, options, is_list=False)
    file = file_inside(cell._replace(value=value), value, root)
    return _from_file(cell, file, f"'{file}'", sampling, options)


def _each(cell: Cell) -> list[Cell]:
    """A cell for each video."""
    if cell.value is None or cell.value == "" or cell.value == []:
        return []
    if not isinstance(cell.value, list):
        return [cell]
    are_frames = [_is_picture(value) for value in cell.value]
    if all(are_frames):
        return [cell]
    if any(are_frames):
        raise cell.wrong("mixes pictures with videos; write a list of frames, or a list of videos: [[FRAME, ...], ...]")
    return [cell._replace(column=f"{cell.column}[{place}]", value=value) for place, value in enumerate(cell.value)]


def _is_picture(value: Any) -> bool:
    held = _held(value)
    if not isinstance(held, bytes | str):
        return False
    return is_embedded_picture(held) or (isinstance(held, str) and held.lower().endswith(PICTURES))


def _held(value: Any) -> Any:
    """The bytes or the path that an object holds; any other value as it is."""
    if not isinstance(value, dict):
        return value
    held = [value.get(key) for key in ("bytes", "path", "url")]
    return next((each for each in held if isinstance(each, bytes | str)), value)


def _chosen(
    cell: Cell, names: list[Any], root: Path, sampling: Sampling, options: ImageOptions | None, is_list: bool
) -> Frames:
    """The pictures that are taken of the frames of a folder or of a list; they have times if their rate is known."""
    if not names:
        raise cell.wrong("is a video without frames; list its frames, or remove the row")
    if sampling.fps is not None and sampling.frame_rate is None:
        raise cell.wrong(
            "fps needs times, which frames in a folder or a list do not have; set data.frame_rate, how many of them "
            "were taken in a second, or set frames in place of fps"
        )
    takes_all = is_list and sampling.frames is None and sampling.fps is None
    taken = (replace(sampling, frames=len(names)) if takes_all else sampling).taken_of_count(len(names))
    numbers = [number for number, _ in taken]
    of_list = cell._replace(value=[names[number] for number in numbers])
    pictures = images(of_list, root, options, [number + 1 for number in numbers], len(names))
    return Frames.at(pictures, [] if sampling.frame_rate is None else [float(moment) for _, moment in taken])


def _folder(cell: Cell, name: str, root: Path) -> Path | None:
    """The absolute path of a folder of frames, which lies below ``root``; None if it is not a folder."""
    require_no_address(cell, name, "video")
    try:
        folder, outer = (root / name).resolve(), root.resolve()
        is_folder = folder.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        # The name is too long, it contains a zero byte, or links form a circle.
        raise cell.must_be(f"the name of a folder of frames or of a video ({type(error).__name__})") from error
    if folder == outer:
        raise cell.must_be(f"the name of a folder of frames or of a video below data.images ('{root}')")
    if is_folder and not folder.is_relative_to(outer):
        raise cell.lacks_file(f"'{name}' lies outside of data.images ('{root}')")
    return folder if is_folder else None


def _decoded(cell: Cell, uri: str) -> bytes:
    head, _, encoded = uri.partition(",")
    try:
        return b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise cell.wrong(f"contains an embedded video ('{head[:40]}') whose base64 is damaged: {error}") from error


def _from_file(cell: Cell, source: Path | bytes, name: str, sampling: Sampling, options: ImageOptions | None) -> Frames:
    if isinstance(source, Path):
        note_file(source)
    try:
        from mdpo_readers.videos.decoding import read_video

        return read_video(source, sampling, options or ImageOptions())
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise cell.wrong(f"{name} {_NEEDS_AV}") from error
    except OSError as error:  # no permission, or a disk that fails
        raise cell.wrong(f"{name} cannot be read: {error.strerror or error}") from error
    except DataError as error:
        raise cell.wrong(f"{name} cannot be used: {error}") from error
