"""`mdpo answer --server`: a model behind a real server on loopback, which fails in each way that servers do."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pretended.judge import Answered, JudgeServer, judge_server

from mdpo_core.benchmarking.server_model import content_of, text_in
from mdpo_core.cli import main
from mdpo_core.data.pictures.images import read_image
from mdpo_core.types.example import Example
from mdpo_core.types.marks import escape_marks

MODEL = "seeing-1"
ONE_TOKEN = 1


@pytest.fixture
def questions(photographs: Path, tmp_path: Path) -> Path:
    """Twenty questions of POPE about four pictures; every fourth has a mark in it."""
    pictures = sorted(file.name for file in photographs.iterdir())[:4]
    words = ("a temple", "a flower", "no tree", "<image>")
    rows = [
        {"question_id": number, "image": pictures[number // 5], "text": f"Is there {words[number % 4]} {number}?"}
        for number in range(20)
    ]
    file = tmp_path / "questions.json"
    file.write_text("\n".join(json.dumps({**row, "label": "yes"}) for row in rows))
    return file


def parts_of(body: dict[str, Any]) -> tuple[list[PIL.Image.Image], str]:
    """The pictures and the text of a request, as a server reads them."""
    content = body["messages"][0]["content"]
    if isinstance(content, str):
        return [], content
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    encoded = [url.removeprefix("data:image/png;base64,") for url in urls]
    pictures = [PIL.Image.open(io.BytesIO(base64.b64decode(each))) for each in encoded]
    return pictures, "".join(part["text"] for part in content if part["type"] == "text")


def sent(body: dict[str, Any], text: str, model: str = MODEL, ending: str = "stop", **more: Any) -> Answered:
    """A chat completion that counts a token for each word, and 10 for each picture."""
    pictures, asked = parts_of(body)
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": len(asked.split()) + 10 * len(pictures), "completion_tokens": 1, "total_tokens": 1}
    choice = {"index": 0, "message": message, "finish_reason": ending}
    completion = {"id": "x", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    return Answered(json.dumps(completion | more))


def seeing(body: dict[str, Any], number: int) -> Answered:
    """The answer that depends on the picture's pixels and on the question."""
    pictures, asked = parts_of(body)
    return sent(body, f"{asked} {[(picture.size, sum(picture.getpixel((0, 0)))) for picture in pictures]}")  # type: ignore[arg-type]


def answers_asked(server: JudgeServer) -> list[dict[str, Any]]:
    """The requests for answers, without those that find out whether the server takes pictures."""
    return [body for body in server.asked if body["max_tokens"] != ONE_TOKEN]


def words(questions: Path, photographs: Path, server: JudgeServer | str, *more: str) -> list[str]:
    url = server if isinstance(server, str) else server.url
    asked = ["--server", url, "--server-model", MODEL, "--questions", str(questions), "--images", str(photographs)]
    out = questions.with_name("answers.jsonl")
    return ["answer", "pope", *asked, "--out", str(out), "--server-wait", "0.001", "--max-new-tokens", "8", *more]


def rows_of(questions: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in questions.with_name("answers.jsonl").read_text().splitlines()]


def test_each_question_is_sent_once_with_its_picture_and_answered_in_order(
    questions: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(body: dict[str, Any], number: int) -> Answered:
        return seeing(body, number)._replace(seconds=0.01 * (number % 3))

    with judge_server(slow) as server:
        assert main(words(questions, photographs, server, "--batch-size", "6", "--suffix", " Yes or no?")) == 0
    asked = answers_asked(server)
    assert len(asked) == 20
    assert 2 <= server.most <= 6
    assert set(server.paths) == {"/v1/chat/completions"}
    assert {body["temperature"] for body in server.asked} == {0.0}
    assert {body["max_tokens"] for body in asked} == {8}
    assert {body["model"] for body in server.asked} == {MODEL}
    stored = [json.loads(line) for line in questions.read_text().splitlines()]
    for row, question in zip(rows_of(questions), stored, strict=True):
        picture = read_image(photographs / question["image"])
        seen = [(picture.size, sum(picture.getpixel((0, 0))))]  # type: ignore[arg-type]
        assert row["response"] == f"{question['text']} Yes or no? {seen}"
        assert (row["id"], row["image"]) == (str(question["question_id"]), question["image"])
        assert row["model"] == MODEL
        assert row["settings"]["suffix"] == " Yes or no?"
    assert (
        main(["score", "pope", "--answers", str(questions.with_name("answers.jsonl")), "--questions", str(questions)])
        == 0
    )


def _killed_after(arguments: list[str], server: JudgeServer, num_requests: int, signum: signal.Signals) -> int:
    """Run the command, and send it a signal once the server has that many requests."""
    process = subprocess.Popen([sys.executable, "-m", "mdpo_core.cli", *arguments], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(server.asked) < num_requests and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signum)
    process.wait()
    return process.returncode


@pytest.mark.parametrize("signum", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_stopped_command_goes_on_to_the_same_bytes_and_asks_only_for_the_rest(
    signum: signal.Signals, questions: Path, photographs: Path
) -> None:
    def slow(body: dict[str, Any], number: int) -> Answered:
        return seeing(body, number)._replace(seconds=0.03)

    out = questions.with_name("answers.jsonl")
    partial = out.with_name(f"{out.name}.partial")
    with judge_server(slow) as server:
        code = _killed_after(words(questions, photographs, server, "--batch-size", "3"), server, 12, signum)
        assert code in (-signum, 128 + signum)
        assert not out.exists()
        kept = partial.read_bytes().count(b"\n")
        assert 12 - 2 - 3 - 1 <= kept < 20  # two are no answers, three were in flight
    with judge_server(seeing) as server:  # at another address, with another number at once
        assert main(words(questions, photographs, server, "--batch-size", "5")) == 0
        assert len(answers_asked(server)) == 20 - kept
        stopped = out.read_bytes()
        assert main(words(questions, photographs, server, "--batch-size", "7")) == 0  # nothing more is asked
        assert len(answers_asked(server)) == 20 - kept
    for file in questions.parent.glob("answers.jsonl*"):
        file.unlink()
    with judge_server(seeing) as server:
        assert main(words(questions, photographs, server)) == 0
    assert out.read_bytes() == stopped


def test_the_key_comes_from_the_environment_and_stands_nowhere(
    questions: Path, photographs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-key")
    with judge_server(seeing) as server:
        assert main(words(questions, photographs, server, "--server-key-env", "MY_KEY")) == 0
        port = re.findall(r":(\d+)/", server.url)[0]
    assert {headers["authorization"] for headers in server.headers} == {"Bearer secret-key"}
    shown = capsys.readouterr()
    kept = "".join(file.read_text() for file in questions.parent.iterdir())
    assert "secret-key" not in shown.out + shown.err + kept
    assert port not in kept


Answering = Callable[[dict[str, Any], int], Answered]
FAULTS: dict[str, tuple[Answering, str]] = {
    "another model": (
        lambda body, number: sent(body, "Yes", model="other-1"),
        rf"the model '{MODEL}' was asked for, but 'other-1' answered; if that will do, add --server-accept other-1",
    ),
    "too many requests": (
        lambda body, number: Answered("slow down", status=429),
        r"the server at http://127\.0\.0\.1:\d+/v1 was asked 2 times and replied with the HTTP status 429: slow down",
    ),
    "nonsense": (lambda body, number: Answered("I think so."), r"replied with 'I think so\.', which is not JSON"),
    "a list": (lambda body, number: Answered("[]"), r"replied with '\[\]', which is not a chat completion"),
    "no choices": (
        lambda body, number: sent(body, "", choices=[]),
        "was asked 2 times and replied with no choices",
    ),
    "a text that is cut off before it begins": (
        lambda body, number: sent(body, "", ending="length"),
        r"answered the question '0' with an empty text, which ended by 'length'; allow more tokens with "
        "--max-new-tokens N",
    ),
    "a filter": (
        lambda body, number: sent(body, "", ending="content_filter"),
        r"answered the question '0' with an empty text, which ended by 'content_filter'",
    ),
    "no model of this name": (
        lambda body, number: Answered("no such model", status=404),
        "replied with the HTTP status 404: no such model",
    ),
    "no pictures": (
        lambda body, number: Answered("no images, please", status=400) if parts_of(body)[0] else sent(body, "Yes"),
        rf"'{MODEL}' takes text, but no picture: the server at .* replied with the HTTP status 400: no images, please",
    ),
    "pictures that are passed over": (
        lambda body, number: sent(body, "Yes", usage={"prompt_tokens": 7}),
        rf"'{MODEL}' does not look at pictures: the server counts 7 tokens in the question '0', with its picture",
    ),
}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_is_a_sentence(
    fault: str, questions: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, sentence = FAULTS[fault]
    with judge_server(answer) as server:
        assert main(words(questions, photographs, server, "--server-retries", "1")) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not questions.with_name("answers.jsonl").exists()


def test_answers_before_a_fault_are_kept(
    questions: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tired(body: dict[str, Any], number: int) -> Answered:
        return seeing(body, number) if number < 10 else Answered("", status=429)

    arguments = ["--server-retries", "1", "--batch-size", "1"]
    with judge_server(tired) as server:
        assert main(words(questions, photographs, server, *arguments)) == 2
    assert "8 of 20 answers are kept, and the same call asks for the others alone" in capsys.readouterr().err
    with judge_server(seeing) as server:
        assert main(words(questions, photographs, server)) == 0
        assert len(answers_asked(server)) == 12


def test_an_empty_answer_that_the_model_ended_counts_and_is_told(
    questions: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(body: dict[str, Any], number: int) -> Answered:
        return sent(body, "" if "tree" in parts_of(body)[1] else "Yes")

    with judge_server(silent) as server:
        assert main(words(questions, photographs, server)) == 0
    assert "20 answers; 5 of them are empty, the first to the question '2'" in capsys.readouterr().out
    assert [row["response"] for row in rows_of(questions)][:4] == ["Yes", "Yes", "", "Yes"]


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ([MODEL], None),
        ([], "lists no model; add --server-model NAME"),
        ([MODEL, "other"], rf"lists 2 models \({MODEL}, other\); add --server-model NAME"),
        (None, r"does not list its models \(.*404.*\); add --server-model NAME"),
    ],
)
def test_the_only_model_of_a_server_needs_no_name(
    listed: list[str] | None,
    sentence: str | None,
    questions: Path,
    photographs: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with judge_server(seeing) as server:
        server.models = listed
        arguments = words(questions, photographs, server)
        place = arguments.index("--server-model")
        code = main([*arguments[:place], *arguments[place + 2 :]])
    assert code == (0 if sentence is None else 2)
    assert sentence is None or re.search(sentence, capsys.readouterr().err)
    assert sentence is not None or {body["model"] for body in server.asked} == {MODEL}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--server", "localhost:8000"], "--server: 'localhost:8000' is no address of a server"),
        (["--server", "http://localhost:port/v1"], "--server: 'http://localhost:port/v1' is no address of a server"),
        (["--server", "http:///v1"], "--server: 'http:///v1' is no address of a server"),
        (["--server-key-env", "MDPO_NO_KEY"], "--server-key-env: the environment variable MDPO_NO_KEY is not set"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(
    more: list[str], sentence: str, questions: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with judge_server(seeing) as server:
        assert main(words(questions, photographs, server, *more)) == 2
        assert not server.asked
    assert sentence in capsys.readouterr().err


def test_options_of_a_server_need_one(
    questions: Path, photographs: Path, llava: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words(questions, photographs, "http://127.0.0.1:9/v1")
    local = ["--model", str(llava), *arguments[arguments.index("--server-model") :]]
    assert main(["answer", "pope", *local]) == 2
    assert "--server-model goes with --server URL, not with --model" in capsys.readouterr().err


def test_nobody_at_the_address_is_a_sentence(
    questions: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with judge_server() as server:
        arguments = words(questions, photographs, server, "--server-retries", "1")
    assert main(arguments) == 2
    assert "was asked 2 times and could not be reached" in capsys.readouterr().err


def test_missing_pictures_are_named_before_anything_is_sent(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    with judge_server(seeing) as server:
        assert main(words(questions, tmp_path / "none", server)) == 2
        assert not server.asked
    assert "4 of 4 pictures are missing" in capsys.readouterr().err


@given(st.lists(st.text(alphabet="ab <image>\\", max_size=12), min_size=1, max_size=4))
def test_a_message_has_the_pictures_in_their_places_and_the_whole_text(texts: list[str]) -> None:
    plain = [text.replace("\\", "").strip("\n") for text in texts]
    pictures = tuple(PIL.Image.new("RGB", (2, 1 + number)) for number in range(len(plain) - 1))
    prompt = "<image>".join(map(escape_marks, plain))
    content = content_of(Example("1", prompt, {}, pictures))
    if not pictures:
        assert content == plain[0]
        return
    assert isinstance(content, list)
    assert text_in(content) == "\n".join(filter(None, plain))
    heights = [size[1] for size in (picture.size for picture in parts_of({"messages": [{"content": content}]})[0])]
    assert heights == [1 + number for number in range(len(pictures))]


def test_a_client_is_not_imported_without_a_server() -> None:
    code = "import mdpo_core.cli.main, sys; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
