"""Fill the support matrix of models.md with small of every family: ``python scripts/docs/make_models.py``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

PAGE = ROOT / "docs" / "guides" / "models.md"
MARK = "tries it again. -->\n"
HEAD = "| `model_type` | images in a row | prompts computed once | beyond the generic |\n|---|---|---|---|\n"


def matrix() -> str:
    import PIL.Image
    from plain_vlms import support
    from sklearn.datasets import load_sample_images
    from small_vlms import SMALL, build_vlm

    with tempfile.TemporaryDirectory() as name:
        photographs = Path(name) / "photographs"
        photographs.mkdir()
        for number, pixels in enumerate(load_sample_images().images):
            PIL.Image.fromarray(pixels).save(photographs / f"{number}.png")
        lines = [support(family, build_vlm(family, Path(name) / family), photographs) for family in SMALL]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + matrix())
