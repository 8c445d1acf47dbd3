"""What a script or a notebook does with the result of a run."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
from mdpo_digits.mosaics import PROMPT

import mdpo
from mdpo_core import RunResult

CHANGES = {
    "data.num_pairs": 8,
    "validation": None,
    "train.batch_size": 4,
    "train.micro_batch_size": 4,
    "evaluators": [],
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("result") / "run"
    return mdpo.run(mdpo.load_recipe("quickstart", {**CHANGES, "output.dir": str(folder)}))


def test_plot_draws_the_curves_of_the_picture(result: RunResult, tmp_path: Path) -> None:
    from mdpo_trackers.curves import save_figure

    figure = result.plot()
    save_figure(figure, tmp_path / "again.png")
    with PIL.Image.open(tmp_path / "again.png") as mine, PIL.Image.open(result.run_dir / "curves.png") as theirs:
        assert mine.convert("RGB").tobytes() == theirs.convert("RGB").tobytes()
    # A notebook shows an object by this method, whatever it thinks of matplotlib.
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_model_is_the_trained_one(result: RunResult) -> None:
    question = PROMPT.replace("<image>", "")
    picture = PIL.Image.new("RGB", (32, 32))
    answer = result.model(device="cpu").answer(question, picture, max_new_tokens=4)
    assert answer == mdpo.load_trained(result.final).answer(question, picture, max_new_tokens=4)


def test_a_run_without_a_number_has_no_curves(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(mdpo.MdpoError, match=r"has no numbers to draw: .*metrics\.jsonl"):
        RunResult(tmp_path, tmp_path / "final", {}).plot()
