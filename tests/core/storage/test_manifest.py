"""What the numbers of a run depend on: a cached reference of anything else is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.processes.launching import contents
from support.runs import train

from mdpo_core import CheckpointError


def changed_model(llava: Path, folder: Path, name: str) -> str:
    """A copy of a model with one byte more in one of its files, or one other bit at the end of its weights."""
    shutil.copytree(llava, folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content + b"\n" if name.endswith("json") else content[:-1] + bytes([content[-1] ^ 1]))
    return f"model.path={folder}"


REFUSED = {
    "model.prompts=chat": r"adapter\.prompts: 'ready' there, 'chat' here",
    "backend.precision=bf16": r"arithmetic: 'float32' there, 'bfloat16' here\n  dtype: 'float32' there",
    "backend.precision=bf16_autocast": r"arithmetic: 'float32' there, 'bfloat16' here",
    "corruptions.crop.area=[0.2, 0.5]": r"corruptions\.crop\.area\.0: 0\.01 there, 0\.2 here",
    "corruptions.crop.draw=epoch": r"corruptions\.crop\.draw: 'once' there, 'epoch' here",
    "objective.1.over=rejected@crop": r"views: 'chosen, chosen@crop, rejected' there, 'chosen, rejected, rej",
    "train.seed=1": r"seed: 0 there, 1 here",
}


@pytest.mark.parametrize("change", [*REFUSED, "model.safetensors", "tokenizer.json", "processor_config.json", "data"])
def test_reference_of_another_run_is_refused_before_any_writing(
    change: str, cache: Path, cached_changes: list[str], llava: Path, pairs: Path, tmp_path: Path
) -> None:
    reason = REFUSED.get(change, rf"model\.{change}: '\w+' there, '\w+' here")
    if change == "data":
        (tmp_path / "pairs.json").write_text(pairs.read_text().replace("Green", "Brown"))
        change, reason = f"data.path={tmp_path / 'pairs.json'}", r"data: '\w+' there, '\w+' here"
    elif "=" not in change:
        change = changed_model(llava, tmp_path / "changed", change)
    before = contents(cache)
    kept = ["model.unusual_texts=keep"] if change == "model.prompts=chat" else []  # its prompts are ready-made
    with pytest.raises(CheckpointError, match=rf"cache holds the reference of another .*\n  {reason}"):
        train([*cached_changes, change, *kept, f"output.reference={cache}"], tmp_path / "other")
    assert contents(cache) == before
    assert not (tmp_path / "other").exists()


def test_reference_in_run_directory_does_not_hide_changed_data(
    cached_changes: list[str], pairs: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(pairs, tmp_path))
    changes = [*cached_changes, f"data.path={copy}", "train.epochs=1"]
    folder = train(changes, tmp_path / "run")
    shutil.rmtree(folder / "final")
    copy.write_text(copy.read_text().replace("Green", "Brown"))
    with pytest.raises(CheckpointError, match="the data has changed since the run"):
        train(changes, folder, resume=True)
