"""The cached reference on the disk: what it gives back, and everything that it refuses."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.builders.tiny_batches import VIEWS, some_views
from support.processes.launching import contents

from mdpo_core import CheckpointError
from mdpo_core.scoring.reference_store import INDEX, CachedView, ReferenceStore, Shard
from mdpo_core.storage.files import exclusive_folder

KEY: dict[str, Any] = {"seed": 0, "model": {"weights": "a"}, "views": ["chosen", "rejected"]}
NAMES = ("once/rows-0.safetensors", "once/rows-1.safetensors")


@st.composite
def drawn_shards(draw: st.DrawFn) -> Shard:
    ids = draw(st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True))
    log_prob = st.floats(min_value=-(2.0**127), max_value=0, width=32)
    views = {}
    for view in draw(some_views):
        rows = draw(st.lists(st.lists(log_prob, max_size=6), min_size=len(ids), max_size=len(ids)))
        digests = draw(st.binary(min_size=32 * len(ids), max_size=32 * len(ids)))
        views[view] = CachedView(
            torch.tensor([value for row in rows for value in row]),
            torch.tensor([len(row) for row in rows]),
            torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(len(ids), 32),
        )
    return Shard(ids, views)


def made(seed: int) -> Shard:
    """A shard of three rows under two views."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([2, 1, 3])
    views = {
        view: CachedView(
            -torch.rand(6, generator=generator),
            lengths.clone(),
            torch.randint(256, (3, 32), generator=generator, dtype=torch.uint8),
        )
        for view in VIEWS[:2]
    }
    return Shard(["a", "b", "c"], views)


SHARDS = dict(zip(NAMES, map(made, (0, 1)), strict=True))


def same(one: Shard, other: Shard) -> bool:
    return (
        list(one.ids) == list(other.ids)
        and one.views.keys() == other.views.keys()
        and all(
            torch.equal(getattr(one.views[view], part), getattr(other.views[view], part))
            for view in one.views
            for part in ("values", "lengths", "digests")
        )
    )


def begun(folder: Path, key: dict[str, Any] = KEY) -> ReferenceStore:
    store = ReferenceStore(folder, key)
    store.begin()
    return store


def filled(folder: Path) -> Path:
    store = begun(folder)
    for name, shard in SHARDS.items():
        store.write(name, shard)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cache; not to be changed."""
    return filled(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(folder, tmp_path / "own"))


@given(drawn_shards())
def test_a_shard_survives_its_bytes(shard: Shard) -> None:
    assert same(Shard.from_bytes(shard.to_bytes(), list(shard.views)), shard)


@given(drawn_shards())
def test_a_shard_gives_each_row_its_own_log_probs(shard: Shard) -> None:
    for rows in shard.views.values():
        parts = [rows.log_probs(place) for place in range(len(shard.ids))]
        assert [len(part) for part in parts] == rows.lengths.tolist()
        assert torch.equal(torch.cat(parts), rows.values)


def test_what_one_process_stores_another_reads(folder: Path) -> None:
    store = begun(folder)
    for name, shard in SHARDS.items():
        found = store.read(name, VIEWS[:2])
        assert found is not None
        assert same(found, shard)
    assert {name for name in contents(folder) if not name.startswith(".")} == {INDEX, *NAMES}


@given(st.data())
def test_every_flipped_bit_and_every_cut_of_a_shard_is_refused(folder: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        own = Path(shutil.copytree(folder, Path(place) / "own"))
        file = own / NAMES[0]
        content = bytearray(file.read_bytes())
        where = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[where] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[where:]
        file.write_bytes(content)
        store = begun(own)
        with pytest.raises(CheckpointError, match=rf"{NAMES[0]} differs from what was saved; remove this file"):
            store.read(NAMES[0], VIEWS[:2])
        assert file.read_bytes() == content
        assert store.read(NAMES[1], VIEWS[:2]) is not None


@given(st.data())
def test_no_flipped_bit_of_the_index_leads_to_a_wrong_number(folder: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        own = Path(shutil.copytree(folder, Path(place) / "own"))
        content = bytearray((own / INDEX).read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        (own / INDEX).write_bytes(content)
        found, said = {}, str(own)
        try:
            store = begun(own)
            found = {name: store.read(name, VIEWS[:2]) for name in NAMES}
        except CheckpointError as refused:
            said = str(refused)
        assert str(own) in said
        assert all(shard is None or same(shard, SHARDS[name]) for name, shard in found.items())
        assert (own / INDEX).read_bytes() == content


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": 1, "shards": {}}', '{"key": {}, "shards": []}', "\xff"])
def test_a_damaged_index_is_refused_by_name(own: Path, text: str) -> None:
    (own / INDEX).write_text(text, encoding="latin-1")
    before = contents(own)
    with pytest.raises(CheckpointError, match=rf"{INDEX} is damaged .* output\.reference, or remove this"):
        ReferenceStore(own, KEY).check()
    assert contents(own) == before


def test_a_shard_in_another_s_place_is_refused(own: Path) -> None:
    shutil.copy(own / NAMES[0], own / NAMES[1])
    with pytest.raises(CheckpointError, match=rf"{NAMES[1]} differs from what was saved"):
        begun(own).read(NAMES[1], VIEWS[:2])


def test_a_shard_of_other_views_is_refused(own: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"{NAMES[0]} is damaged \(KeyError: '{VIEWS[5]}:values'\); remove"):
        begun(own).read(NAMES[0], VIEWS[5:])


def test_a_shard_that_was_removed_counts_as_not_computed(own: Path) -> None:
    (own / NAMES[0]).unlink()
    assert begun(own).read(NAMES[0], VIEWS[:2]) is None


def test_shard_unknown_to_the_index_counts_as_not_computed(own: Path) -> None:
    shutil.copy(own / NAMES[0], own / "once/rows-2.safetensors")
    assert begun(own).read("once/rows-2.safetensors", VIEWS[:2]) is None


class Killed(BaseException):
    """Nothing is cleaned up after it but what `finally` cleans up."""


# Two for each file that is written: its own, and that of the folder once it is in its place.
@pytest.mark.parametrize("num_syncs", range(10))
def test_kill_at_any_write_loses_only_the_shard_being_written(
    num_syncs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, count = os.fsync, itertools.count()

    def killed(descriptor: int) -> None:
        if next(count) >= num_syncs:
            raise Killed
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("mdpo_core.storage.files.os.fsync", killed)
        with pytest.raises(Killed):
            filled(tmp_path)
    store = begun(tmp_path)
    found = {name: store.read(name, VIEWS[:2]) for name in NAMES}
    assert sum(shard is not None for shard in found.values()) >= (num_syncs - 2) // 4
    for name, shard in found.items():
        if shard is None:
            store.write(name, SHARDS[name])
    assert contents(filled(tmp_path / "unstopped")).items() <= contents(tmp_path).items()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"model": {"weights": "b"}}, "model.weights: 'a' there, 'b' here"),
        ({"model": {"weights": "a", "tokenizer": "c"}}, "model.tokenizer: 'absent' there, 'c' here"),
        ({"views": ["chosen"]}, "views.1: 'rejected' there, 'absent' here"),
    ],
)
def test_a_cache_of_another_key_is_refused_with_the_differences(own: Path, change: dict[str, Any], line: str) -> None:
    before = contents(own)
    with pytest.raises(CheckpointError) as refused:
        ReferenceStore(own, {**KEY, **change}).begin()
    first, *lines = str(refused.value).splitlines()
    assert str(own) in first
    assert "choose another folder with output.reference, or remove this one" in first
    assert lines == [f"  {line}"]
    assert contents(own) == before


def test_all_differences_of_a_key_are_named_at_once(own: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.weights: 'a' there, 'b' here\n  seed: 0 there, 1 here$"):
        ReferenceStore(own, {**KEY, "seed": 1, "model": {"weights": "b"}}).check()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_cache_is_refused_and_left_alone(kind: Literal["folder", "file"], tmp_path: Path) -> None:
    other = tmp_path / "other"
    if kind == "folder":
        other.mkdir()
    file = other / "thesis.tex" if kind == "folder" else other
    file.write_text("years of work")
    with pytest.raises(
        CheckpointError, match=r"does not hold a cached reference .*; choose another folder with output"
    ):
        ReferenceStore(other, KEY).begin()
    assert file.read_text() == "years of work"


def test_checking_writes_nothing(tmp_path: Path) -> None:
    ReferenceStore(tmp_path / "cache", KEY).check()
    assert list(tmp_path.iterdir()) == []


def test_unwritable_shard_is_an_error_naming_it(tmp_path: Path) -> None:
    store = begun(tmp_path)
    (tmp_path / "once").write_text("in the way")
    with pytest.raises(CheckpointError, match=rf"{NAMES[0]} could not be written: .* what was saved before is untouch"):
        store.write(NAMES[0], SHARDS[NAMES[0]])


def test_full_disk_names_the_shard_and_leaves_others_whole(tmp_path: Path) -> None:
    store = begun(tmp_path)
    store.write(NAMES[0], SHARDS[NAMES[0]])
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files does what a full disk does: a write fails half-way.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(CheckpointError, match=rf"{NAMES[1]} could not be written: .*File too large"):
            store.write(NAMES[1], SHARDS[NAMES[1]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == before
    store.write(NAMES[1], SHARDS[NAMES[1]])


def test_one_process_at_a_time_holds_a_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    happened = []

    def second() -> None:
        with exclusive_folder(tmp_path):
            happened.append("second begins")

    thread = threading.Thread(target=second)
    with exclusive_folder(tmp_path):
        thread.start()
        thread.join(timeout=0.2)
        happened.append("first ends")
    thread.join()
    assert happened == ["first ends", "second begins"]
    assert caplog.messages == [f"waiting for another run to finish with {tmp_path}"]
