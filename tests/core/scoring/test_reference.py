"""A cached reference in a run: each row is found by the digest of its input, or the run stops."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.builders.tiny_batches import build_batch, drawn_rows, some_views
from support.builders.tiny_models import Tiny
from support.paths import LLAVA_MDPO as RECIPE
from support.processes.launching import records
from support.runs import train

from mdpo_core import (
    Batch,
    CheckpointError,
    Component,
    ImageCorruption,
    Loss,
    RecipeError,
    Scores,
    Statistic,
    TrainableScorer,
    View,
    hookimpl,
    load_recipe,
)
from mdpo_core.data.encoding import TrainingData
from mdpo_core.data.reading import read_data
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.consistency import check_consistency
from mdpo_core.registry.discovery import Registry, current_registry, use_registry
from mdpo_core.scoring.reference import Cached
from mdpo_core.scoring.reference_store import INDEX, CachedView, ReferenceStore, Shard
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.storage.files import sha256
from mdpo_core.training.learner import Learner
from mdpo_core.training.out_of_memory import MemoryAdvice
from mdpo_core.training.reference_pass import Precomputation
from mdpo_core.types.view import CHOSEN, REJECTED

if TYPE_CHECKING:
    import random

    from PIL.Image import Image
    from torch import Tensor

CROP = View("chosen", "crop")


def cached_as_numbers(batch: Batch, views: Sequence[View], first: int, rows: Sequence[int]) -> Shard:
    """Those rows of a batch; their log-probs count from ``first``."""
    stored = {}
    for view in views:
        lengths = [len(batch.rows[row].responses[view.response]) for row in rows]
        digests = b"".join(batch.digests[view][row] for row in rows)
        stored[view] = CachedView(
            torch.arange(first, first + sum(lengths), dtype=torch.float32),
            torch.tensor(lengths),
            torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(len(rows), 32),
        )
        first += sum(lengths)
    return Shard([batch.ids[row] for row in rows], stored)


@given(drawn_rows, some_views, st.data())
def test_batch_finds_its_rows_in_any_stored_order(rows: list[Any], views: list[View], data: st.DataObject) -> None:
    batch = build_batch(rows, views, Tiny())
    order = data.draw(st.permutations(range(len(batch))))
    cut = data.draw(st.integers(0, len(batch)))
    stored = [
        cached_as_numbers(batch, views, 1000 * n, part) for n, part in enumerate((order[:cut], order[cut:])) if part
    ]
    found = Cached([stored], Path("cache")).log_probs(batch, torch.device("cpu"))
    assert list(found) == views
    for shard in stored:
        for place, name in enumerate(shard.ids):
            for view, (values, mask) in found.items():
                row = values[batch.ids.index(name)]
                there = mask[batch.ids.index(name)]
                assert torch.equal(row[there], shard.views[view].log_probs(place))
                assert not row[~there].any()


@given(drawn_rows, st.sampled_from([0, 1, 2]))
def test_redrawn_view_is_found_in_the_set_of_its_draw(rows: list[Any], epoch: int) -> None:
    # What `crop` is in one draw, another condition is in the next; a row may be equal in both.
    draws = [build_batch(rows, [View("chosen", name)], Tiny()) for name in ("crop", "blank", "no_image")]
    view = View("chosen", "crop")
    sets = []
    for number, drawn in enumerate(draws):
        (stored,) = cached_as_numbers(drawn, list(drawn.digests), 1000 * number, range(len(drawn))).views.values()
        sets.append([Shard(drawn.ids, {view: stored})])
    batch = draws[epoch]
    asked = replace(batch, digests={view: next(iter(batch.digests.values()))})
    found = Cached(sets, Path("cache")).log_probs(asked, torch.device("cpu"))
    for row, digest in enumerate(asked.digests[view]):
        first = next(n for n, each in enumerate(draws) if next(iter(each.digests.values()))[row] == digest)
        assert torch.equal(found[view].values[row][found[view].mask[row]], sets[first][0].views[view].log_probs(row))


@given(drawn_rows, some_views)
def test_a_row_that_is_not_there_is_an_error_that_names_it(rows: list[Any], views: list[View]) -> None:
    batch = build_batch(rows, views, Tiny())
    stored = [cached_as_numbers(batch, views, 0, range(len(batch) - 1))] if len(batch) > 1 else []
    with pytest.raises(
        CheckpointError, match=rf"example '{batch.ids[-1]}': the reference in .* has no log-probs for view '{views[0]}'"
    ):
        Cached([stored], Path("cache")).log_probs(batch, torch.device("cpu"))


@given(drawn_rows, some_views, st.data())
def test_row_changed_since_it_was_stored_is_an_error_naming_it(
    rows: list[Any], views: list[View], data: st.DataObject
) -> None:
    batch = build_batch(rows, views, Tiny())
    shard = cached_as_numbers(batch, views, 0, range(len(batch)))
    row, view = data.draw(st.integers(0, len(batch) - 1)), data.draw(st.sampled_from(views))
    shard.views[view].digests[row, data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CheckpointError, match=rf"example '{row}': the model's input for '{view}' differs from"):
        Cached([[shard]], Path("cache")).log_probs(batch, torch.device("cpu"))


def alter(cache: Path, change: Callable[[Shard], None]) -> None:
    """Change every shard and its digest as well, which nothing but a person does."""
    index = json.loads((cache / INDEX).read_text())
    for name in index["shards"]:
        file = cache / name
        shard = Shard.from_bytes(file.read_bytes(), (CHOSEN, REJECTED, CROP))
        change(shard)
        file.write_bytes(shard.to_bytes())
        index["shards"][name] = sha256(file)
    (cache / INDEX).write_text(json.dumps(index))


def move(shard: Shard) -> None:
    shard.views[CHOSEN].values[:] -= 0.01


def move_so_that_sums_stay(shard: Shard) -> None:
    for place in range(len(shard.ids)):
        shard.views[CROP].log_probs(place)[:2] += torch.tensor([0.1, -0.1])


def turn(shard: Shard) -> None:
    assert isinstance(shard.ids, list)
    shard.ids.append(shard.ids.pop(0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (move, r"'chosen' scores differently now than in the reference in .*, by 0\.\d+ nats over \d+ tokens; choose"),
        (
            move_so_that_sums_stay,
            r"'chosen@crop' scores differently now .*, by 0\.14 nats over \d+ tokens; choose",
        ),
        (
            turn,
            r"the model's input for '[\w@]+' differs from the one that the reference in .* was computed with; reader",
        ),
    ],
)
def test_wrong_cached_numbers_are_refused_although_digests_fit(
    change: Callable[[Shard], None], reason: str, cache: Path, cached_changes: list[str], tmp_path: Path
) -> None:
    alter(cache, change)
    with pytest.raises(CheckpointError, match=rf"example '\d+': {reason}"):
        train([*cached_changes, f"output.reference={cache}"], tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists() or records(tmp_path / "run") == []


def test_altered_row_is_found_if_it_is_one_of_two_scored_again(
    cache: Path, cached_changes: list[str], tmp_path: Path
) -> None:
    recipe = load_recipe(RECIPE, [*cached_changes, "output.dir=unused"])
    checked, builder = read_data(recipe)
    model = recipe.model.load(recipe.backend.placement())
    engine = recipe.backend.start(TrainableScorer(Scorer(model, TermInputs(builder.views)), model), recipe.train)
    learner = Learner(model, engine, MemoryAdvice(recipe, model, None))
    rows = checked.valid_examples()
    filling = Precomputation(recipe, learner, TrainingData(rows, checked.lengths, builder), lambda done, total: None)
    key = json.loads((cache / INDEX).read_text())["key"]
    found = []
    for row in rows:
        altered = Path(shutil.copytree(cache, tmp_path / row.id))

        def move_one(shard: Shard, name: str = row.id) -> None:
            if name in shard.ids:
                shard.views[REJECTED].log_probs(shard.ids.index(name))[-1] += 0.01

        alter(altered, move_one)
        try:
            filling.fill(ReferenceStore(altered, key))
        except CheckpointError as refused:
            found.append((row.id, str(refused)))
    assert len(found) == 2
    assert all(f"example '{name}': 'rejected' scores differently" in refused for name, refused in found)


class Careless(ImageCorruption):
    """Draws from no generator, so that no two calls agree."""

    calls: ClassVar[Iterator[int]] = itertools.count()

    def __call__(self, image: Image, rng: random.Random) -> Image:
        return PIL.Image.new("RGB", image.size, (next(self.calls) % 256, 0, 0))


class Divergence(Loss):
    """The reference's mean divergence from the policy."""

    def views(self) -> tuple[View, ...]:
        return (CHOSEN,)

    def statistics(self) -> Mapping[str, Statistic]:
        return {"divergence": Statistic(_divergence, needs_reference=True)}

    def __call__(self, scores: Scores) -> Tensor:
        return scores.statistics["divergence"][CHOSEN].mean(dim=1)


def _divergence(policy: Tensor, reference: Tensor | None) -> Tensor:
    assert reference is not None
    return (reference.exp() * (reference - policy)).sum(dim=-1)


class Likelihood(Loss):
    """What fine-tuning minimizes: no reference is needed."""

    needs_reference: ClassVar[bool] = False

    def views(self) -> tuple[View, ...]:
        return (CHOSEN,)

    def __call__(self, scores: Scores) -> Tensor:
        return -scores.policy[CHOSEN]


class Plugin:
    """Offers the components of this page."""

    @hookimpl
    def mdpo_components(self) -> Mapping[str, type[Component]]:
        return {"careless": Careless, "divergence": Divergence, "likelihood": Likelihood}


@pytest.fixture
def own_components() -> Iterator[None]:
    before, registry = current_registry(), Registry.discover()
    registry.register(Plugin(), "own")
    use_registry(registry)
    yield
    use_registry(before)


@pytest.mark.usefixtures("own_components")
def test_corruption_ignoring_its_seed_stops_run_at_first_row(cached_changes: list[str], tmp_path: Path) -> None:
    message = r"example '\d+': the model's input for 'chosen@crop' differs from the one"
    with pytest.raises(CheckpointError, match=message):
        train([*cached_changes, "corruptions.crop={corruption: careless}"], tmp_path / "run")


@pytest.mark.usefixtures("own_components")
def test_cached_reference_refuses_term_comparing_distributions(cached_changes: list[str]) -> None:
    """With a cached reference, a term that compares distributions is refused with what would work."""
    changes = [*cached_changes, "objective=[{loss: divergence}]"]
    message = "objective.0: compares whole distributions with the reference's, which 'reference: cached' does not keep"
    with pytest.raises(RecipeError, match=f"{message}; use 'adapter_off' or 'frozen_copy'"):
        load_recipe(RECIPE, changes)
    recipe = load_recipe(RECIPE, [*changes, "reference=adapter_off"])
    with pytest.raises(RecipeError, match=message):
        check_consistency(recipe.model_copy(update={"reference": "cached"}))


def test_cached_reference_refuses_evaluator_scoring_new_examples(cached_changes: list[str]) -> None:
    digits = "evaluators=[{evaluator: digits}]"
    with pytest.raises(RecipeError, match=r"evaluators\.0: scores new examples, .*'adapter_off' or 'frozen_copy'"):
        load_recipe(RECIPE, [*cached_changes, digits])
    load_recipe(RECIPE, [*cached_changes, digits, "reference=adapter_off"])


@pytest.mark.usefixtures("own_components")
def test_an_objective_without_a_reference_caches_nothing(cached_changes: list[str], tmp_path: Path) -> None:
    changes = [*cached_changes, "objective=[{loss: likelihood}]", "train.epochs=1"]
    load_recipe(RECIPE, [*changes, "evaluators=[{evaluator: digits}]"])
    folder = train(changes, tmp_path / "run")
    assert not (folder / "reference").exists()
