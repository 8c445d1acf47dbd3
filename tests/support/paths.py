"""Folders of the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
TESTS = ROOT / "tests"
DATA = TESTS / "data"
LLAVA_MDPO = RECIPES / "llava_mdpo.yaml"
