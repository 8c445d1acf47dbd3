"""The card of a model: a README.md that is made from what its run wrote down."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mdpo_core.cli.sharing.shared import SharedModel
from mdpo_core.interfaces.term import Term
from mdpo_core.words.amounts import counted
from mdpo_core.words.tables import markdown_table

_TAGS = ["preference-optimization", "dpo", "vision-language", "mdpo"]
_FILL_IN = "fill-in"
_SECTIONS = ("corruptions", "objective", "train")
_LOADING = """```python
from transformers import pipeline
answer = pipeline("image-text-to-text", model="{name}")
```

{needed}With mdpo, which reads pictures and prompts as in the training:

```python
from mdpo import load_trained
from huggingface_hub import snapshot_download
model = load_trained(snapshot_download("{name}"))
```"""
_SYMBOLS = (
    "In the formulas, `lp` is the log-prob of a response, `r` its log-ratio (policy minus reference), `w` the "
    "preferred view and `l` the other one, `D` is `r(w) - r(l)`, and `ls(x)` is `log sigmoid(x)`; other names are "
    "options."
)
_LICENCE = """Fill in, here and in the head of this file (`license`, `license_name`, `license_link`):

- licence of these weights: ...
- licence of the base model, which may bind them: ...
- licence and source of the pairs and pictures: ..."""


def card_of(shared: SharedModel, name: str) -> str:
    """The card of a model that the hub calls ``name``."""
    from huggingface_hub import ModelCardData

    head = ModelCardData(
        library_name="peft" if shared.is_lora else "transformers",
        base_model=shared.base,
        pipeline_tag="image-text-to-text",
        tags=_TAGS,
        license="other",
        license_name=_FILL_IN,
        license_link=_FILL_IN,
    )
    return f"---\n{head.to_yaml()}\n---\n\n" + "\n\n".join(_parts(shared, name)) + "\n"


def _parts(shared: SharedModel, name: str) -> Iterator[str]:
    kind = "LoRA weights for" if shared.is_lora else "Trained from"
    base = f"[{shared.base}](https://huggingface.co/{shared.base})" if shared.base else "a model that has no name here"
    yield f"# {name.rpartition('/')[2]}"
    yield f"{kind} {base}, by preference optimization with mdpo {shared.manifest['versions'].get('mdpo', '')}."
    adapter = shared.adapter.for_exported(shared.folder)
    needed = "" if adapter.lost is not None else adapter.needed_by_exports()
    yield f"## Load it\n\n{_LOADING.format(name=name, needed=f'{needed}.  ' if needed else '')}"
    yield f"## Held-out numbers\n\n{_numbers(*shared.evaluations)}"
    yield "## Method\n\nA step minimizes the mean of this sum over its pairs:\n\n" + "\n".join(_terms(shared))
    yield _SYMBOLS
    yield f"## Data\n\n{_data(shared)}"
    yield f"## Settings\n\n```yaml\n{_settings(shared)}```"
    versions = ", ".join(f"{package} {version}" for package, version in shared.manifest["versions"].items())
    yield f"Versions: {versions}."
    yield f"## Licence\n\n{_LICENCE}"


def _numbers(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    if not after:
        return "The run measured nothing on held-out rows."
    rows = [
        (name.removeprefix("eval/"), f"{before[name]:.4g}" if name in before else "", f"{value:.4g}")
        for name, value in after.items()
    ]
    return markdown_table(("metric", "before training", "this model"), rows)


def _terms(shared: SharedModel) -> Iterator[str]:
    for label, term in zip(shared.recipe.labels(), shared.recipe.objective, strict=True):
        text = inspect.cleandoc(type(term).__doc__ or "")
        options = ", ".join(f"{key} {value}" for key, value in _options(term).items())
        what = text.splitlines()[0] if text else ""
        yield f"- **{label}**: {term.kind} `{term.component_name()}` ({options}). {what}"
        formula = [line.strip().replace("``", "") for line in text.splitlines() if line.startswith("    ")]
        yield from (f"  - `{part}`" for line in formula for part in re.split(" {4,}", line))


def _options(term: Term) -> dict[str, Any]:
    """The options of a term that hold one value each."""
    options = term.model_dump(mode="json", exclude={"label"})
    return {key: value for key, value in options.items() if isinstance(value, str | int | float)}


def _data(shared: SharedModel) -> str:
    data, recipe = shared.manifest["data"], shared.recipe
    held_out = data.get("held_out", {}).get("rows", 0)
    lines = [
        f"{counted(data['rows'], 'pair')} to train on, {held_out} held out, {data['quarantined']} left out as bad.",
        f"Read by `{recipe.data.component_name()}`; sha256 of the data: `{data['sha256']}`.",
    ]
    return "\n".join(lines)


def _settings(shared: SharedModel) -> str:
    """The sections of the recipe that make the method, without folders of the machine."""
    from ruamel.yaml import YAML

    yaml, out = YAML(), io.StringIO()
    yaml.default_flow_style = False
    recipe = shared.recipe.to_dict()
    model = {key: value for key, value in recipe["model"].items() if key in ("adapter", "lora", "freeze", "max_length")}
    yaml.dump(_placeless({"model": model, **{key: recipe[key] for key in _SECTIONS if recipe.get(key)}}), out)
    return out.getvalue()


def _placeless(value: Any) -> Any:
    """The value, with the name alone of each absolute path in it."""
    if isinstance(value, Mapping):
        return {key: _placeless(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_placeless(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
