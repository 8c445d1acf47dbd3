"""What only a GPU can tell, in few minutes of it: ``python -m benchmarks.gpu --budget SECONDS``.

One process; stages one after the other. Each finding is one line of JSON, printed and appended to ``--lines`` at once.
A stage that does not fit the time left is skipped and says so; a stage that fails says why, and the others go on.
``--device cpu`` rehearses all of it on a small shape. ``--table`` prints lines as Markdown, with the targets: those of
the device and the shape that were measured last. TRL and DeepSpeed are optional. The exit code is 1 if something
failed.

The plan for fifteen minutes of one GPU, in two calls:

    python -m benchmarks.gpu --budget 540 --stages machine,attention,compiles,steps,recomputed,memory,quickstart
    python -m benchmarks.gpu --budget 180 --stages machine,paper,trl,two_views,profile,zero,compiled
    python -m benchmarks.gpu --table
"""

from __future__ import annotations

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import argparse
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu import commands, device, others, steps, table
from benchmarks.gpu.stages import Bench, Stage, chosen
from benchmarks.gpu.weights import drawn_weights
from benchmarks.speed.job import SHAPES
from benchmarks.speed.model import write_files
from mdpo_core.processes.devices import use_expandable_segments

# What is worth most comes first.
STAGES = (
    Stage("machine", 10, device.machine),
    Stage("attention", 70, device.attention),
    Stage("compiles", 60, device.compiles),
    Stage("steps", 150, steps.steps),
    Stage("recomputed", 60, steps.recomputed),
    Stage("compiled", 60, steps.compiled),
    Stage("memory", 50, steps.memory),
    Stage("quickstart", 100, commands.quickstart),
    Stage("paper", 50, others.paper),
    Stage("trl", 40, others.trl),
    Stage("two_views", 30, steps.two_views),
    Stage("zero", 60, commands.zero),
    Stage("profile", 25, commands.profile),
)


def main(options: argparse.Namespace) -> int:
    if options.table:
        lines = table.read(options.lines)
        print(table.page(table.of_last_device(lines)), table.left_out(lines), sep="\n\n")
        return 0
    warnings.simplefilter("ignore")
    use_expandable_segments()
    with tempfile.TemporaryDirectory() as folder, drawn_weights(options.device):
        bench = Bench(options.device, options.shape, options.budget, Path(folder), options.lines)
        write_files(bench.folder, bench.shape)
        for stage in options.stages:
            bench.run(stage)
        return int(bench.failed)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--shape", choices=SHAPES, help="default: llava-7b on CUDA, tiny on a CPU")
    parser.add_argument("--budget", type=float, default=540, metavar="SECONDS", help="when to stop (default: 540)")
    parser.add_argument("--stages", metavar="A,B", help=f"default: all of {','.join(stage.name for stage in STAGES)}")
    parser.add_argument("--lines", type=Path, default=Path("gpu.jsonl"), metavar="FILE", help="default: gpu.jsonl")
    parser.add_argument("--table", action="store_true", help="print the newest figures of FILE, and measure nothing")
    options = parser.parse_args(words)
    options.shape = options.shape or {"cuda": "llava-7b", "cpu": "tiny"}[options.device]
    try:
        options.stages = chosen(STAGES, options.stages)
    except ValueError as error:
        parser.error(f"--stages: {error}")
    if options.table and not options.lines.is_file():
        parser.error(f"--lines: {options.lines} does not exist")
    if not options.table and not options.lines.absolute().parent.is_dir():
        parser.error(f"--lines: the folder {options.lines.parent} does not exist")
    if not options.table and options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; --device cpu rehearses on a small shape")
    return options


if __name__ == "__main__":
    sys.exit(main(parse()))
