"""Pairs of candidate answers, by an implicit reward or by scores that come with them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import PIL.Image
import pytest
import torch
from support.data_commands import QUICKSTART, RECIPE, Row, lines, recipe_of, with_data, write_rows
from support.pairs import PROMPT
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import CheckpointError, DataError, Example, Recipe, RecipeError, component, load_recipe, run
from mdpo_core.cli import main
from mdpo_core.cli.make_data import section
from mdpo_core.data.validity import problems_of_row
from mdpo_core.make_data.job import NewPairs
from mdpo_core.make_data.relabel import Relabeling, relabel

CANDIDATES = ["A pink flower.", "Green leaves.", "A Chinese temple with a red roof."]


def make(recipe: Recipe, out: Path, **how: object) -> NewPairs:
    made = relabel(recipe, out, Relabeling(**{"candidates": "answers", **how}))  # type: ignore[arg-type]
    assert made is not None
    return made


def as_printed(made: NewPairs) -> Sequence[Example]:
    """The rows that the printed data section gives."""
    options = json.loads(section(made.reader))
    rows: Sequence[Example] = component("reader", options.pop("reader"), **options).open()  # type: ignore[attr-defined]
    return rows


def scored(tmp_path: Path, rows: Sequence[tuple[Sequence[str], Sequence[float]]], name: str = "source") -> Path:
    return write_rows(
        tmp_path / f"{name}.jsonl",
        [{"img_path": "00.jpg", "answers": texts, "points": points} for texts, points in rows],
    )


def of(changes: Sequence[str], data: Path, *more: str) -> Recipe:
    return recipe_of(changes, data, "data.responses={}", *more)


def plain_log_prob(folder: Path, image: Path, answer: str) -> float:
    """Of an answer and its end token, by the model's own forward."""
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    with PIL.Image.open(image) as picture:
        inputs = processor(images=picture.convert("RGB"), text=PROMPT, return_tensors="pt")
    start = inputs["input_ids"].shape[1]
    ids = processor.tokenizer(answer, add_special_tokens=False)["input_ids"] + [processor.tokenizer.eos_token_id]
    whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], dim=1)
    with torch.no_grad():
        logits = model(input_ids=whole, pixel_values=inputs["pixel_values"]).logits
    found = logits[0, start - 1 : -1].log_softmax(dim=-1)
    return float(found.gather(1, torch.tensor(ids)[:, None]).sum())


def test_implicit_reward_is_beta_times_log_ratio_of_plain_models(
    changes: list[str], tmp_path: Path, llava: Path, other_llava: Path, photographs: Path
) -> None:
    rows = [{"img_path": image, "answers": CANDIDATES} for image in ("00.jpg", "11.png")]
    source = write_rows(tmp_path / "source.jsonl", rows)
    made = make(of(changes, source), tmp_path / "out.jsonl", policy=other_llava, beta=0.3)
    for row in lines(tmp_path / "out.jsonl"):
        image = photographs / row["img_path"]
        reward = {
            answer: 0.3 * (plain_log_prob(other_llava, image, answer) - plain_log_prob(llava, image, answer))
            for answer in CANDIDATES
        }
        assert row["chosen"] == max(reward, key=reward.__getitem__)
        assert row["rejected"] == min(reward, key=reward.__getitem__)
        assert row["chosen_score"] == pytest.approx(reward[row["chosen"]], abs=1e-4)
        assert row["rejected_score"] == pytest.approx(reward[row["rejected"]], abs=1e-4)
        assert row["answers"] == CANDIDATES
    assert made.left_out == {}
    # Against itself a model has no opinion, whatever the recipe's own is.
    copy = shutil.copytree(other_llava, tmp_path / "copy")
    with pytest.raises(
        DataError, match=r"every row was left out, so nothing was written\n  2: all candidates have the same"
    ):
        make(of(changes, source), tmp_path / "same.jsonl", policy=other_llava, reference=copy)


def test_empty_result_counts_reasons_and_allows_other_options(changes: list[str], tmp_path: Path) -> None:
    """Where no row is left, the reasons are counted, and other options may follow."""
    rows = [(CANDIDATES, (1, 2, 1)), (CANDIDATES, (1, 3, 1)), (["same", "same"], (1, 1))]
    recipe, out = of(changes, scored(tmp_path, rows)), tmp_path / "out.jsonl"
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            make(recipe, out, scores="points", min_margin=100)
        assert str(caught.value) == (
            f"{out}: every row was left out, so nothing was written\n  2: the scores differ by less than 100\n"
            "  1: no two candidates differ"
        )
    assert len(make(recipe, out, scores="points", min_margin=1.5).rows) == 1
    with pytest.raises(CheckpointError, match=r"min_margin: 1.5 there, 100.0 here"):
        make(recipe, out, scores="points", min_margin=100)


def test_score_column_chooses_best_and_rejects_worst_candidate(changes: list[str], tmp_path: Path) -> None:
    source = scored(tmp_path, [(CANDIDATES, (1, 3.5, -2)), (CANDIDATES, (0, 0.5, 0.25))])
    made = make(of(changes, source), tmp_path / "out.jsonl", scores="points")
    first, second = made.reader.open()
    assert first.responses == {"chosen": CANDIDATES[1], "rejected": CANDIDATES[2]}
    assert first.columns == {"chosen_score": 3.5, "rejected_score": -2.0}
    assert second.responses == {"chosen": CANDIDATES[1], "rejected": CANDIDATES[0]}
    assert lines(tmp_path / "out.jsonl")[0]["relabeled_by"]["scores"] == "points"


def test_new_scores_are_read_and_stale_numbers_are_not(changes: list[str], tmp_path: Path) -> None:
    """The reader of the new rows reads their new scores, and leaves out other numbers of the old answers."""
    old = {"chosen_score": 9.0, "low_confidence": 1.0}
    row = {"img_path": "00.jpg", "answers": CANDIDATES, "points": [1, 3.5, -2], **old}
    source = write_rows(tmp_path / "source.jsonl", [row])
    made = make(
        of(changes, source, "data.columns=[chosen_score, low_confidence]"), tmp_path / "out.jsonl", scores="points"
    )
    assert made.reader.open()[0].columns == {"chosen_score": 3.5, "rejected_score": -2.0}
    assert made.stale == ["low_confidence"]


def test_relabel_skips_and_counts_ties_close_pairs_lone_answers(changes: list[str], tmp_path: Path) -> None:
    """Ties, close pairs and rows of one answer are left out and counted."""
    rows = [
        (CANDIDATES, (1, 2, 1)),
        (CANDIDATES, (1, 1, 1)),
        (CANDIDATES, (1, 1.25, 1)),
        (["same", "same"], (1, 1)),
        (["alone"], (1,)),
        ([*CANDIDATES, CANDIDATES[0]], (0, 1, 0.75, 0)),
    ]
    made = make(of(changes, scored(tmp_path, rows)), tmp_path / "out.jsonl", scores="points", min_margin=0.5)
    found = [(row["name"], row["relabeled_by"]["source_row"]) for row in lines(tmp_path / "out.jsonl")]
    assert found == [("row-0", 1), ("row-5", 6)]
    assert made.left_out == {
        "all candidates have the same score": 1,
        "the scores differ by less than 0.5": 1,
        "no two candidates differ": 2,
    }
    assert make(of(changes, scored(tmp_path, rows)), tmp_path / "all.jsonl", scores="points").left_out.keys() == {
        "all candidates have the same score",
        "no two candidates differ",
    }


def test_given_share_of_smallest_margins_is_low_confidence(changes: list[str], tmp_path: Path) -> None:
    margins = (4, 1, 3, 0.5, 2)
    source = scored(tmp_path, [(CANDIDATES[:2], (margin, 0)) for margin in margins])
    made = make(of(changes, source), tmp_path / "out.jsonl", scores="points", low_confidence=0.4)
    assert [example.columns["low_confidence"] for example in made.reader.open()] == [0, 1, 0, 1, 0]


def test_a_spa_recipe_trains_on_what_was_relabeled(changes: list[str], tmp_path: Path, other_llava: Path) -> None:
    source = write_rows(tmp_path / "source.jsonl", [{"img_path": "00.jpg", "answers": CANDIDATES}] * 1)
    objective = "objective=[{loss: spa}, {loss: odpo, offset: linear}]"
    steps = ["train.batch_size=1", "train.micro_batch_size=1", "train.epochs=1", "trackers=[]"]
    recipe = of(changes, source, objective, *steps, f"output.dir={tmp_path / 'run'}")
    made = make(recipe, tmp_path / "out.jsonl", policy=other_llava, low_confidence=0.5)
    result = run(with_data(recipe, made.reader))
    [first] = [row for row in lines(result.run_dir / "metrics.jsonl") if row["step"] == 1]
    scores = made.reader.open()[0].columns
    offset = math.log1p(math.exp(scores["chosen_score"] - scores["rejected_score"]))
    assert first["loss"] == pytest.approx(math.log(2) + offset, rel=1e-4)


def test_named_responses_are_candidates_where_no_column_is_given(tmp_path: Path) -> None:
    recipe = load_recipe(QUICKSTART, ["data.num_pairs=3", "model.lora={rank: 2}"])
    out = tmp_path / "out.jsonl"
    with pytest.raises(RecipeError, match="policy=DIR is missing"):
        relabel(recipe, out, Relabeling())
    with pytest.raises(RecipeError, match="candidates: this reader does not give columns of lists"):
        relabel(recipe, out, Relabeling(candidates="answers", scores="points"))
    base = Path(str(recipe.model.files()[0])).parent
    with pytest.raises(DataError, match="every row was left out"):  # the policy is the reference
        relabel(recipe, out, Relabeling(policy=base))


@pytest.mark.parametrize("prompt", ["prompt", "null"])
@pytest.mark.parametrize("names", [("chosen", "rejected", "third"), ("first", "second", "third")])
def test_printed_section_reads_pairs_made_of_three_responses(
    changes: list[str], tmp_path: Path, other_llava: Path, names: tuple[str, ...], prompt: str
) -> None:
    question = {"role": "user", "content": "<image>What is it?"}
    before = [question] if prompt == "null" else []
    answers = [[*before, {"role": "assistant", "content": text}] for text in CANDIDATES]
    columns = dict(zip(("x", "y", "z"), answers, strict=True))
    source = write_rows(tmp_path / "source.jsonl", [{"img_path": "00.jpg", "prompt": [question], **columns}])
    responses = ", ".join(f"{name}: {column}" for name, column in zip(names, columns, strict=True))
    more = ("model.prompts=chat", f"data.prompt={prompt}", f"data.responses={{{responses}}}")
    made = make(recipe_of(changes, source, *more), tmp_path / "out.jsonl", candidates=None, policy=other_llava)
    [example] = as_printed(made)
    assert example.responses.keys() == {"chosen", "rejected"}
    assert set(example.responses.values()) < set(CANDIDATES)
    assert problems_of_row(example) == []


def test_printed_section_reads_candidates_beside_other_responses(changes: list[str], tmp_path: Path) -> None:
    """The printed section reads the pairs that were made of candidates beside other responses."""
    row = {"img_path": "00.jpg", "third": CANDIDATES[1], "answers": CANDIDATES, "points": [1, 3, 2]}
    source = write_rows(tmp_path / "source.jsonl", [row])
    made = make(recipe_of(changes, source, "data.responses={third: third}"), tmp_path / "out.jsonl", scores="points")
    [example] = as_printed(made)
    assert example.responses == {"chosen": CANDIDATES[1], "rejected": CANDIDATES[0]}
    assert problems_of_row(example) == []


def test_stopped_or_not_the_bytes_are_the_same(
    changes: list[str], tmp_path: Path, other_llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"img_path": image, "answers": CANDIDATES} for image in ("00.jpg", "11.png", "01.png")]
    recipe = of(changes, write_rows(tmp_path / "source.jsonl", rows))
    how = {"policy": other_llava, "low_confidence": 0.3}
    make(recipe, tmp_path / "unstopped.jsonl", **how)

    class Lost(Exception):
        """As if the process were gone."""

    def lose(*_: object) -> Mapping[str, object]:
        raise Lost

    with monkeypatch.context() as patch:
        patch.setattr("mdpo_core.make_data.new_rows.NewPairsFile.write", lose)
        with pytest.raises(Lost):
            make(recipe, tmp_path / "stopped.jsonl", **how)
    partial = tmp_path / "stopped.jsonl.partial"
    partial.write_bytes(partial.read_bytes()[:-20])
    make(recipe, tmp_path / "stopped.jsonl", **how)
    assert (tmp_path / "stopped.jsonl").read_bytes() == (tmp_path / "unstopped.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answers": "A flower."}, "row 1: answers: must be a list, found 'A flower.'"),
        ({"answers": [1, 2]}, "row 1: answers: must be a list of texts; candidate_0 is 1"),
        ({"answers": CANDIDATES, "points": [1, 2]}, "row 1: points: has 2 scores for 3 candidates"),
        (
            {"answers": CANDIDATES, "points": [1, 2, None]},
            "row 1: points: must be a list of finite numbers; one is None",
        ),
        (
            {"answers": ["a", "b", "a"], "points": [1, 2, 3]},
            "row 1: points: candidate_0 and candidate_2 are equal, but their scores differ",
        ),
        ({"answers": ["a", " "], "points": [1, 2]}, "row 1: the response 'candidate_1' is empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_named(changes: list[str], tmp_path: Path, row: Row, said: str) -> None:
    source = write_rows(tmp_path / "source.jsonl", [{"img_path": "00.jpg", "points": [1, 2, 3], **row}])
    with pytest.raises(DataError) as caught:
        make(of(changes, source), tmp_path / "out.jsonl", scores="points")
    assert said in str(caught.value)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"candidates": None, "scores": "points"}, "scores needs candidates=COLUMN"),
        ({}, "policy=DIR is missing"),
        ({"scores": "points", "policy": Path("final")}, "scores cannot be combined with policy or reference"),
        ({"scores": "point"}, r"scores=point: this column does not exist; did you mean 'points'\?"),
        ({"candidates": "answer", "scores": "points"}, r"candidates=answer: .*did you mean 'answers'\?"),
        (
            {"policy": Path("runs/final"), "reference": Path("runs/../runs/final")},
            r"reference=runs/../runs/final: this is also the policy, so all rewards would be 0",
        ),
        (
            {"policy": Path("nowhere")},
            "policy: the folder 'nowhere' does not exist; give an exported model, such as final/ of a run",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(
    changes: list[str], tmp_path: Path, how: dict[str, object], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        make(of(changes, scored(tmp_path, [(CANDIDATES, (1, 2, 3))])), tmp_path / "out.jsonl", **how)


def test_conversations_without_responses_have_no_prompt(changes: list[str], pairs: Path) -> None:
    with pytest.raises(RecipeError, match="prompt: null reads prompts from the responses"):
        of(changes, pairs, "data.prompt=null")


def test_a_folder_without_a_model_is_named_by_its_option(changes: list[str], tmp_path: Path, other_llava: Path) -> None:
    recipe = of(changes, scored(tmp_path, [(CANDIDATES, (1, 2, 3))]))
    (tmp_path / "run").mkdir()
    for option, other in (("policy", "reference"), ("reference", "policy")):
        with pytest.raises(RecipeError) as caught:
            make(recipe, tmp_path / "out.jsonl", **{option: tmp_path / "run", other: other_llava})
        assert str(caught.value) == (
            f"{option}: '{tmp_path / 'run'}' does not contain a model: it has neither config.json nor "
            "adapter_config.json"
        )
    assert not list(tmp_path.glob("out*"))


def test_a_scale_of_rewards_beside_scores_is_refused(
    changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for each in [*changes, f"data.path={tmp_path}"] for word in ("--set", each)]
    options = ["--candidates", "answers", "--scores", "points", "--beta", "0.1", "--out", str(tmp_path / "out.jsonl")]
    assert main(["relabel", str(RECIPE), *words, *options]) == 2
    assert "--beta has no effect with --scores" in capsys.readouterr().err


def test_the_command_does_the_same(changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = scored(tmp_path, [(CANDIDATES, (1, 3.5, -2)), (CANDIDATES, (1, 1, 1))])
    words = [word for each in [*changes, f"data.path={source}", "data.responses={}"] for word in ("--set", each)]
    out = tmp_path / "out.jsonl"
    options = ["--candidates", "answers", "--scores", "points", "--out", str(out)]
    assert main(["relabel", str(RECIPE), *words, *options]) == 0
    told = capsys.readouterr().out
    assert f"{out}: 1 row, 1 left out\n  1: all candidates have the same score" in told
    assert main(["relabel", str(RECIPE), *words, *options, "--low-confidence", "0.5"]) == 1
    assert "low_confidence: None there, 0.5 here" in capsys.readouterr().err
