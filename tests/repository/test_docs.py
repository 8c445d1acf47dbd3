"""The documentation says what the software does."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from support.builders.small_vlms import build_vlm
from support.data_commands import recipe_of, write_rows
from support.paths import ROOT

from mdpo_core import Loss, ScorerOutput, Scores, TokenLogProbs, component, load_recipe
from mdpo_core.cli.parser import build_parser
from mdpo_core.make_data.relabel import Relabeling, relabel
from mdpo_core.registry.discovery import Registry, current_registry, use_registry
from mdpo_core.testing import check_loss

sys.path.insert(0, str(ROOT / "scripts" / "docs"))


def blocks(page: str, language: str) -> list[str]:
    return [part.partition("```")[0] for part in (ROOT / page).read_text().split(f"```{language}\n")[1:]]


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/**/*.md")])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\(.*?\)", "", title.lower())).strip() for title in titles)
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_points_to_something(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if "://" in link or (target.exists() and (not anchor or anchor in anchors(target))):
            continue
        broken.append(link)
    assert not broken, f"{page.relative_to(ROOT)}: no such file or heading"


def test_the_tables_of_recipe_keys_are_those_of_the_classes() -> None:
    from make_tables import PAGE, page

    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py"


def test_the_tables_of_methods_are_those_of_the_classes() -> None:
    from methods import METHODS, methods

    assert METHODS.read_text() == methods(), "run: python scripts/docs/make.py"


def test_the_page_on_commands_is_what_help_prints() -> None:
    from cli import PAGE, page

    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py cli.md"


def test_the_page_of_public_names_is_that_of_the_source() -> None:
    from api import PAGE, page

    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py api.md"


def test_the_tables_of_other_trainers_are_those_of_the_code() -> None:
    from coming_from import PAGE, page

    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py coming-from.md"


def test_the_page_of_known_plugins_is_that_of_the_entry_points() -> None:
    from known_plugins import PAGE, page

    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py known-plugins.md"


def test_every_term_docstring_has_its_formula_and_paper() -> None:
    from methods import formula

    for kind in ("loss", "anchor"):
        for name, cls in current_registry().components(kind).items():
            text = inspect.cleandoc(cls.__doc__ or "")
            assert formula(text), name
            assert "arXiv:" in text.splitlines()[0], name


# Words that are as short as symbols.
WORDS = {"a", "an", "at", "in", "is", "it", "js", "of", "or", "to"}


def test_formula_symbols_are_explained_there_or_above_the_table() -> None:
    from methods import SYMBOLS, formula

    for kind in ("loss", "anchor"):
        for name, cls in current_registry().components(kind).items():
            text = formula(inspect.cleandoc(cls.__doc__ or "")).replace("<br>", " ")
            # x: ...; x_t = ...; f(x): ...; x, y: ...; sum_x, mean over x
            found = re.findall(r"([A-Za-z]+['\d]*)(?:_\w)?(?:\(([\w,]+)\))?(?=(?:, [\w']+)*(?::| =))", text)
            explained = {each for one, others in found for each in (one, *others.split(","))}
            counters = re.findall(r"(?:sum_|over )(\w)\b", text)
            symbols = set(re.findall(r"(?<![\w^'])([A-Za-z]{1,2}['\d]*)(?:_\w+)?(?![\w'])", text))
            options = {option.partition("_")[0] for option in cls.model_fields}
            assert symbols <= {*explained, *counters, *options, *SYMBOLS, *WORDS}, (name, text)


def texts_of(file: Path) -> list[str]:
    """The string literals of a file; what an f-string fills in is left out."""
    tree = ast.parse(file.read_text())
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    texts = [[part.value if isinstance(part, ast.Constant) else "\0" for part in node.values] for node in joined]
    plain = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [*("".join(map(str, parts)) for parts in texts), *plain]


def test_troubleshooting_page_messages_are_in_the_code() -> None:
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text()
    files = [*(ROOT / "mdpo_core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    texts = "\0\0".join(text for file in files for text in texts_of(file))
    messages = [message.replace("\n", " ") for message in re.findall(r"`([^`]*\.\.\.[^`]*)`", page)]
    pieces = [piece.strip(" '") for message in messages for piece in re.split(r"\.\.\.|\bN\b|<image>", message)]
    assert len(messages) > 20
    assert [piece for piece in pieces if len(piece) > 10 and piece not in texts] == []


def files_in_tree(tree: str) -> list[str]:
    """The files that a tree names, as paths: a line's indent says in which folder they are."""
    found, room = [], ""
    for line in tree.splitlines():
        if folder := re.match(r"  (\w+/)", line):
            room = folder[1]
        elif files := re.match(r"( +)((?:[\w/]+\.py *)+)", line):
            found += [f"{room if len(files[1]) > 2 else ''}{file}" for file in files[2].split()]
    return found


def test_overview_tree_lists_every_core_file_once() -> None:
    core = ROOT / "mdpo_core"
    page = (ROOT / "docs" / "design" / "overview.md").read_text()
    tree = page.partition("```\nmdpo_core/\n")[2].partition("```")[0]
    paths = (file.relative_to(core) for file in core.rglob("*.py") if file.name != "__init__.py")
    files = [str(path) for path in paths if path.parts[0] not in {"testing", "cli"}]
    named = files_in_tree(tree)
    assert sorted(named) == sorted([*files, "__init__.py"])


@pytest.mark.parametrize("page", ["docs/design/overview.md", "docs/glossary.md"])
def test_every_path_in_a_table_exists(page: str) -> None:
    rows = "\n".join(re.findall(r"^\|.*\|$", (ROOT / page).read_text(), re.MULTILINE))
    paths = re.findall(r"`([\w/]+(?:\.py|/))`", rows)
    assert paths
    assert [path for path in paths if not any((root / path).exists() for root in (ROOT, ROOT / "mdpo_core"))] == []


def test_the_step_of_the_concepts_page_is_what_the_terms_give() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text()
    sums = re.findall(r"^\| `(.*)` \| (-[\d.]+) \| (-[\d.]+) \| (-?[\d.]+) \|$", page, re.MULTILINE)
    policy = {view: torch.tensor([float(log_prob)]) for view, log_prob, _, _ in sums}
    reference = {view: torch.tensor([float(log_prob)]) for view, _, log_prob, _ in sums}
    scores = Scores.from_sums(policy, reference, {view: torch.tensor([10]) for view in policy})
    assert [round(float(scores.log_ratio(view)), 1) for view, *_ in sums] == [float(ratio) for *_, ratio in sums]
    terms = YAML(typ="safe").load(blocks("docs/concepts.md", "yaml")[0])["objective"]
    kinds = [next(kind for kind in ("loss", "anchor") if kind in term) for term in terms]
    losses = [component(kind, term.pop(kind), **term)(scores) for kind, term in zip(kinds, terms, strict=True)]  # type: ignore[operator]
    told = [float(value) for value in re.findall(r"^\|.* \| (\d\.\d{4}) \|$", page, re.MULTILINE)]
    assert told == [round(float(value), 4) for value in [*losses, sum(losses)]]


def test_the_recipe_of_the_readme_is_the_paper_s_run(tmp_path: Path) -> None:
    file = tmp_path / "readme.yaml"
    file.write_text(blocks("README.md", "yaml")[0])
    shown, shipped = load_recipe(file), load_recipe(ROOT / "recipes" / "llava_mdpo.yaml")
    assert (shown.model, shown.data, shown.corruptions, shown.objective, shown.backend) == (
        shipped.model,
        shipped.data,
        shipped.corruptions,
        shipped.objective,
        shipped.backend,
    )
    assert shown.train.epochs == shipped.train.epochs


def test_the_views_of_the_recipe_page_are_valid_yaml() -> None:
    assert YAML(typ="safe").load(blocks("docs/guides/recipes.md", "yaml")[0]).keys() == {"corruptions", "objective"}


def test_recipe_page_rows_give_what_its_corruptions_need(tmp_path: Path) -> None:
    recipe = tmp_path / "rows.yaml"
    base = os.path.relpath(ROOT / "recipes" / "llava_mdpo.yaml", tmp_path)
    terms = [f"{{loss: dpo, over: chosen@{name}}}" for name in ("edited", "second", "similar", "noise")]
    objective = f"objective: [{', '.join(terms)}, {{loss: dpo, over: second}}]"
    recipe.write_text(f"extends: {base}\n{blocks('docs/guides/recipes.md', 'yaml')[1]}{objective}\n")
    assert load_recipe(recipe).corruptions.keys() > {"edited", "second", "similar", "noise"}


def test_the_recipe_of_the_guide_to_videos_is_one(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    parts = "".join(blocks("docs/guides/video.md", "yaml"))
    recipe.write_text(f"extends: {ROOT / 'recipes' / 'qwen2_5_vl_mdpo.yaml'}\n{parts}")
    assert {"shuffled", "backwards", "still", "elsewhere"} <= load_recipe(recipe).corruptions.keys()


def test_the_commands_of_the_page_on_making_data_are_valid() -> None:
    page = (ROOT / "docs" / "guides" / "make-data.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^(mdpo (?:gen|rel).*?)(?:  #.*)?$", page, re.MULTILINE)]
    commands += [shlex.split(line) for line in re.findall(r"`(mdpo (?:gen|rel)[^`]* --out [^`]*)`", page)]
    assert len(commands) == 8
    conditions = YAML(typ="safe").load(blocks("docs/guides/make-data.md", "yaml")[0])["corruptions"]
    for options in conditions.values():
        component("corruption", options.pop("corruption"), **options)
    for _, *words in commands:
        assert getattr(build_parser().parse_args(words), "condition", "clean") in {"clean", *conditions}


def test_the_commands_of_the_page_on_using_the_model_are_valid() -> None:
    page = "docs/guides/use-the-model.md"
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("mdpo ")]
    commands = [build_parser().parse_args(shlex.split(line, comments=True)[1:]) for line in lines]
    assert [command.command for command in commands] == [*["ask"] * 3, *["export"] * 2, *["push"] * 3]
    for block in blocks(page, "python"):
        ast.parse(block)


def test_make_data_page_spa_command_reads_what_relabel_made(
    changes: list[str], photographs: Path, tmp_path: Path
) -> None:
    """The spa command of the page on making data reads what the one before it makes."""
    page = (ROOT / "docs" / "guides" / "make-data.md").read_text()
    [command] = re.findall(r"^mdpo-run RECIPE .*$", page, re.MULTILINE)
    words = shlex.split(command)
    out = tmp_path / "PAIRS.jsonl"
    sets = [after.replace("PAIRS.jsonl", str(out)) for word, after in pairwise(words) if word == "--set"]
    source = write_rows(tmp_path / "rows.jsonl", [{"img_path": "00.jpg", "answers": ["A", "B"], "points": [1, 2]}])
    relabeling = Relabeling(candidates="answers", scores="points", low_confidence=0.1)
    relabel(recipe_of(changes, source, "data.responses={}"), out, relabeling)
    recipe = load_recipe(ROOT / "recipes" / "llava_mdpo.yaml", [*changes, *sets])
    assert recipe.to_dict()["data"]["images"] == str(photographs)
    [example] = recipe.data.open()
    assert len(example.images) == 1
    assert (example.responses, example.columns) == ({"chosen": "B", "rejected": "A"}, {"low_confidence": 0.0})


def installed(source: Path, site: Path) -> Path:
    """A package, as pip installs it."""
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*install, str(source)], check=True, capture_output=True)
    return site


@pytest.mark.long
def test_the_model_of_the_page_is_added_by_what_the_page_says(tmp_path: Path) -> None:
    module, tiny, test = blocks("docs/extend/add-a-model.md", "python")
    source = tmp_path / "source"
    (source / "tests").mkdir(parents=True)
    for text in (module, test, blocks("docs/extend/add-a-model.md", "toml")[0]):
        title, _, content = text.partition("\n")
        (source / title.removeprefix("# ")).write_text(content)
    build_vlm("vipllava", tmp_path / "models" / "vip-llava-7b")
    subprocess.run([sys.executable, "-c", tiny], check=True, cwd=tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed(source, tmp_path / "site")),
        "VIPLLAVA": str(tmp_path / "models" / "vip-llava-tiny"),
    }
    pytest = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(source), str(source / "tests")]
    tried = subprocess.run(pytest, capture_output=True, text=True, env=environment)
    assert tried.returncode == 0, tried.stdout


def test_the_parts_of_the_recipe_page_are_a_valid_model() -> None:
    options = YAML(typ="safe").load(blocks("docs/guides/recipes.md", "yaml")[2])["model"]
    training = component("adapter", options.pop("adapter"), **options).training  # type: ignore[attr-defined]
    assert {part: each.mode for part, each in training.items()} == {
        "vision": "lora",
        "projector": "full",
        "language": "lora",
    }


def test_the_held_out_rows_of_the_recipe_page_are_a_valid_recipe() -> None:
    [block] = [each for each in blocks("docs/guides/recipes.md", "yaml") if "hold_out" in each]
    sets = [f"{section}={json.dumps(options)}" for section, options in YAML(typ="safe").load(block).items()]
    recipe = load_recipe(ROOT / "recipes" / "llava_mdpo.yaml", sets)
    assert recipe.data.hold_out is not None
    assert [each.reads_held_out for each in recipe.evaluators] == [True]


def test_plugin_page_loss_of_other_views_keeps_contract_and_word() -> None:
    """The page's loss of other views keeps its contract, and computes what its text says."""
    found: dict[str, type[Loss]] = {}
    exec(blocks("docs/extend/write-a-plugin.md", "python")[3], found)
    loss = found["Grounded"](blind="crop")  # type: ignore[call-arg]
    check_loss(loss)
    mask = torch.tensor([[True, True, False]])
    views = zip(loss.views(), (-1.0, -1.25), strict=True)
    policy = {view: TokenLogProbs(torch.tensor([[value, value, 0.0]]), mask) for view, value in views}
    scores = Scores.from_tokens(ScorerOutput(policy, {}), torch.tensor([True]), {})
    assert loss(scores).tolist() == [0.75]


def test_the_loss_in_a_notebook_of_the_page_is_in_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    before = current_registry()
    use_registry(Registry.discover())
    try:
        found: dict[str, Any] = {"__name__": "notebook"}
        exec(blocks("docs/extend/write-a-plugin.md", "python")[2], found)
        assert found["recipe"].objective == (found["MyHinge"](beta=0.2),)
        assert found["recipe"].labels() == ("0:my_hinge",)
    finally:
        use_registry(before)


def test_the_file_of_the_page_is_a_plugin_in_its_command(own_registry: None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(blocks("docs/extend/write-a-plugin.md", "python")[0])
    *_, run = blocks("docs/extend/write-a-plugin.md", "sh")[0].splitlines()
    options = build_parser().parse_args(["run", *shlex.split(run)[1:]])
    recipe = load_recipe(options.recipe, options.set, plugins=[tmp_path / file for file in options.plugin])
    assert recipe.labels()[0] == "0:my_hinge"


def test_example_plugin_equals_the_page_and_works_installed(tmp_path: Path) -> None:
    page = blocks("docs/extend/write-a-plugin.md", "python")[1].partition("\n")[2]
    example = ROOT / "examples" / "mdpo_hinge2"
    assert page.split() == (example / "mdpo_hinge2.py").read_text().split()
    # pip leaves its build beside the sources.
    site = installed(shutil.copytree(example, tmp_path / "source"), tmp_path / "site")
    recipe = tmp_path / "hinge.yaml"
    base = os.path.relpath(ROOT / "recipes" / "quickstart.yaml", tmp_path)
    recipe.write_text(f"extends: {base}\nobjective: [{{loss: hinge2, beta: 0.2}}]\n")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    check = [sys.executable, "-m", "mdpo_core.cli", "check", str(recipe)]
    checked = subprocess.run(check, capture_output=True, text=True, env=environment)
    assert (checked.returncode, checked.stderr) == (0, "")
