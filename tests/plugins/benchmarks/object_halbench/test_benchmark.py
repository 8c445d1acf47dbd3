"""Object HalBench, against the numbers of its official script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mdpo_benchmarks.judging.template import JudgeTemplate
from mdpo_benchmarks.object_halbench.benchmark import ObjectHalBench, message
from support.builders.coco_files import OBJECT_HALBENCH, official, scored, tiny, written
from support.pretended.judge import Answered, completion, judge_server
from support.small_nltk import small_nltk

from mdpo_core import Answer, DataError, RecipeError
from mdpo_core.cli import main
from mdpo_core.testing import check_benchmark

METRICS = ("CHAIRs", "CHAIRs_refine", "CHAIRi", "obj_rec", "avg_word_len", "correct_rate", "object_correct_rate")
COUNTS = ("sentence_num", "coco_sentence_num", "coco_word_count", "gt_word_count")


def test_numbers_without_a_judge_are_those_of_the_official_script(tmp_path: Path) -> None:
    case = OBJECT_HALBENCH["without_judge"]
    answers, expected = written(tmp_path, "answers.jsonl", case["items"]), case["expected"]
    words = ("--answers", answers, "--data", official(tmp_path / "coco"), "--no-judge")
    result, rows = scored(tmp_path, "object_halbench", *words)
    overall = expected["overall_metrics"]
    assert {name: result["metrics"][name] for name in METRICS} == pytest.approx(
        {name: overall[name] for name in METRICS}, abs=1e-9
    )
    assert {name: result["counts"][name] for name in COUNTS} == {name: overall[name] for name in COUNTS}
    assert result["printed"] == expected["printed"]
    assert rows == expected["sentences"]
    assert result["variant"] == "no judge"
    assert result["metrics"]["summary"]["Response Hall"] == round(overall["CHAIRs_refine"] * 100, 2)


def test_answers_without_objects_give_0_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [item] = OBJECT_HALBENCH["no_coco_objects"]["items"]
    files = judged(
        tmp_path, [item["text"]], [item["judge_replies"]], {"a sky": [["a", "a", "DT"], ["sky", "sky", "NN"]]}
    )
    result, _ = scored(tmp_path, "object_halbench", *files)
    assert [result["metrics"][name] for name in METRICS[:3]] == [0, 0, 0]
    assert "CHAIRs_refine is 0: it is 0 divided by 0" in capsys.readouterr().out


def judged(place: Path, texts: list[str], replies: list[Any], tokens: dict[str, list[list[str]]]) -> list[str]:
    """Answers, replies about them and parsed objects, as words of the command line."""
    data = tiny(place / "coco", {7: "A man", 8: "A dog and a bus"}, {7: [1], 8: [2]})
    rows = [{"question_id": id, "image_id": 7 + id, "prompt": "?", "text": text} for id, text in enumerate(texts)]
    return [
        *("--answers", str(written(place, "answers.jsonl", rows)), "--data", str(data)),
        *("--judge-replies", str(written(place, "replies.json", replies))),
        *("--objects", str(written(place, "objects.json", tokens))),
    ]


TOKENS = {
    "a old men": [["a", "a", "DT"], ["old", "old", "JJ"], ["men", "man", "NNS"]],
    "a dining table": [["a", "a", "DT"], ["dining", "dining", "NN"], ["table", "table", "NN"]],
    "a kitchen table": [["a", "a", "DT"], ["kitchen", "kitchen", "NN"], ["table", "table", "NN"]],
    "a man on a table": [[word, word, tag] for word, tag in (("man", "NN"), ("on", "IN"), ("table", "NN"))],
}
TWO = ["An old man at a table here", "Some text of five words"]


def test_a_judges_objects_are_counted_once_by_their_words(tmp_path: Path) -> None:
    replies = [["sorry", 'Here:\n["old men", "dining table", "man on a table", "old men"]'], ['["kitchen table"]']]
    result, [first, second] = scored(tmp_path, "object_halbench", *judged(tmp_path, TWO, replies, TOKENS))
    # By hand: man (right), dining table and table (both wrong); a kitchen table is no word of COCO.
    assert first["generated"] == [["man", "person"], ["dining table", "dining table"], ["table", "dining table"]]
    assert first["hallucination_idxs"] == [1, 2]
    assert second["words"] == ["kitchen table"]
    assert second["generated"] == []
    expected = {"CHAIRs": 1 / 2, "CHAIRs_refine": 1, "CHAIRi": 2 / 3, "obj_rec": 1 / 3, "avg_word_len": 6}
    assert {name: result["metrics"][name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert result["judge"] == {"asked": None, "answered": [], "replies": 3}
    assert result["unparsed"] == 1
    assert result["variant"] == "objects of a file"


def test_short_answers_are_not_asked_about(tmp_path: Path) -> None:
    files = judged(tmp_path, ["Assistant: A red bus", TWO[1]], [['["old men"]'], ["[]"]], TOKENS)
    result, [first, _] = scored(tmp_path, "object_halbench", *files)
    assert first["caption"] == "A red bus"
    assert first["generated"] == []
    assert result["judge"]["replies"] == 1


def test_chat_completions_are_replies_and_their_models_stand_in_the_result(tmp_path: Path) -> None:
    completion = {"model": "gpt-x", "choices": [{"message": {"content": '["old men"]'}}]}
    files = judged(tmp_path, TWO, [[None, completion], ["[]"]], TOKENS)
    result, [first, _] = scored(tmp_path, "object_halbench", *files)
    assert first["generated"] == [["man", "person"]]
    assert result["judge"] == {"asked": None, "answered": ["gpt-x"], "replies": 3}


def test_fenced_replies_are_read_if_asked_for_and_the_variant_says_so(tmp_path: Path) -> None:
    files = judged(tmp_path, TWO, [['```json\n["old men"]\n```'], ["[]"]], TOKENS)
    result, [first, _] = scored(tmp_path, "object_halbench", *files, "--fenced-replies")
    assert first["generated"] == [["man", "person"]]
    assert result["variant"] == "objects of a file, fenced_replies"


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([["[]"]], "replies.json has replies about 1 answers, and there are 2"),
        ([["no"], ["[]"]], "answers.jsonl:1: none of the judge's 1 replies is a JSON list about"),
        ([[], ["[]"]], "answers.jsonl:1: the judge did not reply"),
        ([["7"], ["[]"]], "answers.jsonl:1: the judge replied '7', which is no list of objects"),
        ([['["cat"]'], ["[]"]], "objects.json: has no tokens for 'a cat', which the judge's replies name"),
        ([["[]"], "[]"], "replies.json row 2: must be the list of the judge's replies about an answer"),
        (
            [["[]"], [7]],
            "replies.json row 2: is no reply of a judge, which is a text: '7', which is not a chat completion",
        ),
    ],
)
def test_replies_that_do_not_fit_are_refused(
    replies: list[Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_nltk()
    assert main(["score", "object_halbench", *judged(tmp_path, TWO, replies, TOKENS)]) == 2
    assert message in capsys.readouterr().err


def test_replies_that_are_no_lists_are_gone_through_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = {"a b": [["a", "a", "DT"], ["b", "b", "NN"]], "a old men": TOKENS["a old men"]}
    files = judged(tmp_path, TWO, [['"bb"'], ['{"old men": 1}']], tokens)
    _, rows = scored(tmp_path, "object_halbench", *files)
    assert [row["words"] for row in rows] == [["b"], ["man"]]
    assert "2 of the judge's replies are no lists" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs one of --judge URL, --judge-replies FILE (what a judge replied about each answer) and --no-judge"),
        (["--no-judge", "--judge-replies", "x.json"], "found judge_replies, no_judge"),
        (["--no-judge", "--objects", "x.json"], "--no-judge does not use --objects; leave one of them out"),
        (["--judge-replies", "x.json"], "the file 'x.json' does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_nltk()
    words = judged(tmp_path, TWO, [], TOKENS)[:4]
    assert main(["score", "object_halbench", *words, *options]) == 2
    assert message in capsys.readouterr().err


def test_answers_that_call_the_text_answer_are_read(tmp_path: Path) -> None:
    data = tiny(tmp_path / "coco", {7: "A man"}, {7: [1]})
    rows = [{"image_id": 7, "question": "?", "answer": "A man on a bus"}]
    words = ("--answers", written(tmp_path, "answers.jsonl", rows), "--data", data, "--no-judge")
    result, _ = scored(tmp_path, "object_halbench", *words)
    assert result["metrics"]["CHAIRi"] == 0.5


def test_keeps_the_contract_of_benchmarks(tmp_path: Path) -> None:
    small_nltk()
    data = tiny(tmp_path / "coco", {7: "A man", 8: "A dog"}, {7: [1]})
    rows = [{"org_idx": id, "image_id": id, "question": "What is this?", "image": "iVBORw0KGgo="} for id in (7, 8)]
    benchmark = ObjectHalBench(data=data, questions=written(tmp_path, "asked.jsonl", rows), no_judge=True)
    check_benchmark(benchmark, lambda question: "a man with a dog and a bus")


def test_a_judge_is_asked_as_officially_until_it_replies_with_a_list(tmp_path: Path) -> None:
    def reply(body: dict[str, Any], number: int) -> Answered:
        return completion("sorry" if len(seen) < 2 else '["old men"]', "gpt-3.5-turbo-0613")

    seen: list[Any] = []
    words = judged(tmp_path, [TWO[0], "A red bus"], [], TOKENS)
    template = tmp_path / "template.txt"
    template.write_text("Q: <image> {question}\nA: {answer}")
    with judge_server(lambda body, number: (seen.append(body), reply(body, number))[1]) as server:
        options = ("--judge", server.url, "--judge-template", template, "--custom-template")
        result, [first, second] = scored(tmp_path, "object_halbench", *words[:4], *words[6:], *options)
    assert [body["messages"] for body in seen] == [
        [{"role": "system", "content": f"Q: <image> ?\nA: {TWO[0]}"}] for _ in range(2)
    ]
    asked = {"temperature": 0.2, "top_p": 1, "max_tokens": 512, "presence_penalty": 0, "frequency_penalty": 0}
    assert seen[0].items() >= {"model": "gpt-3.5-turbo-0613", **asked}.items()
    assert (first["generated"], second["generated"]) == ([["man", "person"]], [])
    assert result["judge"] == {"asked": "gpt-3.5-turbo-0613", "answered": ["gpt-3.5-turbo-0613"], "replies": 2}
    assert result["variant"] == "custom_template, objects of a file"


def test_the_message_is_the_official_one_where_the_template_is() -> None:
    """The official template is not ours to ship; this one has its places."""
    template = JudgeTemplate("t.txt", "<image> {question} / {answer}")
    answer = Answer("", "7", "What is {this}?", "A {dog}", {})
    assert message(template, answer) == "<image> What is {this}? / A {dog}"
    with pytest.raises(DataError, match="has no prompt, the question that the judge reads"):
        message(template, answer._replace(prompt=None))
    with pytest.raises(RecipeError, match=r"t\.txt: the template has no place \{answer\}"):
        message(JudgeTemplate("t.txt", "{question}"), answer)
