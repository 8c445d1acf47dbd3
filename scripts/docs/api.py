"""The page api.md: every public name with its signature and docstring, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import mdpo_core.public
import mdpo_core.testing

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "api.md"
WIDTH = 100
HEAD = """# Public names

What `import mdpo_core` and `import mdpo_core.testing` offer. Plugins import these names and no submodules, so that
everything else can change.

<!-- Made by `python scripts/docs/make.py`; a test compares it. GROUPS in scripts/docs/api.py sorts the names. -->
"""
GROUPS = {
    "Run and recipe": "Comparison Range Recipe RecipeLike RunResult SweepResult Train Trial compare component "
    "load_recipe register run search sweep",
    "Use a model": "TrainedModel load_trained",
    "Data": "IMAGE_MARK MARK OTHER_MARKS VIDEO_MARK Begun Block Box DroppedTokens Example ExampleField Flag "
    "HoldOut ImageOptions LazyRows Prompt Role RowStream Rows StoredRows Turn count_marks escape_marks note_file "
    "other_kind read_image replace_marks rows_in_random_order",
    "Make pairs": "Generation Keep NewPairs NewRow Relabeling generate_rejected relabel",
    "Views, batches and scores": "Batch EncodedImage EncodedPrompt EncodedRow ImageInputs Packed PaddedView "
    "ResponseTokens ScorerOutput Scores TokenLogProbs View",
    "Components": "AdamW Anchor Backend Component Corruption DataSummary Evaluator ImageCorruption Loss ModelAdapter "
    "Optimizer PairLoss Reader SelectiveCorruption Term Tracker hookimpl",
    "Benchmarks": "Answer AnswerNames AskedQuestions Benchmark BenchmarkScore JudgeUse Question Score StoredRow "
    "answers_in_order read_rows require_file",
    "Models behind servers": "ChatReply ChatRequest ChatServer Patience RequestStopped ServerAddress UnusableReply "
    "reply_in",
    "What terms ask for": "Probe Statistic",
    "Numbers for each row": "BatchMean ByRow ColumnStrength Pairs Strength",
    "Models": "ALL_LINEAR PARTS Decoding Depth Dtype Encoder Head LayeredModel Lora Part PartOptions PartTraining "
    "Parts Placement ModelSummary Routing VisionLanguageModel layers_of on_cpu to_device",
    "Engines and training": "MOMENTS OF_ENGINE Engine Policy RowLogProb RunSize Sample SavedEngineState TensorSlice "
    "TrackerLog TrainableScorer TrainedWeights UpdateOptions Updates parameter_groups place_step_count "
    "set_learning_rate whole_tensor",
    "Memory": "Amount KeptMemory OptimizerMemory WeightSizes",
    "Processes, devices and files": "World atomic_folder atomic_write current_world device_of exclusive_folder "
    "local_device peak_memory remembered require_devices set_compute_device",
    "Errors": "CheckpointError DataError MdpoError PluginError Problem RecipeError blame_on by_frequency counted "
    "is_shortage suggestion",
}


class Definition(NamedTuple):
    """Where a name is defined: its statement, and the lines of the file that it is in."""

    node: ast.stmt
    lines: list[str]
    file: str


def page() -> str:
    """Every public name in its group."""
    core, testing = _definitions(mdpo_core.public.__file__), _definitions(mdpo_core.testing.__file__)
    grouped = {title: names.split() for title, names in GROUPS.items()}
    _require_all(mdpo_core.public.__all__, [name for names in grouped.values() for name in names])
    parts = [_group(title, names, core) for title, names in grouped.items()]
    return "\n".join([HEAD, *parts, _group("mdpo_core.testing", sorted(mdpo_core.testing.__all__), testing)])


def _require_all(public: list[str], grouped: list[str]) -> None:
    difference = set(public) ^ set(grouped)
    if difference:
        raise ValueError(f"GROUPS in scripts/docs/api.py must hold the public names, and differs in {difference}")


def _definitions(face: str | None) -> Mapping[str, Definition]:
    """The public names that a file imports, with their definitions."""
    assert face is not None
    found = {}
    for node in ast.parse(Path(face).read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            module = ROOT.joinpath(*node.module.split("."))
            file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            found |= {alias.asname or alias.name: _definition(file, alias.name) for alias in node.names}
    return found


def _definition(file: Path, name: str) -> Definition:
    text = file.read_text()
    for node in ast.parse(text).body:
        if name in _names(node):
            return Definition(node, text.splitlines(), str(file.relative_to(ROOT)))
    raise ValueError(f"{file} does not define {name}")


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _group(title: str, names: list[str], definitions: Mapping[str, Definition]) -> str:
    return "\n".join([f"## {title}", "", *(_entry(name, definitions[name]) for name in names)])


def _entry(name: str, definition: Definition) -> str:
    node = definition.node
    if isinstance(node, ast.ClassDef):
        code, text = _class_signature(node), [_docstring(node), "\n\n".join(_methods(node))]
    elif isinstance(node, ast.FunctionDef):
        code, text = _signature(name, _arguments(node.args), node.returns), [_docstring(node)]
    else:
        code, text = ast.unparse(node), [_comment(definition)]
    body = "\n\n".join(filter(None, text))
    return f"### {name}\n\n```python\n{code}\n```\n\n{body}\n\nIn `{definition.file}`.\n".replace("\n\n\n", "\n\n")


def _comment(definition: Definition) -> str:
    """The comment above an assignment."""
    lines: list[str] = []
    for line in reversed(definition.lines[: definition.node.lineno - 1]):
        if not line.startswith("# "):
            break
        lines.insert(0, line.removeprefix("# "))
    return "\n".join(lines)


def _class_signature(node: ast.ClassDef) -> str:
    """The class with its bases, and the fields or options that it declares, with their defaults."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    head = f"class {node.name}({bases})" if bases else f"class {node.name}"
    fields = [f"    {line}" for line in _fields(node)]
    return "\n".join([f"{head}:", *fields]) if fields else head


def _fields(node: ast.ClassDef) -> Iterator[str]:
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and not ast.unparse(each.target).startswith("_"):
            yield _option(each) if ast.unparse(each.value or each.target).startswith("Field(") else ast.unparse(each)


def _option(node: ast.AnnAssign) -> str:
    """An option of a component: its default, and its description as a comment."""
    assert isinstance(node.value, ast.Call)
    given = {each.arg: each.value for each in node.value.keywords}
    head = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
    if "default_factory" in given:
        head += f" = {ast.unparse(given['default_factory'])}()"
    elif "default" in given:
        head += f" = {ast.unparse(given['default'])}"
    description = given.get("description")
    return f"{head}  # {description.value}" if isinstance(description, ast.Constant) else head


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and (not each.name.startswith("_") or each.name == "__call__"):
            arguments = _arguments(each.args, skip_self=not _is(each, "staticmethod"))
            code = (
                each.name
                if _is(each, "property")
                else _signature(each.name, arguments, each.returns).removeprefix("def ")
            )
            yield f"- `{' '.join(code.split())}`{_indented(_docstring(each))}"


def _is(node: ast.FunctionDef, decorator: str) -> bool:
    return any(ast.unparse(each).endswith(decorator) for each in node.decorator_list)


def _indented(text: str) -> str:
    # Four blanks: with two, MkDocs ends the list. And an empty line before each item, or it joins the paragraph above.
    return "".join(f"\n    {line}" if line else "\n" for line in ["", *text.splitlines()]) if text else ""


def _signature(name: str, arguments: list[str], returns: ast.expr | None) -> str:
    answer = f" -> {ast.unparse(returns)}" if returns else ""
    line = f"def {name}({', '.join(arguments)}){answer}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"def {name}(", *(f"    {each}," for each in arguments), f"){answer}"])


def _arguments(arguments: ast.arguments, skip_self: bool = False) -> list[str]:
    """Each parameter as the source has it."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + [*arguments.defaults]
    found = [_argument(each, default) for each, default in zip(plain, defaults, strict=True)]
    found = found[1:] if skip_self and plain and plain[0].arg in ("self", "cls") else found
    if arguments.vararg or arguments.kwonlyargs:
        found.append(f"*{_argument(arguments.vararg, None)}" if arguments.vararg else "*")
    found += [_argument(*each) for each in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [*found, f"**{_argument(arguments.kwarg, None)}"] if arguments.kwarg else found


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    text = argument.arg + (f": {ast.unparse(argument.annotation)}" if argument.annotation else "")
    if default is None:
        return text
    return f"{text} = {ast.unparse(default)}" if argument.annotation else f"{text}={ast.unparse(default)}"


def _docstring(node: ast.ClassDef | ast.FunctionDef) -> str:
    """The docstring in Markdown."""
    return (ast.get_docstring(node) or "").replace("``", "`")
