"""The tables of methods.md: terms by their own docstrings, recipes by their terms."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mdpo_core import Recipe, Strength, Term, component, load_recipe
from mdpo_core.interfaces.strengths.by_row import options_by_row
from mdpo_core.registry.discovery import current_registry

ROOT = Path(__file__).parents[2]
METHODS = ROOT / "docs" / "reference" / "methods.md"
RECIPES = ROOT / "recipes"
STRENGTHS = (
    "They take the place of an option that is one number for all rows: `weight` of any term, or an option that the "
    'tables above\nlist under "by row", such as `beta: {strength: mm_rlhf}` or `weight: {column: confidence}`. '
    "There is more in\n[a number for each row](../guides/recipes.md#a-number-for-each-row)."
)
MARK = "compares them. -->\n"
# What the symbols of the formulas mean; the legend above a table has those that stand in it.
SYMBOLS = {
    "lp": "log-prob of a response under the policy, summed over its tokens; the end token counts",
    "r": "log-ratio: `lp` of the policy minus that of the reference",
    "w": "the preferred view (of the option `prefer`)",
    "l": "the other view (of the option `over`)",
    "D": "`r_w - r_l`, the difference of two log-ratios",
    "y": "a response; `|y|` is its number of tokens",
    "m": "an image; `r(m,y)` is the log-ratio of the response `y` to the image `m`",
    "s": "the sigmoid",
    "ls": "the logarithm of the sigmoid",
    "KL": "divergence of the distributions that predict a token; `KL(reference || policy)`",
}
# Options that have no default, as an example has them.
OPTIONS: dict[str, dict[str, object]] = {
    "softmax_dpo": {"over": ["rejected", "chosen@crop"]},
    "listwise": {"order": ["chosen", "rejected", "chosen@crop"]},
    "v_dpo": {"guidance": 1.5},
    "visual_tpo": {"base": 0.5},
    "hpo": {"weight": 1.0, "alpha": 1.0},
    "spo": {"weight": 1.0, "degrees": ["chosen", "half", "little"]},
    "column": {"column": "NAME"},
    "dama": {"usual_gap": 0.0},
}


def methods() -> str:
    """The page with its tables written again."""
    used = {str(file.relative_to(RECIPES)): load_recipe(file) for file in _top_first(RECIPES.rglob("*.yaml"))}
    tables = [_terms("loss", used), _terms("anchor", used), _strengths(used), _recipes(used)]
    return METHODS.read_text().partition(MARK)[0] + MARK + "\n" + "\n".join(tables)


def _top_first(files: Iterable[Path]) -> list[Path]:
    """The files of the folder itself, then those of the folders in it, each in the order of their names."""
    return sorted(files, key=lambda file: (len(file.parts), file))


def _terms(kind: str, used: dict[str, Recipe]) -> str:
    head = ("name", "what it does", "formula", "paper", "compares", "also needs", "by row", "recipes")
    title = {"loss": "Losses", "anchor": "Anchors"}[kind]
    names = sorted(current_registry().components(kind))
    rows = [_term(kind, name, used) for name in names]
    return "\n".join([f"## {title}", "", *_legend(row[2] for row in rows), "", *_table(head, iter(rows)), ""])


def _legend(formulas: Iterable[str]) -> Iterator[str]:
    """The symbols that stand in the formulas, as a list."""
    # An underscore joins two symbols: r_w.
    there = set(re.findall(r"[A-Za-z]+", " ".join(formulas).replace("_", " ")))
    yield "In the formulas, for one pair:"
    yield ""
    yield from (f"- `{symbol}`: {meaning}" for symbol, meaning in SYMBOLS.items() if symbol in there)
    yield "- names such as `beta`: options of the term"


def _term(kind: str, name: str, used: dict[str, Recipe]) -> Sequence[str]:
    term = component(kind, name, **OPTIONS.get(name, {}))
    assert isinstance(term, Term)
    text = inspect.cleandoc(type(term).__doc__ or "")
    what, papers = _what_and_papers(text.splitlines()[0])
    views = dict.fromkeys(term.views())
    recipes = [
        f"`{file}`" for file, recipe in used.items() if any(type(each) is type(term) for each in recipe.objective)
    ]
    shown = recipes if len(recipes) < 3 else [recipes[0], f"and {len(recipes) - 1} more"]
    return (
        f"`{name}`",
        what,
        formula(text),
        papers,
        f"{len(views)}: {', '.join(f'`{view}`' for view in views)}",
        ", ".join(_needs(term)),
        ", ".join(f"`{option}`" for option in options_by_row(type(term)) if option != "weight"),
        ", ".join(shown),
    )


def _strengths(used: dict[str, Recipe]) -> str:
    head = ("name", "what it gives", "formula", "paper", "reads", "recipes")
    rows = [_strength(name, used) for name in sorted(current_registry().components("strength"))]
    return "\n".join(
        ["## Strengths", "", STRENGTHS, "", *_legend(row[2] for row in rows), "", *_table(head, iter(rows)), ""]
    )


def _strength(name: str, used: dict[str, Recipe]) -> Sequence[str]:
    strength = component("strength", name, **OPTIONS.get(name, {}))
    assert isinstance(strength, Strength)
    text = inspect.cleandoc(type(strength).__doc__ or "")
    what, papers = _what_and_papers(text.splitlines()[0])
    reads = [f"column `{column}`" for column in strength.columns()]
    reads += ["margins"] * strength.reads_margins + ["the whole batch"] * bool(strength.means())
    recipes = [
        f"`{file}`"
        for file, recipe in used.items()
        if any(type(each) is type(strength) for term in recipe.objective for each in term.strengths().values())
    ]
    return f"`{name}`", what.replace("``", "`"), formula(text), papers, ", ".join(reads), ", ".join(recipes)


def _what_and_papers(line: str) -> tuple[str, str]:
    """The first line of a docstring, and the papers that it names as links."""
    papers = re.findall(r"\d{4}\.\d{5}", line)
    links = ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in papers)
    return re.sub(r"(, | )?arXiv:[\d., ]*\d(, eq\. \d+)?( and table \d)?", "", line).replace(" ()", "").replace(
        "()", ""
    ), links


def formula(text: str) -> str:
    """The indented lines of a docstring, and what stands apart in them, one below the other."""
    lines = [line.strip().replace("``", "") for line in text.splitlines() if line.startswith("    ")]
    return "<br>".join(f"`{part}`" for line in lines for part in re.split(" {4,}", line))


def _needs(term: Term) -> Iterator[str]:
    if not term.reads_reference:
        yield "no reference"
    yield from (f"column `{column}`" for column in term.columns())
    if term.needs_tokens:
        yield "log-probs of tokens"
    if term.statistics():
        yield "whole distributions"
    if term.probes():
        yield "a module that trains with the model"
    if term.means:
        yield "a running mean"
    if term.compares_pairs:
        yield "several pairs a micro-batch"


def _recipes(used: dict[str, Recipe]) -> str:
    rows = (
        (f"`{file}`", "<br>".join(map(_listed, recipe.objective)), _num_views(recipe)) for file, recipe in used.items()
    )
    return "\n".join(["## Recipes", "", *_table(("recipe", "objective", "views"), rows), ""])


def _listed(term: Term) -> str:
    by_row = term.strengths()
    weight = f"{term.weight:g} " if "weight" not in by_row and term.weight != 1 else ""
    differing = "".join(f", {option} by `{each.component_name()}`" for option, each in by_row.items())
    return f"{weight}`{term.component_name()}` of {', '.join(f'`{view}`' for view in term.views())}{differing}"


def _num_views(recipe: Recipe) -> str:
    return str(len({view for term in recipe.objective for view in term.views()}))


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
