"""The support matrix of models.md, tried on small models of every family."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

PAGE = ROOT / "docs" / "guides" / "models.md"
MARK = "tries it again. -->\n"


def matrix() -> str:
    import PIL.Image
    from sklearn.datasets import load_sample_images
    from support.builders.small_vlms import SMALL, build_vlm
    from support.oracles.support_matrix import row, tables

    with tempfile.TemporaryDirectory() as name:
        photographs = Path(name) / "photographs"
        photographs.mkdir()
        for number, pixels in enumerate(load_sample_images().images):
            PIL.Image.fromarray(pixels).save(photographs / f"{number}.png")
        rows = [row(family, build_vlm(family, Path(name) / family), photographs) for family in SMALL]
    return tables(rows) + "\n"


def page() -> str:
    """The page with its matrix written again."""
    return PAGE.read_text().partition(MARK)[0] + MARK + matrix()
