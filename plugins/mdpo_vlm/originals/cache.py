"""The folder of converted checkpoints: each one is stored under a digest of its sources."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from mdpo_core import MdpoError
from mdpo_vlm.files.folder import encoder_files, unfit
from mdpo_vlm.files.kept import cache, digest_of, kept
from mdpo_vlm.originals.checkpoint_layout import Original, files_of_weights

# Raise this number whenever the conversion of a checkpoint changes.
_VERSION = 1


def converted(original: Original, root: Path | None) -> Path:
    """The folder of the checkpoint in the layout of transformers; converts the checkpoint at the first call.

    Raises `DataError` for a checkpoint that is incomplete or not covered, `CheckpointError` if it cannot be written.
    """
    original.require_covered()
    settings = [_VERSION, original.layout.ends_in_prompts, original.config, original.tower_name]
    return kept(
        root or cache() / "converted",
        f"{original.name}-{digest_of(settings, list(_files(original)))}",
        f"converting {original.folder}",
        ("converted checkpoints", "set model.converted to another folder"),
        partial(_convert, original),
    )


def _convert(original: Original, folder: Path) -> None:
    """Write the converted model; whatever a library raises on odd files becomes a `DataError`."""
    from mdpo_vlm.files.config import require_sane
    from mdpo_vlm.files.damage import quoted
    from mdpo_vlm.originals.convert import convert

    require_sane(original.folder / "config.json", original.config)
    try:
        convert(original, folder)
    except (MdpoError, OSError, SafetensorError):
        raise  # the last two: the folder cannot be written
    except Exception as error:  # configurations of odd values, tokenizers that do not fit
        message = f"the checkpoint cannot be converted ({quoted(error)}); download it again"
        raise unfit(original.folder, message) from error


def _files(original: Original) -> Iterator[Path]:
    yield from original.weights()
    yield from encoder_files(original.folder)
    yield from (file for file in (original.folder / "vision_config.json",) if file.is_file())
    tower = original.local_tower()
    if tower is not None:
        yield from sorted(tower.glob("*.json"))
        # If the checkpoint contains the tower's weights, this folder has only its configuration.
        yield from files_of_weights(tower) if any(tower.glob("*.safetensors")) or any(tower.glob("*.bin")) else ()
