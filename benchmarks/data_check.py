"""What checking data costs: ``python -m benchmarks.data_check photographs --rows 10000``, or ``texts --rows 1000000``.

Makes rows, opens and checks them, and opens them again, each in a process of its own. Prints CPU seconds (user and
system), which other programs disturb less than wall time, and the most memory that a process held. The photographs are
noise behind a gradient, 640 x 427, JPEG; the model's folder is a LLaVA with the published size of pictures, 336 pixels.

Measured on 2 cores without workers. ``texts --rows 1000000``, while other programs ran: checked in 772 s CPU, 0.82 GB
(1,295 rows a second and core). It starts again on a quiet machine in 2.2 s CPU and 2.1 s, 0.58 GB; the processor, which
is loaded when the first row is encoded, takes 2.4 s CPU more. `mdpo check RECIPE --data` of the checked set takes 7.0 s
CPU on a busy machine, most of it for the estimate of memory. ``photographs --rows 10000``, before files were
compared once: checked in 120.4 s CPU, 0.54 GB (83 rows a second and core), started again in 4.7 s CPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

PROMPT = "USER: {}What is on the water near the old wooden pier, and which colour does it have? ASSISTANT:"
ANSWER = "There is a small red boat, number {}, and a white one lies behind it with its sails down."


class Cost(NamedTuple):
    """What one call cost. ``memory``: the most bytes that the process held."""

    cpu: float
    wall: float
    memory: int


def main(kind: str, num_rows: int, workers: int, folder: Path) -> None:
    data, model = folder / "rows.jsonl", folder / "llava"
    with_pictures = kind == "photographs"
    if not data.exists():
        _in_process(_make, data, model, num_rows, with_pictures)
    recipe = _recipe(folder, data, model, with_pictures, workers)
    os.environ["MDPO_CACHE"], os.environ["HF_HOME"] = str(folder / "cache"), str(folder / "hub")
    for what, call in (("open", _open), ("check", _check), ("start again", _check)):
        cost = _in_process(call, recipe)
        rate = f"{num_rows / cost.cpu:,.0f} rows a second and core"
        print(f"{what:<12} {cost.cpu:7.1f} s CPU, {cost.wall:6.1f} s, {cost.memory / 1e9:.2f} GB, {rate}")


def _in_process(call: object, *arguments: object) -> Cost:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        cost: Cost = pool.apply(_measured, (call, arguments))
        return cost


def _measured(call: object, arguments: tuple[object, ...]) -> Cost:
    started = time.perf_counter()
    call(*arguments)  # type: ignore[operator]
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    return Cost(cpu, time.perf_counter() - started, max(each.ru_maxrss for each in used) * 1024)


def _make(data: Path, model: Path, num_rows: int, with_pictures: bool) -> None:
    from support.builders.small_llava import build_llava

    build_llava(model, image_size=336)
    mark = "<image>\n" if with_pictures else ""
    with data.open("w") as file:
        for number in range(num_rows):
            row = {"prompt": PROMPT.format(mark), "chosen": ANSWER.format(number), "rejected": "A grey whale."}
            file.write(json.dumps(row | ({"img_path": f"{number}.jpg"} if with_pictures else {})) + "\n")
            if with_pictures:
                _photograph(data.parent / f"{number}.jpg", number)


def _photograph(file: Path, number: int) -> None:
    import PIL.Image

    draw = random.Random(number)
    coarse = PIL.Image.frombytes("RGB", (40, 27), draw.randbytes(40 * 27 * 3)).resize(
        (640, 427), PIL.Image.Resampling.BICUBIC
    )
    noise = PIL.Image.effect_noise((640, 427), 40).convert("RGB")
    PIL.Image.blend(coarse, noise, 0.2).save(file, quality=85)


def _recipe(folder: Path, data: Path, model: Path, with_pictures: bool, workers: int) -> Path:
    file = folder / "recipe.yaml"
    image = "" if with_pictures else ", image: null"
    file.write_text(
        f"model: {{adapter: llava, path: {model}}}\n"
        f"data: {{reader: pairs, path: {data}, images: {data.parent}{image}}}\n"
        "objective: [{loss: dpo, beta: 0.1}]\n"
        f"train: {{workers: {workers}}}\n"
        "backend: {backend: local, precision: fp32}\n"
        f"output: {{dir: {folder / 'run'}}}\n"
    )
    return file


def _open(recipe: Path) -> None:
    from mdpo_core import load_recipe
    from mdpo_core.data.checking import open_data

    open_data(load_recipe(recipe).data)


def _check(recipe: Path) -> None:
    from mdpo_core import load_recipe
    from mdpo_core.data.reading import read_data
    from mdpo_core.storage.stored_checks import StoredChecks

    loaded = load_recipe(recipe)
    read_data(loaded, store=StoredChecks(loaded))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("photographs", "texts"))
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the rows here, to use them again")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        main(options.kind, options.rows, options.workers, options.folder)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(options.kind, options.rows, options.workers, Path(temporary))
