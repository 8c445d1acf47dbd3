"""The pictures of read-a-run.md: the curves of real runs, some minutes each.

``python scripts/docs/curves.py [NAME]``
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mdpo_core import load_recipe, run

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
_DRAWN = "trackers=[{tracker: curves}]"
# The recipe of each picture, and what is changed in it.
RUNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "healthy": ("quickstart", (_DRAWN,)),
    "chosen-sinks": ("quickstart_dpo", (_DRAWN,)),
    "nothing-learned": ("quickstart", (_DRAWN, "train.learning_rate=1e-8", "data.num_pairs=1600")),
}


def draw(name: str) -> None:
    """Run the recipe of a picture, and keep its curves."""
    recipe, changes = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        made = run(load_recipe(ROOT / "recipes" / f"{recipe}.yaml", [*changes, f"output.dir={folder}/run"]))
        shutil.copy(made.run_dir / "curves.png", PICTURES / f"{name}.png")


if __name__ == "__main__":
    for each in sys.argv[1:] or RUNS:
        draw(each)
