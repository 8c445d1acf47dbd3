"""The GPU's benchmark, rehearsed on a CPU; and its clock and its table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import ROOT

from benchmarks import compiled_layers
from benchmarks.gpu import steps, table
from benchmarks.gpu.__main__ import main, parse
from benchmarks.gpu.stages import Bench, Skipped, Stage, chosen
from benchmarks.speed.job import SHAPES, Job

STAGES = (
    "machine attention compiles steps recomputed compiled memory quickstart paper trl two_views zero profile".split()  # noqa: SIM905
)

WHERE = {"device": "cpu", "shape": "tiny"}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words], cwd=ROOT, capture_output=True, text=True, timeout=1000
    )


@pytest.mark.nightly(reason="takes minutes on a CPU; the other tests run single cases of stages")
@pytest.mark.timeout(1000)
def test_every_stage_runs_on_a_cpu_or_says_why_not(tmp_path: Path) -> None:
    file = tmp_path / "gpu.jsonl"
    done = command("--device", "cpu", "--budget", "900", "--lines", str(file))
    lines = table.read(file)
    assert done.returncode == 0, [line for line in lines if "failed" in line] or done.stderr
    assert [line["stage"] for line in lines if "took" in line] == STAGES
    skipped = {line["stage"]: line["skipped"] for line in lines if "skipped" in line}
    assert all("CUDA" in reason or "install" in reason for reason in skipped.values()), skipped
    measured = {line["stage"] for line in lines if not line.keys() & {"took", "skipped"}}
    assert measured >= {*STAGES} - {"compiles", "compiled", "trl", "zero"}
    shown = command("--table", "--lines", str(file)).stdout
    measured_cells = re.findall(r"^\| [^|]+ \| ([^|]*) \| at (?:most|least) ", shown, re.MULTILINE)
    assert len([cell for cell in measured_cells if re.match(r"[0-9]", cell)]) >= 3, shown
    assert "memory from the estimate, at most | 0.00" in shown


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench("cpu", "tiny", 100, tmp_path, tmp_path / "lines.jsonl")


def lines_of(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bench.folder / "lines.jsonl").read_text().splitlines()]


def test_a_line_is_on_the_disk_while_its_stage_still_runs(bench: Bench) -> None:
    seen = []

    def stage(bench: Bench) -> None:
        bench.note(figure=1)
        seen.extend(lines_of(bench))

    bench.run(Stage("one", 1, stage))
    assert seen == [{"stage": "one", **WHERE, "figure": 1}]


def test_a_stage_that_fails_says_why_and_the_next_one_runs(bench: Bench) -> None:
    def failing(bench: Bench) -> None:
        raise ValueError("no such kernel\nand more")

    def skipping(bench: Bench) -> None:
        raise Skipped("not here")

    for name, function in {"failing": failing, "skipping": skipping}.items():
        bench.run(Stage(name, 1, function))
    failed, took, skipped, _ = lines_of(bench)
    assert failed["failed"] == "ValueError: no such kernel"
    assert "in failing" in failed["where"]
    assert (took["stage"], skipped["skipped"]) == ("failing", "not here")
    assert bench.failed


def test_a_stage_without_time_is_skipped_and_says_so(tmp_path: Path) -> None:
    bench = Bench("cpu", "tiny", 0, tmp_path, tmp_path / "lines.jsonl")
    bench.run(Stage("late", 1, lambda bench: pytest.fail("it ran")))
    assert lines_of(bench) == [{"stage": "late", **WHERE, "skipped": "needs about 5 s, and 0 s are left"}]


def test_one_case_that_fails_does_not_end_its_stage(bench: Bench) -> None:
    def stage(bench: Bench) -> None:
        bench.tried(lambda: {"figure": 1 // 0}, case="bad")
        bench.tried(lambda: {"figure": 2}, case="good")

    bench.run(Stage("two", 1, stage))
    bad, good, _ = lines_of(bench)
    assert bad["failed"].startswith("ZeroDivisionError")
    assert good == {"stage": "two", **WHERE, "case": "good", "figure": 2}


@pytest.mark.long
def test_a_model_that_cannot_be_built_does_not_end_its_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Step:
        def __init__(self, bench: Bench, setting: steps.Setting, pairs: int) -> None:
            if setting.recompute == "full":
                raise torch.OutOfMemoryError("out of memory")
            self.recipe = None

        def numbers(self, batch: Any) -> dict[str, Any]:
            return {"seconds": 1.0}

    monkeypatch.setattr(steps, "_Step", Step)
    monkeypatch.setattr(steps, "batch_of", lambda bench, recipe, pairs: None)
    bench.run(Stage("recomputed", 1, steps.recomputed))
    failed, second, without_dropout, _ = lines_of(bench)
    assert (failed["recompute"], failed["pairs"]) == ("full", 1)
    assert failed["failed"] == "OutOfMemoryError: out of memory"
    assert (second["recompute"], second["seconds"]) == (2, 1.0)
    assert (without_dropout["dropout"], without_dropout["seconds"]) == (0.0, 1.0)


def test_the_table_is_of_one_device_and_says_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.jsonl"
    rehearsal = {**LINES[0], **WHERE, "name": "a processor"}
    measured = [{**line, "device": "cuda", "shape": "llava-7b"} for line in LINES]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in [rehearsal, *measured]))
    assert main(parse(["--table", "--lines", str(file)])) == 0
    shown = capsys.readouterr().out
    assert "card; " in shown
    assert "a processor" not in shown
    assert "left out: 1 of cpu with tiny." in shown
    file.write_text("")
    assert main(parse(["--table", "--lines", str(file)])) == 0
    assert "left out" not in capsys.readouterr().out


@pytest.mark.nightly(reason="the other tests run single cases of stages, and test_compilation.py compiles layers")
def test_the_benchmark_of_compiled_layers_runs() -> None:
    words = [sys.executable, "-m", "benchmarks.compiled_layers", "--shape", "tiny", "--steps", "1", "--dropout", "0.1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[-2:]] == ["plain", "compiled"]


def test_compiled_layers_are_measured_with_the_dropout_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(compiled_layers.ours, "begin", jobs.append)
    for dropout in (0.0, 0.1):
        compiled_layers.begin(Job("", SHAPES["tiny"], str(tmp_path), 1), compiled_layers.PLAIN, dropout)
    assert [job.dropout for job in jobs] == [0.0, 0.1]


def test_stages_are_chosen_by_name_and_a_wrong_name_is_refused() -> None:
    stages = [Stage(name, 1, lambda bench: None) for name in ("a", "b", "c")]
    assert [stage.name for stage in chosen(stages, "c,a")] == ["c", "a"]
    with pytest.raises(ValueError, match="no stage is called d; there are a, b, c"):
        chosen(stages, "a,d")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stages", "steps,stpes"], "no stage is called stpes; there are machine, attention"),
        (["--device", "cpu", "--lines", "absent/gpu.jsonl"], "the folder absent does not exist"),
        (["--device", "cuda"], "torch finds no CUDA device here"),
        (["--table", "--lines", "absent.jsonl"], "absent.jsonl does not exist"),
    ],
)
def test_bad_options_are_refused(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        parse(words)
    assert message in capsys.readouterr().err


OURS = {"attention": "auto", "recompute": "off", "dropout": 0.05, "compile": False, "reference": "cached", "terms": 3}
LINES: list[dict[str, Any]] = [
    {"stage": "machine", "name": "card", "versions": {}, "matrix_tflops": 100.0, "copy_gb_s": 1.0},
    {"stage": "steps", **OURS, "pairs": 1, "seconds": 1.0, "tflops": 60.0},
    {"stage": "steps", **OURS, "pairs": 4, "seconds": 3.0, "tflops": 70.0},
    {"stage": "steps", **OURS, "attention": "sdpa", "pairs": 4, "seconds": 9.0, "tflops": 20.0},
    {"stage": "steps", **OURS, "reference": "adapter_off", "pairs": 4, "seconds": 5.0, "tflops": 60.0},
    {"stage": "steps", **OURS, "pairs": 8, "failed": "out of memory"},
    {"stage": "paper", "pairs": 1, "seconds": 9.0},
    {"stage": "paper", "pairs": 4, "seconds": 10.0},
    {"stage": "memory", **OURS, "pairs": 4, "estimate_gb": 10.0, "counted_gb": 9.5, "apart": -0.05},
]


def test_targets_are_those_of_the_largest_micro_batch_that_both_ran() -> None:
    against_paper, against_trl, two_views, share, memory = table.targets(LINES)
    assert (against_paper.figure, against_paper.bar.reached) == (0.3, True)
    assert against_paper.name.endswith("4 pairs")
    assert (against_trl.figure, two_views.figure) == (None, None)
    assert (share.figure, share.bar.reached) == (0.7, True)
    assert (memory.figure, memory.bar.reached) == (0.05, False)


def test_the_page_says_what_was_not_measured_and_why() -> None:
    page = table.page(LINES)
    assert "| ours, auto | 4 | 3.000 |  | 70 | 0.700 |" in page
    assert "| our two-view DPO over TRL's | | at most 0.4 | not measured |" in page
    assert "- steps (8 pairs): failed, out of memory" in page


def test_nothing_measured_reaches_no_target() -> None:
    page = table.page([])
    assert page.count("not measured") == 5
    assert "reached |" not in page


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text('{"stage": "machine"}\n{"stage": "st')
    assert table.read(tmp_path / "lines.jsonl") == [{"stage": "machine"}]
