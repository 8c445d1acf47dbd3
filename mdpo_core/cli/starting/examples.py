"""What stands at the end of ``--help``: where to start, and the examples of every command."""

from __future__ import annotations

from collections.abc import Mapping

START_HERE = """start here:
  mdpo-run quickstart                 train a tiny model: one minute, no GPU
  mdpo check RECIPE --data            find every problem before you train
  mdpo COMMAND --help                 read about one command

complete words with Tab (bash, zsh), after pip install "mdpo[completion]":
  eval "$(register-python-argcomplete mdpo mdpo-run)"

The documentation starts at docs/index.md.
"""

# By command: each example, and what it does. Texts are short, so that a line fits 80 columns.
EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "run": (
        ("mdpo-run quickstart", "train a tiny model in a minute"),
        ("mdpo-run mine.yaml --set train.seed=1 --run-dir runs/seed1", ""),
        ("mdpo-run mine.yaml --resume", "continue a stopped run"),
        ("mdpo-run mine.yaml --processes 8", "one process for each GPU"),
    ),
    "sweep": (
        ("mdpo sweep mine.yaml --set train.seed=0..2 --out runs/seeds", "three runs"),
        ("mdpo sweep mine.yaml --set train.epochs=1,2 --set train.seed=0..2 --out runs/a", ""),
        ("mdpo sweep mine.yaml --set train.seed=0..7 --out runs/b --parallel 4", ""),
    ),
    "check": (
        ("mdpo check mine.yaml", "the recipe alone: takes a second"),
        ("mdpo check mine.yaml --data", "also every row and picture"),
        ("mdpo check mine.yaml --show 3", "the tokens of three rows"),
        ("mdpo check mine.yaml --gpu 24", "what fits a card of 24 GB"),
    ),
    "preview": (
        ("mdpo preview mine.yaml --out page.html", ""),
        ("mdpo preview mine.yaml --out page.html --rows 10 --seed 1", ""),
    ),
    "profile": (
        ("mdpo profile mine.yaml", ""),
        ("mdpo profile mine.yaml --steps 20 --json times.json", ""),
    ),
    "ask": (
        ('mdpo ask runs/mine --image photo.jpg --prompt "What is it?"', ""),
        ('mdpo ask runs/mine --image photo.jpg --prompt "What is it?" --base', ""),
        ('mdpo ask exported --image photo.jpg --prompt "What is it?"', ""),
    ),
    "export": (
        ("mdpo export runs/mine --out exported", "for transformers or peft"),
        ("mdpo export runs/mine --merge --out merged", "LoRA within the weights"),
        ("mdpo export runs/mine --step 900 --out earlier", "an earlier checkpoint"),
        ("mdpo export runs/mine --base llava-hf/llava-1.5-7b-hf --out exported", ""),
    ),
    "push": (
        ("mdpo push runs/mine me/my-model --dry-run", "the card, and what would go"),
        ("mdpo push runs/mine me/my-model --private", ""),
        ("mdpo push runs/mine me/my-model --base llava-hf/llava-1.5-7b-hf", ""),
    ),
    "answer": (
        ("mdpo answer pope --model runs/mine --images DIR --questions FILE --out a.jsonl", ""),
        ("mdpo answer amber --model mine.yaml --images DIR --data DIR --out a.jsonl", ""),
        ("mdpo answer chair --server http://localhost:8000/v1 --images DIR --out a.jsonl", ""),
    ),
    "score": (
        ("mdpo score pope --answers answers.jsonl --questions coco_pope_random.json", ""),
        ("mdpo score amber --answers answers.json --data AMBER/data --out result.json", ""),
    ),
    "eval": (("mdpo eval runs/mine", ""), ("mdpo eval mine.yaml --batch-size 16", "")),
    "compare": (
        ("mdpo compare runs/mine --out report.html", "the report of one run"),
        ("mdpo compare runs/a runs/b --out page.html --out table.md", ""),
    ),
    "data": (
        ("mdpo data pairs.jsonl", ""),
        ("mdpo data 'data/*.parquet' --recipe mine.yaml", "write a recipe, too"),
    ),
    "generate-rejected": (
        ("mdpo generate-rejected mine.yaml --out pairs.jsonl", ""),
        ("mdpo generate-rejected mine.yaml --keep 0.5 --out pairs.jsonl", ""),
        ("mdpo generate-rejected mine.yaml --condition crop --out pairs.jsonl", ""),
    ),
    "relabel": (
        ("mdpo relabel mine.yaml --candidates answers --scores points --out new.jsonl", ""),
        ("mdpo relabel mine.yaml --policy runs/mine/final --out new.jsonl", ""),
    ),
    "corruptions": (
        ("mdpo corruptions photograph.jpg --out sheet.png", ""),
        ("mdpo corruptions photograph.jpg --out sheet.pdf", ""),
    ),
    "new-plugin": (
        ("mdpo new-plugin my_loss --kind loss", ""),
        ("mdpo new-plugin my_reader --kind reader --out plugins/mine", ""),
    ),
    "plugins": (
        ("mdpo plugins", "a line for each component"),
        ("mdpo plugins loss", "one kind"),
        ("mdpo plugins loss dpo", "one component, with all options"),
    ),
    "recipes": (
        ("mdpo recipes", "list them"),
        ("mdpo recipes copy quickstart", "write quickstart.yaml"),
        ("mdpo recipes copy llava_mdpo --out mine.yaml", ""),
    ),
    "new-recipe": (
        ("mdpo new-recipe", "asks for everything"),
        ("mdpo new-recipe --model llava --data my.jsonl --out my.yaml", ""),
        ("mdpo new-recipe --model llava --data my.jsonl --images photos --out my.yaml", ""),
        ("mdpo new-recipe --model llava --data my.jsonl --method dpo --out my.yaml", ""),
    ),
    "convert": (
        ("mdpo convert dpo.yaml --out mine.yaml", "TRL or LLaMA-Factory"),
        ("mdpo convert train.sh --out mine.yaml", "a script of swift rlhf"),
        ("mdpo convert args.json --from swift --processes 8 --out mine.yaml", ""),
    ),
    "schema": (
        ("mdpo schema > recipe.schema.json", ""),
        ("mdpo schema | python -m json.tool --compact", ""),
    ),
}


def examples_of(command: str) -> str:
    """The lines below the options in the help of ``command``; empty if it has no examples."""
    found = EXAMPLES.get(command, ())
    width = max((len(words) for words, meaning in found if meaning), default=0)
    lines = (f"  {words:<{width}}  {meaning}".rstrip() for words, meaning in found)
    return "\n".join(["examples:", *lines]) if found else ""
