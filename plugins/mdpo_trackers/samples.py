"""Sample answers of the policy as trackers show them: texts by column, and one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdpo_core import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

_LARGEST = 512  # pixels of the longer side; a tracker shows small pictures


def texts_of(sample: Sample) -> dict[str, str]:
    """The columns of a sample: ``id``, ``prompt``, ``answer``, and what it has of a beginning, responses and words."""
    row = sample.row
    turns = () if isinstance(row.prompt, str) else row.prompt
    prompt = row.prompt if isinstance(row.prompt, str) else "\n".join(f"{turn.role}: {turn.text}" for turn in turns)
    responses = {name: row.text(name) for name in ("chosen", "rejected") if name in row.responses}
    found = {"words": ", ".join(sample.words)} if sample.words else {}
    begun = {"beginning": row.beginning} if row.beginning else {}
    return {"id": row.id, "prompt": prompt, **begun, "answer": sample.answer, **responses, **found}


def picture_of(sample: Sample) -> Image | None:
    """A small copy of the row's pictures, side by side; None if it has none."""
    from PIL import Image

    if not sample.row.images:
        return None
    small = [picture.convert("RGB") for picture in sample.row.images]
    for picture in small:
        picture.thumbnail((_LARGEST, _LARGEST))
    strip = Image.new("RGB", (sum(each.width for each in small), max(each.height for each in small)))
    left = 0
    for picture in small:
        strip.paste(picture, (left, 0))
        left += picture.width
    return strip
