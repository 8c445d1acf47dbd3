"""Makes pairs from candidate responses and their scores: ``mdpo relabel``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.data.checking import open_all_rows
from mdpo_core.data.validity import problems_of_row
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.make_data.candidates import CandidateRows
from mdpo_core.make_data.job import DataJob, NewPairs
from mdpo_core.make_data.journal import Entry
from mdpo_core.make_data.new_rows import NewRow
from mdpo_core.make_data.source import AllResponses, CheckedInput, load, require_jsonl, require_models
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import option
from mdpo_core.types.example import Example
from mdpo_core.types.scores import ScorerOutput, Scores
from mdpo_core.types.view import CHOSEN, REJECTED, View

if TYPE_CHECKING:
    from mdpo_core.scoring.scorer import Scorer

LOW_CONFIDENCE = "low_confidence"


@dataclass(frozen=True)
class Relabeling:
    """Where the candidates and their scores come from.

    ``candidates``: the column with lists of responses; None: the responses that the recipe's reader names. ``scores``:
    the column with lists of their scores; None: the implicit reward, ``beta`` (reward per nat) times the log-ratio of
    ``policy`` to ``reference``. These two are folders of models that runs of the recipe exported; without
    ``reference``, the reference is the recipe's untrained model. Pairs whose scores are equal or differ by less than
    ``min_margin`` are left out. ``low_confidence``: the share of pairs, with the smallest margins, that get 1 in the
    column of that name.
    """

    candidates: str | None = None
    scores: str | None = None
    policy: Path | None = None
    reference: Path | None = None
    beta: float = 0.1
    min_margin: float = 0.0
    low_confidence: float | None = None

    def require_consistent(self) -> None:
        """Raise `RecipeError` for options that contradict each other."""
        if self.scores is not None and self.candidates is None:
            needed = f"{option('--scores')} needs {option('--candidates COLUMN')}"
            raise RecipeError(f"{needed}: each score belongs to a candidate of that column")
        if self.scores is None and self.policy is None:
            raise RecipeError(
                f"{option('--policy DIR')} is missing: name an exported model, such as final/ of a run directory, "
                f"whose implicit reward gives the scores; or name a column of scores with {option('--scores COLUMN')}"
            )
        if self.scores is not None and (self.policy or self.reference):
            raise RecipeError(
                f"{option('--scores')} cannot be combined with {option('--policy')} or {option('--reference')}: scores "
                "come from a column or from models"
            )
        if self.policy and self.reference and self.policy.resolve() == self.reference.resolve():
            raise RecipeError(
                f"{option(f'--reference {self.reference}')}: this is also the policy, so all rewards would be 0; name "
                f"another model, or leave {option('--reference')} out to use the recipe's untrained model"
            )

    def settings(self) -> dict[str, Any]:
        """The options, as each new row holds them."""
        texts = {name: str(value or "") for name, value in asdict(self).items() if name not in _NUMBERS}
        return texts | {"beta": float(self.beta), "min_margin": float(self.min_margin)}


_NUMBERS = {"beta", "min_margin", LOW_CONFIDENCE}


def relabel(recipe: Recipe, out: Path, relabeling: Relabeling) -> NewPairs | None:
    """Write the valid rows of a recipe's data to ``out``, each with its best candidate chosen and its worst rejected.

    Continues a call that was stopped. Returns None if an earlier call wrote the file. Raises `RecipeError` and
    `DataError` if recipe, options or data are wrong, `CheckpointError` if ``out`` has other content, and
    `RunStopped` after a SIGTERM or SIGINT.
    """
    require_jsonl(out)
    relabeling.require_consistent()
    recipe.model.check()
    models = {"policy": relabeling.policy, "reference": relabeling.reference}
    require_models(recipe, models)
    data = open_all_rows(recipe.data)
    rows = CandidateRows.of(data, relabeling.candidates, relabeling.scores)
    model, seed = recipe.model, recipe.train.seed
    builder = AllResponses(
        model.encoder(), (CHOSEN,), {}, (), model.max_length, seed, max_positions=model.max_positions
    )
    source = CheckedInput.read(recipe, rows, builder)
    settings = {"command": "relabel", **relabeling.settings(), LOW_CONFIDENCE: relabeling.low_confidence}
    key = source.key(settings, models)
    labels = _Labels(source, relabeling)
    return DataJob("scoring", source, data, key, labels, finish=labels.with_confidence, replaces=True).write(out)


class _Labels:
    """Scores the candidates of valid rows, given by index; the models are loaded when they are first needed."""

    def __init__(self, source: CheckedInput, relabeling: Relabeling) -> None:
        self._source = source
        self._relabeling = relabeling
        self._rows = source.checked.valid_examples()

    def __call__(self, indices: Sequence[int]) -> list[Entry]:
        import torch

        with torch.no_grad():
            return [self._entry(self._rows[index], self._source.source_row(index)) for index in indices]

    def _entry(self, example: Example, source_row: int) -> Entry:
        if len(example.responses) < 2:
            return {"problem": "no two candidates differ"}
        scores = example.columns if self._relabeling.scores is not None else self._rewards(example)
        # Of equal scores the first wins, so the result only depends on the order of the candidates.
        best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
        margin = scores[best] - scores[worst]
        if not margin > 0:
            return {"problem": "all candidates have the same score"}
        if margin < self._relabeling.min_margin:
            return {"problem": f"the scores differ by less than {self._relabeling.min_margin:g}"}
        responses = {CHOSEN.response: example.responses[best], REJECTED.response: example.responses[worst]}
        for problem in problems_of_row(replace(example, responses=responses)):
            return {"problem": problem}
        return {
            "responses": responses,
            "columns": {
                "chosen_score": scores[best],
                "rejected_score": scores[worst],
                "relabeled_by": {**self._relabeling.settings(), "source_row": source_row},
            },
        }

    def _rewards(self, example: Example) -> Mapping[str, float]:
        """Implicit rewards of a row's responses."""
        views = tuple(View(name) for name in example.responses)
        batch = self._source.builder.of(views).build([example], [0], epoch=0)
        # Separate scorers: with one for both, the reference would see the policy's image features.
        policy, reference = (scorer(batch).policy for scorer in self._scorers(views))
        scores = Scores.from_tokens(ScorerOutput(policy, reference), batch.corruptible, batch.columns)
        return {view.response: self._relabeling.beta * float(scores.log_ratio(view)) for view in views}

    def _scorers(self, views: tuple[View, ...]) -> list[Scorer]:
        from mdpo_core.scoring.scorer import Scorer

        # One sequence for each view: an exported model is a plain one, which cannot share prompts.
        options = self._source.recipe.scoring.model_copy(update={"share_prefix": False})
        return [Scorer(model, TermInputs(views), options=options) for model in self._models]

    @cached_property
    def _models(self) -> Sequence[VisionLanguageModel]:
        folders = (self._relabeling.policy, self._relabeling.reference)
        return [load(self._source.recipe, folder) for folder in folders]

    def with_confidence(self, rows: list[NewRow]) -> list[NewRow]:
        """Add a column that is 1 for the share of rows with the smallest margins, and 0 for the others."""
        share = self._relabeling.low_confidence
        if share is None:
            return rows
        margins = [row.columns["chosen_score"] - row.columns["rejected_score"] for row in rows]
        unsure = set(sorted(range(len(rows)), key=margins.__getitem__)[: round(share * len(rows))])
        return [
            row._replace(columns={**row.columns, LOW_CONFIDENCE: float(index in unsure)})
            for index, row in enumerate(rows)
        ]
