"""What the page says besides its numbers."""

from __future__ import annotations

HEAD = """# The paper's claims, in miniature

The paper ([arXiv:2406.11839](https://arxiv.org/abs/2406.11839)) trains models of 3 and 7 billion parameters. `make
study` trains every variant of its Tables 2 to 4, and DPO with and without the picture, on models of a million
parameters or two, in small worlds whose truth is known, with three seeds each. It asks of each claim: does it show
here, and how surely? A small world can show that a term does what the paper says. It cannot show that it does so in a
large model, and where a claim does not show here, it may still hold there.

Code writes this page from [the numbers](study.json): `python -m benchmarks.study --page`."""

LEGEND = """Pale dots are runs, diamonds their mean with its 95 % interval, squares the paper's numbers. The dotted line
is the model before training. Further left is better."""

NOTHING_YET = "**The study was not run yet with this version**: there are no numbers of ours below."

HOW = """## How it was measured

- **Each variant** changes the objective of the world's recipe, and nothing else: the same steps, pairs, learning rate
  and weights before training. A seed draws the pairs and their order.
- **Error bars** and the numbers after ± are 95 % intervals of the mean over the seeds, by Student's t. With three seeds
  they are wide: 2.5 standard deviations on each side.
- **A claim is tested** on the differences between runs of the same seed. It is *shown* if the whole interval of their
  mean lies where the claim says. *In every seed, not surely*: all seeds agree, but the interval does not. *Opposite
  shown*: the whole interval lies on the other side. Everything else is *not shown*.
- **About as much** means: closer than half of what mDPO and DPO differ by in that world.
- Of 20 intervals of 95 %, one is expected to miss the true value. No correction was made for the number of claims.
- **Settings** are those of the recipes, but for what is listed below. How long to train was tried with seed 100, which
  is not among those reported.
- **The paper's numbers** are of Bunny-v1.0-3B, without intervals: CHAIRs of Object HalBench (percent of answers with a
  hallucinated object; less is better) and the score of MMHal-Bench (0 to 6; more is better)."""

# By the name of the table: the heading of its section, and what is compared.
TABLE_TITLES = {
    "picture": (
        "DPO with and without the picture",
        "The paper's Figure 1 and Table 1. DPO (No Image) is trained without the picture in any view, and evaluated "
        "with it.",
    ),
    "table2": (
        "The conditional term and the anchor",
        "The paper's Table 2. DPO has neither.",
    ),
    "table3": (
        "The rejected picture",
        "The paper's Table 3. The rejected picture of mDPO is a crop that keeps 0 to 20 % of the picture.",
    ),
    "table4": (
        "Further anchors",
        "The paper's Table 4. mDPO anchors the chosen answer from below. The others also anchor the rejected answer, "
        "from above; the one with three anchors also the chosen answer with the rejected picture.",
    ),
}
