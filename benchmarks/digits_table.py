"""The paper's effect on the digits: ``python -m benchmarks.digits_table [--seeds 0 1 2]``.

Runs the quickstart recipes with several seeds (of the pairs that are drawn, and of their order) and prints a table in
Markdown. Each run takes about a minute on 2 cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from mdpo_core import load_recipe, run

RECIPES = {
    "DPO": "quickstart_dpo.yaml",
    "DPO (No Image)": "quickstart_dpo_no_image.yaml",
    "mDPO without the anchor": "quickstart_no_anchor.yaml",
    "mDPO": "quickstart.yaml",
}
FOLDER = Path(__file__).parent.parent / "recipes"


def measure(recipe_name: str, seed: int, folder: Path) -> list[dict[str, float]]:
    """Evaluations before and after one run."""
    recipe = load_recipe(FOLDER / recipe_name, [f"train.seed={seed}", f"data.seed={seed}"])
    evaluations = run(recipe, run_dir=folder).evaluations
    return [evaluations[step] for step in sorted(evaluations)]


def row(name: str, measured: list[dict[str, float]]) -> str:
    cells = []
    for metric, form in (("wrong_digits", ".3f"), ("hallucinated", ".3f"), ("chosen_reward", "+.2f")):
        values = [each.get(f"eval/digits/{metric}") for each in measured]
        cells.append(", ".join("-" if value is None else f"{value:{form}}" for value in values))
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    print("| trained with | wrong digits by position | mentioned digits not in the picture | mean chosen reward |")
    print("|---|---|---|---|")
    base: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe_name in RECIPES.items():
            runs = [measure(recipe_name, seed, Path(folder) / f"{recipe_name}-{seed}") for seed in seeds]
            if not base:
                base = [runs[0][0]]
                print(row("base", base), flush=True)
            print(row(name, [evaluations[-1] for evaluations in runs]), flush=True)


if __name__ == "__main__":
    main()
