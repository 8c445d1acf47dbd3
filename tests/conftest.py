"""Fixtures that many tests share: real photographs, a small LLaVA, pairs over both."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.paths import RECIPES

# Before any import of theirs: no hub, and caches of this run alone.
_CACHE = tempfile.TemporaryDirectory(prefix="mdpo-tests-")
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": _CACHE.name}
os.environ["MDPO_CACHE"] = str(Path(_CACHE.name) / "mdpo")
# Models this small are fastest on one thread, and sums then have one order.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("HF_DATASETS_CACHE", None)
# Tests interrupt the commands that they start, which inherit what is ignored: SIGINT is, in the background of a script.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

import PIL.Image  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from support.builders.small_llava import build_llava  # noqa: E402
from support.pairs import ANSWERS, PROMPT  # noqa: E402

# An example may take any time: that depends on the machine. The nightly run sets "thorough".
settings.register_profile("quick", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None)
settings.load_profile(os.environ.get("MDPO_HYPOTHESIS", "quick"))


# The files that take longest come first, so that no process is left alone with one of them at the end.
_LONGEST = (
    "test_digits.py",
    "test_tutorial.py",
    "test_processes.py",
    "test_plugin_kit.py",
    "test_kills.py",
    "test_held_out_kills.py",
    "test_families.py",
    "test_engine.py",
    "test_pretended_device.py",
    "test_resume.py",
    "test_docs.py",
    "test_scale.py",
    "test_gpu_benchmark.py",
    "test_register.py",
    "test_packaging.py",
)


def _place(item: pytest.Item) -> int:
    """A file of `_LONGEST` by its place there, then whole runs, then the others."""
    if item.path.name in _LONGEST:
        return _LONGEST.index(item.path.name)
    return len(_LONGEST) + ("runs" not in item.path.parent.parts)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; each test that only runs nightly says why that is enough."""
    items.sort(key=_place)
    silent = [item.nodeid for item in items for mark in item.iter_markers("nightly") if not mark.kwargs.get("reason")]
    if silent:
        raise pytest.UsageError(f"pytest.mark.nightly needs a reason: {', '.join(sorted(set(silent)))}")


# A file of tests that leaves more objects than this has imported a large library.
_LIBRARIES = 50_000


def pytest_collection_finish() -> None:
    """Spare the garbage collector what all tests share: passes through torch and ours take a tenth of their time."""
    gc.set_threshold(20_000, 20, 20)
    _keep_for_good()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """The same with what the tests of a file have imported; what they dropped is collected, and may warn, before."""
    yield
    if nextitem and nextitem.path != item.path and len(gc.get_objects()) > _LIBRARIES:
        _keep_for_good()


def _keep_for_good() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight pictures, cut from scikit-learn's two photographs, as JPEG and PNG."""
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("photographs")
    for number, pixels in enumerate(load_sample_images().images):
        photograph = PIL.Image.fromarray(pixels)
        for part, box in enumerate([(0, 0, 640, 427), (0, 0, 300, 400), (200, 100, 640, 300), (100, 0, 324, 224)]):
            photograph.crop(box).save(folder / f"{number}{part}.{'png' if part % 2 else 'jpg'}")
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA with four image tokens."""
    return build_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def pairs(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pairs as the paper publishes them."""
    images = sorted(file.name for file in photographs.iterdir())
    rows = [
        {
            "img_path": images[row % len(images)],
            "prompt": PROMPT,
            "chosen": ANSWERS[row % 4],
            "rejected": ANSWERS[(row + 1 + row // 4) % 4],
        }
        for row in range(10)
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.fixture(scope="session")
def changes(llava: Path, pairs: Path, photographs: Path) -> list[str]:
    """Changes that make a llava recipe small enough to run here: 10 pairs, 3 steps an epoch, 2 epochs."""
    return [
        f"model.path={llava}",
        "model.lora.rank=4",
        f"data.path={pairs}",
        f"data.images={photographs}",
        "data.hold_out=null",  # ten pairs are too few
        "evaluators=[]",
        "train.epochs=2",
        "train.batch_size=4",
        "train.micro_batch_size=2",
        "train.learning_rate=1.0e-3",
        "train.workers=0",
        "backend.precision=fp32",
        "output.save_every=2",
        "trackers=[]",  # pictures of curves take a third of so short a run
    ]


@pytest.fixture
def small(changes: list[str], tmp_path: Path) -> list[str]:
    """The same, with a run directory of its own."""
    return [*changes, f"output.dir={tmp_path / 'run'}"]


@pytest.fixture(scope="session")
def cached_changes(changes: list[str]) -> list[str]:
    """Those of `changes`, with a cached reference."""
    return [*changes, "reference=cached"]


@pytest.fixture(scope="session")
def cached_run(cached_changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with LoRA whose reference is three shards, the last of them of two rows; not to be changed."""
    from mdpo_core import load_recipe, run
    from mdpo_core.training import reference_pass

    folder = tmp_path_factory.mktemp("cached") / "run"
    recipe = RECIPES / "llava_mdpo.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_pass, "SHARD_ROWS", 4)
        return run(load_recipe(recipe, [*cached_changes, f"output.dir={folder}"])).run_dir


@pytest.fixture
def cache(cached_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its reference, for a test that makes shards of the same size."""
    from mdpo_core.training import reference_pass

    monkeypatch.setattr(reference_pass, "SHARD_ROWS", 4)
    return Path(shutil.copytree(cached_run / "reference", tmp_path / "cache"))


@pytest.fixture(scope="session")
def other_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another of the same shape, as a run without LoRA leaves behind."""
    return build_llava(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture
def own_registry() -> Iterator[None]:
    """A registry in which a test may register, forgotten afterwards."""
    from mdpo_core.registry.discovery import Registry, current_registry, use_registry

    before = current_registry()
    use_registry(Registry.discover())
    yield
    use_registry(before)
