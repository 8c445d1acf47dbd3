"""A whole run of ours over photographs on the disk: how long it waits for data."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from pathlib import Path

import PIL.Image

from benchmarks.speed.job import Job, Result
from benchmarks.speed.pairs import make_encoder, make_examples
from mdpo_core import load_recipe, run

RECIPE = Path(__file__).parents[3] / "recipes" / "llava_mdpo.yaml"
PHOTOGRAPH = (640, 480)
STEPS = 6


def measure(job: Job) -> Result:
    """The median of `data_wait` over the steps after the first."""
    num_pairs = job.shape.num_pairs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder, job.changed(num_pairs=num_pairs * STEPS))
        changes = [
            f"model.path={job.folder}",
            f"model.lora.rank={job.shape.lora_rank}",
            f"data.path={folder / 'pairs.json'}",
            f"data.images={folder}",
            "train.epochs=1",
            f"train.batch_size={num_pairs}",
            f"train.micro_batch_size={num_pairs}",
            f"train.workers={job.workers}",
            "backend.precision=fp32",
            "data.hold_out=null",
            "evaluators=[]",
            "trackers=[]",
            f"output.dir={folder / 'run'}",
        ]
        run_dir = run(load_recipe(RECIPE, changes)).run_dir
        records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    waits = [record["data_wait"] for record in records if "data_wait" in record]
    return Result(data_wait=statistics.median(waits[1:]))


def write_pairs(folder: Path, job: Job) -> None:
    """The step's pairs, each with a photograph of its own as a JPEG file."""
    rows = []
    for example in make_examples(job.shape, make_encoder(Path(job.folder))):
        noise = random.Random(example.id).randbytes(3 * 40 * 30)
        picture = PIL.Image.frombytes("RGB", (40, 30), noise).resize(PHOTOGRAPH, PIL.Image.Resampling.BICUBIC)
        picture.save(folder / f"{example.id}.jpg", quality=90)
        rows.append({"img_path": f"{example.id}.jpg", "prompt": example.prompt, **example.responses})
    (folder / "pairs.json").write_text(json.dumps(rows))
