"""What a script or a notebook does with the result of a run."""

from __future__ import annotations

import ast
import json
import linecache
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from mdpo_digits.mosaics import PROMPT
from support.paths import ROOT

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


def cells(notebook: Path) -> Iterator[str]:
    """The code of a notebook, cell by cell."""
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(cell["source"])


def run_cell(number: int, code: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does, which keeps its text for tracebacks. Returns the value of its last line."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    *lines, last = ast.parse(code).body
    exec(compile(ast.Module(lines, []), name, "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), name, "eval"), names)
    exec(compile(ast.Module([last], []), name, "exec"), names)
    return None


@pytest.mark.long
def test_the_example_notebook_trains_its_own_loss_and_answers(
    own_registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = ROOT / "examples" / "first_run.ipynb"
    assert all(not cell.get("outputs") for cell in json.loads(notebook.read_text())["cells"])
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = [run_cell(number, code, names) for number, code in enumerate(cells(notebook))]
    assert any(hasattr(each, "_repr_png_") and hasattr(each, "savefig") for each in shown)
    assert names["result"].metrics["eval/preference/loss/text"].dropna().iloc[-1] < 1
    assert shown[-1]["answer"].startswith("the picture shows")
    manifest = json.loads((tmp_path / "runs" / "first_run" / "manifest.json").read_text())
    assert len(manifest["registered"]["loss capped_hinge"]["source"]) == 64
    assert run_cell(99, "mdpo.run(mine, resume=True).final", names) == names["result"].final
