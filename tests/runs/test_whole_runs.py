"""Whole runs of the most used families: trained, stopped, resumed, exported, and loaded without mdpo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import PIL.Image
import pytest
import torch
from support.builders.small_vlms import MECHANISMS, NIGHTLY, build_vlm
from support.oracles import plain_exports
from support.oracles.plain_exports import Expected
from support.oracles.plain_vlms import VIEWS, plain_inputs, plain_text
from support.pairs import ANSWERS, PROMPT
from support.paths import RECIPES
from support.processes.launching import contents

from mdpo_core import Decoding, Example, component, load_trained
from mdpo_core.cli import main
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.training import trainer

# The recipe of each family.
FAMILIES = {
    "llava": "llava_mdpo",
    "llava_next": "models/llava_next_mdpo",
    "qwen2_5_vl": "models/qwen2_5_vl_7b_mdpo",
    "qwen3_vl": "models/qwen3_vl_mdpo",
    "qwen3_5": "models/qwen3_5_mdpo",
    "internvl": "models/internvl_mdpo",
    "gemma3": "models/gemma3_mdpo",
    "gemma4": "models/gemma4_mdpo",
    "smolvlm": "models/smolvlm_mdpo",
    "mistral3": "models/mistral3_mdpo",
    "mllama": "qwen2_5_vl_mdpo",  # for every model that chat_vlm reads
}
# One for each way of scoring runs more often; the others run nightly.
OFTEN = [name for name in FAMILIES if name in MECHANISMS]
REST = [name for name in FAMILIES if name not in MECHANISMS]
QUESTION = "<image>\nWhat is in the picture?"
SMALL = [
    "model.lora.rank=4",
    "data.hold_out=null",
    "evaluators=[]",
    "trackers=[]",
    "train.epochs=2",
    "train.batch_size=2",
    "train.micro_batch_size=2",
    "train.learning_rate=1.0e-3",
    "train.workers=0",
    "backend={backend: local, precision: fp32}",
    "output.save_every=1",
]


def prompt_of(family: str) -> str:
    """LLaVA-1.5's recipe takes prompts in the model's format, as the paper's data has them."""
    return PROMPT if family == "llava" else QUESTION


def train(family: str, work: Path, run_dir: Path, *more: str) -> int:
    """The exit code of `mdpo-run` with the family's recipe: four steps."""
    changes = [*SMALL, f"model.path={work / 'model'}", f"data.path={work / 'pairs.jsonl'}", f"data.images={work}"]
    words = [word for change in changes for word in ("--set", change)]
    recipe = RECIPES / f"{FAMILIES[family]}.yaml"
    return main(["run", str(recipe), *words, "--run-dir", str(run_dir), *more])


def write_rows(family: str, folder: Path, photographs: Path) -> None:
    """Four pairs about pictures of several shapes."""
    rows = []
    for number, size in enumerate([(90, 62), (40, 77), (64, 64), (62, 90)]):
        with PIL.Image.open(sorted(photographs.iterdir())[number]) as picture:
            picture.convert("RGB").resize(size).save(folder / f"{number}.png")
        texts = {"prompt": prompt_of(family), "chosen": ANSWERS[number], "rejected": ANSWERS[(number + 1) % 4]}
        rows.append({"img_path": f"{number}.png", **texts})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Callable[[str], Path]:
    """The folder of a family, with a model, rows, and a finished run that nothing stopped; made once."""
    made: dict[str, Path] = {}

    def of(family: str) -> Path:
        if family not in made:
            work = tmp_path_factory.mktemp(family)
            build_vlm(family, work / "model")
            write_rows(family, work, photographs)
            assert train(family, work, work / "run") == 0
            made[family] = work
        return made[family]

    return of


@pytest.mark.parametrize(
    "family",
    [
        *(pytest.param(name, marks=pytest.mark.long) for name in OFTEN),
        *(pytest.param(name, marks=NIGHTLY) for name in REST),
    ],
)
def test_run_that_stopped_resumes_to_the_same_bytes(
    family: str, trained: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, stopped, asked = trained(family), tmp_path / "run", count(1)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "asked_to_stop", lambda world: signal.SIGTERM if next(asked) == 2 else None)
        assert train(family, work, stopped) == 128 + signal.SIGTERM
    assert [folder.name for folder in sorted((stopped / "checkpoints").iterdir())][-1] == "step-000002"
    assert not (stopped / "final").exists()
    assert train(family, work, stopped, "--resume") == 0
    assert contents(stopped / "final") == contents(work / "run" / "final")


def what_mdpo_gives(family: str, work: Path) -> Expected:
    """For the first row, by the model of the last checkpoint, which scores as in training."""
    model = load_trained(work / "run", step=4, device="cpu")
    with PIL.Image.open(work / "0.png") as picture:
        picture.load()
    example = Example("0", prompt_of(family), {"chosen": ANSWERS[0], "rejected": ANSWERS[1]}, (picture,))
    encoder = model.encoder_of(prompt_of(family))
    batch = BatchBuilder(encoder, VIEWS, {}, (), 10**9, 0).build([example], [0], epoch=0)
    scorer = Scorer(model.model, TermInputs(VIEWS), options=Scoring(share_prefix=model.adapter.shares_prefix))
    with torch.no_grad():
        scores = scorer(batch).policy[VIEWS[0]]
    [made] = model.model.generate([encoder.encode_prompt(example)], Decoding(8))
    text = prompt_of(family) if family == "llava" else plain_text(family, example)
    inputs, length = plain_inputs(family, work / "model", example, ANSWERS[0], text)
    needed = component("adapter", "chat_vlm", path=str(work / "model")).needed_by_exports()  # type: ignore[attr-defined]
    return Expected(inputs, length, scores.values[0][scores.mask[0]], made.tolist(), "torchvision" in needed, text)


@pytest.mark.parametrize(
    "families",
    [pytest.param(OFTEN, marks=pytest.mark.long, id="often"), pytest.param(REST, marks=NIGHTLY, id="rest")],
)
def test_exports_give_the_same_numbers_and_answers_without_mdpo(
    families: list[str], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    """The families share one fresh process."""
    for family in families:
        work, folder = trained(family), tmp_path / "exports" / family
        folder.mkdir(parents=True)
        assert main(["export", str(work / "run"), "--out", str(folder / "adapter")]) == 0
        assert main(["export", str(work / "run"), "--merge", "--out", str(folder / "merged")]) == 0
        what_mdpo_gives(family, work).save(folder)
        shutil.copy(work / "0.png", folder / "picture.png")
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, plain_exports.__file__, str(tmp_path / "exports")]
    done = subprocess.run(words, cwd=tmp_path, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
