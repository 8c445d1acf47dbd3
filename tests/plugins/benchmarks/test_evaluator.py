"""Benchmarks as evaluators of a run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.amber import small_folder
from support.runs import train
from support.small_nltk import small_nltk

from mdpo_core import BenchmarkScore, CheckpointError, Evaluator, Example, MdpoError, component
from mdpo_core.cli import main
from mdpo_core.testing import check_evaluator
from mdpo_core.testing.contracts import _SteadyPolicy


class Yes(_SteadyPolicy):
    """Says yes to what has an even number."""

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        return ["Yes." if int(each.id) % 2 == 0 else "No." for each in examples]


@pytest.fixture
def questions(tmp_path: Path, photographs: Path) -> Path:
    picture = sorted(file.name for file in photographs.iterdir())[0]
    rows = [
        {"question_id": number, "image": picture, "text": f"Is there a cat {number}?", "label": "yes"}
        for number in range(20)
    ]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(rows))
    return file


def evaluator(questions: Path, photographs: Path, **options: object) -> Evaluator:
    made = component(
        "evaluator", "benchmark", of={"benchmark": "pope", "questions": str(questions)}, images=photographs, **options
    )
    assert isinstance(made, Evaluator)
    return made


def test_the_metrics_are_those_of_mdpo_score(questions: Path, photographs: Path, tmp_path: Path) -> None:
    found = evaluator(questions, photographs).evaluate(Yes(), tmp_path, 7)
    out = tmp_path / "result.json"
    answers = tmp_path / "benchmarks" / "pope" / "step-7.jsonl"
    assert main(["score", "pope", "--answers", str(answers), "--questions", str(questions), "--out", str(out)]) == 0
    assert found == {f"pope/{name}": value for name, value in json.loads(out.read_text())["metrics"].items()}
    assert found["pope/accuracy"] == 0.5


def test_a_share_asks_the_same_questions_each_time(questions: Path, photographs: Path, tmp_path: Path) -> None:
    asked = []
    for step, seed in enumerate((0, 0, 1)):
        evaluator(questions, photographs, share=0.25, seed=seed).evaluate(Yes(), tmp_path, step)
        lines = (tmp_path / "benchmarks" / "pope" / f"step-{step}.jsonl").read_text().splitlines()
        asked.append([json.loads(line)["id"] for line in lines])
    assert len(asked[0]) == 5
    assert asked[0] == asked[1] != asked[2]


def test_it_keeps_the_contract_of_evaluators(questions: Path, photographs: Path, tmp_path: Path) -> None:
    check_evaluator(evaluator(questions, photographs, share=0.5), _SteadyPolicy(), tmp_path / "run")


@pytest.mark.parametrize(
    ("of", "says"),
    [
        ({"benchmark": "popo"}, "unknown benchmark 'popo'; did you mean 'pope'"),
        ({"benchmark": "pope"}, "needs questions=PATH"),
        ({"benchmark": "pope", "questions": "nowhere.json"}, "the file 'nowhere.json' does not exist"),
        ({"questions": "nowhere.json"}, "must name a benchmark"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_run(of: dict[str, str], says: str, photographs: Path) -> None:
    with pytest.raises((MdpoError, ValueError), match=says):
        component("evaluator", "benchmark", of=of, images=photographs)


def test_what_scores_descriptions_is_missing_before_a_run(photographs: Path, tmp_path: Path) -> None:
    """AMBER's yes/no questions need none of it."""
    small_nltk()
    data, picture = small_folder(tmp_path / "data", {1, 1005}), sorted(file.name for file in photographs.iterdir())[0]
    for name, ids in (("all", (1, 1005)), ("yes_no", (1005,))):
        asked = [{"id": id, "image": picture, "query": "What is there?"} for id in ids]
        (tmp_path / f"{name}.json").write_text(json.dumps(asked))
    of = {"benchmark": "amber", "data": str(data), "similarity": "spacy:en_none"}
    made = {**of, "questions": str(tmp_path / "all.json")}
    with pytest.raises((MdpoError, ValueError), match="this model is not there: python -m spacy download en_none"):
        component("evaluator", "benchmark", of=made, images=photographs)
    component("evaluator", "benchmark", of={**of, "questions": str(tmp_path / "yes_no.json")}, images=photographs)


def test_amber_needs_nltk_before_a_run_only_where_it_finds_the_nouns(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    data, picture = small_folder(tmp_path / "data", {1}), sorted(file.name for file in photographs.iterdir())[0]
    (tmp_path / "asked.json").write_text(json.dumps([{"id": 1, "image": picture, "query": "What is there?"}]))
    of = {"benchmark": "amber", "data": str(data), "questions": str(tmp_path / "asked.json"), "similarity": "exact"}
    with pytest.raises((MdpoError, ValueError), match="AMBER needs nltk, which is not installed"):
        component("evaluator", "benchmark", of=of, images=photographs)
    component("evaluator", "benchmark", of={**of, "nouns_by": "vocabulary"}, images=photographs)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_questions_and_pictures_are_files_that_a_resumed_run_compares(questions: Path, photographs: Path) -> None:
    picture = photographs / json.loads(questions.read_text())[0]["image"]
    both = {str(questions): digest(questions), str(picture): digest(picture)}
    assert evaluator(questions, photographs).read_files() == both


def test_only_pictures_that_are_asked_about_are_compared(photographs: Path, tmp_path: Path) -> None:
    pictures = sorted(file.name for file in photographs.iterdir())
    keys = ("question_id", "text", "label")
    rows = [dict(zip(keys, (n, f"Is it {n}?", "no"), strict=True)) | {"image": name} for n, name in enumerate(pictures)]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(rows))
    part = evaluator(file, photographs, share=0.25)
    assert isinstance(part, BenchmarkScore)
    asked = {str(photographs / name) for each in part.asked.questions for name in each.images}
    assert part.read_files().keys() == {str(file), *asked}
    assert len(asked) == 2


def test_files_in_their_usual_places_are_compared_too(photographs: Path, tmp_path: Path) -> None:
    """AMBER finds its questions in its data."""
    data, picture = small_folder(tmp_path / "data", {1005}), sorted(photographs.iterdir())[0]
    query = data / "query" / "query_all.json"
    query.parent.mkdir(exist_ok=True)
    query.write_text(json.dumps([{"id": 1005, "image": picture.name, "query": "Is there a cat?"}]))
    of = {"benchmark": "amber", "data": str(data), "task": "d"}
    made = component("evaluator", "benchmark", of=of, images=photographs)
    assert isinstance(made, Evaluator)
    assert {str(query), str(picture)} <= made.read_files().keys()
    assert any(Path(name).name == "annotations.json" for name in made.read_files())


@pytest.mark.long
@pytest.mark.parametrize("which", ["questions", "picture"])
def test_a_run_does_not_go_on_with_other_questions_or_pictures(
    which: str, questions: Path, photographs: Path, changes: list[str], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(photographs, images)
    picture = images / json.loads(questions.read_text())[0]["image"]
    of = f"of: {{benchmark: pope, questions: {questions}}}"
    asked = f"[{{evaluator: benchmark, {of}, images: {images}, share: 0.1, max_new_tokens: 2}}]"
    words = [*changes, f"evaluators={asked}", "train.epochs=1"]
    folder = train(words, tmp_path / "run")
    file = {"questions": questions, "picture": picture}[which]
    file.write_bytes(file.read_bytes() + b"\n")
    said = rf"the file {re.escape(str(file))}, which evaluators read, has changed since the run in .* began"
    with pytest.raises(CheckpointError, match=said):
        train([*words, "train.epochs=2"], folder, resume=True)


def test_missing_pictures_are_named(questions: Path, tmp_path: Path) -> None:
    with pytest.raises((MdpoError, ValueError), match="1 of 1 picture is missing"):
        evaluator(questions, tmp_path)
