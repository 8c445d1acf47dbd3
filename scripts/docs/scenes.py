"""Draw docs/pictures/scenes.png: ``python scripts/docs/scenes.py``."""

from __future__ import annotations

import random
from pathlib import Path

import PIL.Image
from mdpo_scenes.annotations import held_out_scenes
from mdpo_scenes.pictures import SIDE, draw_picture
from PIL import ImageDraw

_COLUMNS, _NUMBER, _ZOOM, _LINE = 4, 8, 3, 24
_FILE = Path(__file__).parents[2] / "docs" / "pictures" / "scenes.png"


def main() -> None:
    """Draw eight scenes, each with its room and kinds below."""
    scenes = random.Random(1).sample(held_out_scenes(), _NUMBER)
    wide, high = SIDE * _ZOOM + 12, SIDE * _ZOOM + _LINE
    sheet = PIL.Image.new("RGB", (_COLUMNS * wide, _NUMBER // _COLUMNS * high), "white")
    draw = ImageDraw.Draw(sheet)
    for index, scene in enumerate(scenes):
        left, top = index % _COLUMNS * wide, index // _COLUMNS * high
        sheet.paste(draw_picture(scene).image.resize((SIDE * _ZOOM,) * 2, PIL.Image.Resampling.NEAREST), (left, top))
        draw.text((left, top + SIDE * _ZOOM + 5), f"{scene.room}: {', '.join(scene.kinds)}", fill="black")
    sheet.save(_FILE, optimize=True)


if __name__ == "__main__":
    main()
