"""A judge behind a real server on loopback, which fails in each way that servers do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mdpo_benchmarks.judging.cache import ReplyCache
from mdpo_benchmarks.judging.judge import Judge
from support.builders.mmhal_files import TEMPLATE, mmhal_rows, written
from support.pretended.judge import MODEL, REPLY, Answered, JudgeServer, completion, judge_server

from mdpo_core import Benchmark, ChatReply, ChatRequest, ChatServer, Patience, ServerAddress, component
from mdpo_core.cli import main
from mdpo_core.testing import check_benchmark

LATER = {
    "too many requests": Answered('{"error": {"message": "slow down"}}', status=429),
    "too many requests, with a time": Answered("", status=429, retry_after="0.01"),
    "too many requests, with a date": Answered("", status=429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
    "a fault of the server": Answered("oops", status=500),
    "a bad gateway": Answered("<html>", status=502),
    "overloaded": Answered("{}", status=529),
    "no JSON": Answered("I think it is fine."),
    "half a reply": Answered('{"choices": [{"message": {"con'),
    "no object": Answered("[]"),
    "nothing": Answered(""),
    "no choices": Answered(json.dumps({"model": MODEL, "choices": []})),
    "choices of nothing": Answered(json.dumps({"model": MODEL, "choices": [None]})),
    "no message": Answered(json.dumps({"model": MODEL, "choices": [{}]})),
    "no text": completion(None),
    "an empty text": completion(" \n"),
    "no model": completion(model=None),
    "a closed connection": Answered("", dropped=True),
    "no reply in time": Answered("{}", seconds=0.4),
}


def words(folder: Path, server: JudgeServer, *more: str) -> list[str]:
    """The command that asks the server about 96 answers."""
    answers = folder / "answers.json"
    template = written(folder / "template.txt", TEMPLATE)
    if not answers.exists():
        written(answers, mmhal_rows())
    options = ["--judge", server.url, "--judge-model", MODEL, "--judge-template", template, "--custom-template"]
    waits = ["--judge-wait", "0.001", "--judge-timeout", "0.5" if "--judge-timeout" not in more else more[-1]]
    return ["score", "mmhal", "--answers", str(answers), *options, *waits, *more]


def result_of(folder: Path, arguments: list[str]) -> dict[str, Any]:
    assert main([*arguments, "--out", str(folder / "result.json")]) == 0
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_each_answer_is_sent_once_with_the_parameters_of_the_official_script(tmp_path: Path) -> None:
    with judge_server() as server:
        result = result_of(tmp_path, words(tmp_path, server))
    assert len(server.asked) == len(set(server.contents)) == 96
    assert set(server.paths) == {"/v1/chat/completions"}
    first = next(body for body in server.asked if "picture 0?" in body["messages"][0]["content"])
    row = mmhal_rows()[0]
    content = TEMPLATE.format("Tree, Object 0", row["question"], row["gt_answer"], row["model_answer"])
    assert first == {"model": MODEL, "messages": [{"role": "user", "content": content}], "temperature": 0.0}
    assert result["judge"] == {"asked": MODEL, "answered": [MODEL], "replies": 96}
    assert result["metrics"]["average_score"] == 4
    assert result["variant"] == f"judge={MODEL}, custom_template"
    assert result["data"].keys() == {"template.txt"}


def test_replies_are_paired_with_their_answers_whatever_their_order(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Answered:
        index = int(body["messages"][0]["content"].split("in picture ")[1].split("?")[0])
        return completion(f"Rating: {index % 7}")._replace(seconds=0.01 * (number % 3))

    rows = tmp_path / "rows.jsonl"
    with judge_server(answer) as server:
        result_of(tmp_path, words(tmp_path, server, "--judge-parallel", "8", "--by-row", str(rows)))
    assert [json.loads(line)["rating"] for line in rows.read_text().splitlines()] == [n % 7 for n in range(96)]
    assert 2 <= server.most <= 8


@pytest.mark.parametrize("fault", LATER, ids=str)
def test_a_fault_that_passes_is_waited_for_and_costs_no_other_reply(fault: str, tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Answered:
        return LATER[fault] if number in (3, 5) else completion()

    requests = [ChatRequest(MODEL, "user", f"message {number}") for number in range(8)]
    cache = tmp_path / "cache.jsonl"
    with judge_server(answer) as server:
        patience = Patience(timeout=0.2, retries=3, wait=0.001)
        judge = Judge(ChatServer(ServerAddress(server.url), patience), ReplyCache(cache), None, parallel=2)
        assert judge.ask(requests) == [ChatReply(REPLY, MODEL)] * 8
    assert sorted(Counter(server.contents).values()) in ([1] * 6 + [2, 2], [1] * 7 + [3])
    assert len(cache.read_text().splitlines()) == 8


def test_a_fault_that_stays_ends_in_a_sentence_and_the_next_run_asks_for_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(body: dict[str, Any], number: int) -> Answered:
        return completion() if number < 30 else LATER["too many requests"]

    with judge_server(answer) as server:
        assert main(words(tmp_path, server, "--judge-retries", "2", "--judge-parallel", "3")) == 2
        first = server.contents
    error = capsys.readouterr().err
    assert "was asked 3 times and replied with the HTTP status 429" in error
    assert "30 of 96 replies are kept in" in error
    with judge_server() as server:
        result_of(tmp_path, words(tmp_path, server))
        assert len(server.asked) == 66
        assert not set(server.contents) & set(first[:30])


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "OPENAI_API_KEY is not set; put the key there, or name another one with --judge-key-env NAME"),
        (404, "replied with the HTTP status 404: no such model"),
        (400, "replied with the HTTP status 400"),
    ],
)
def test_a_refusal_is_final(
    status: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with judge_server(lambda body, number: Answered("no such model", status=status)) as server:
        assert main(words(tmp_path, server, "--judge-parallel", "1")) == 2
        assert len(server.asked) == 1
    assert sentence in capsys.readouterr().err


def test_another_model_is_refused_and_its_replies_are_kept_until_it_is_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with judge_server(lambda body, number: completion(model="judge-2")) as server:
        assert main(words(tmp_path, server, "--judge-parallel", "1")) == 2
        assert len(server.asked) == 1
        error = capsys.readouterr().err
        assert f"the judge '{MODEL}' was asked for, but 'judge-2' answered" in error
        assert "--judge-accept judge-2" in error
        result = result_of(tmp_path, words(tmp_path, server, "--judge-accept", "judge-2"))
        assert len(server.asked) == 96
    assert result["judge"] == {"asked": MODEL, "answered": ["judge-2"], "replies": 96}
    assert "judge_accept=judge-2" in result["variant"]
    with judge_server() as server:  # now the right one: what the other said is not taken for its words
        result = result_of(tmp_path, words(tmp_path, server))
        assert len(server.asked) == 96
    assert result["judge"]["answered"] == [MODEL]


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    with judge_server() as server:
        first = result_of(tmp_path, words(tmp_path, server))
        assert result_of(tmp_path, words(tmp_path, server)) == first
        assert len(server.asked) == 96
    assert (tmp_path / "answers.json.judge.jsonl").exists()


def test_it_keeps_the_contract_of_benchmarks(tmp_path: Path) -> None:
    written(tmp_path / "rows.json", mmhal_rows())
    template = tmp_path / "template.txt"
    template.write_text(TEMPLATE)
    with judge_server() as server:
        options = {"judge": server.url, "judge_model": MODEL, "judge_template": template, "custom_template": True}
        mmhal = component(
            "benchmark", "mmhal", questions=tmp_path / "rows.json", judge_cache=tmp_path / "cache.jsonl", **options
        )
        assert isinstance(mmhal, Benchmark)
        check_benchmark(mmhal, lambda question: f"An answer to {question.id}.")
        assert mmhal.read_questions()[1].images == ("1_o.jpg",)
        assert len(server.asked) == 96


def test_the_key_comes_from_the_environment_and_is_never_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", " secret-key\n")
    with judge_server() as server:
        result_of(tmp_path, words(tmp_path, server, "--judge-key-env", "MY_KEY"))
    assert {headers["authorization"] for headers in server.headers} == {"Bearer secret-key"}
    shown = capsys.readouterr()
    kept = "".join(file.read_text() for file in tmp_path.iterdir())
    assert "secret-key" not in shown.out + shown.err + kept


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99], ids=str)
def test_a_line_that_was_cut_is_asked_for_again(keep: float, tmp_path: Path) -> None:
    with judge_server() as server:
        result_of(tmp_path, words(tmp_path, server))
    cache = tmp_path / "answers.json.judge.jsonl"
    lines = cache.read_text().splitlines(keepends=True)
    cache.write_text("".join(lines[:-1]) + lines[-1][: int(keep * len(lines[-1]))])
    for asked in (1, 0):
        with judge_server() as server:
            assert result_of(tmp_path, words(tmp_path, server))["judge"]["replies"] == 96
            assert len(server.asked) == asked


@pytest.mark.parametrize("content", ["hello\n", '{"id": 1}\n', "[]", "\xff\xfe"], ids=str)
def test_another_file_is_not_taken_for_that_of_the_replies(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(content, encoding="latin-1")
    with judge_server() as server:
        assert main(words(tmp_path, server, "--judge-cache", str(other))) == 2
        assert not server.asked
    assert "other.jsonl:1: is not a reply of a judge that mdpo kept" in capsys.readouterr().err
    assert other.read_text(encoding="latin-1") == content


def test_no_request_is_sent_if_its_reply_could_not_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with judge_server() as server:
        assert main(words(tmp_path, server, "--judge-cache", str(tmp_path / "no" / "cache.jsonl"))) == 2
        assert not server.asked
    assert "the judge's replies cannot be kept in" in capsys.readouterr().err


BAD_OPTIONS: dict[str, tuple[list[str], str]] = {
    "no address": (["--judge", "localhost:8000"], "is no address of a server"),
    "both": (["--judge-replies", "replies.json"], "needs either --judge URL or --judge-replies FILE"),
    "no key": (["--judge-key-env", "MDPO_NO_KEY"], "the environment variable MDPO_NO_KEY is not set"),
    "no threads": (["--judge-parallel", "0"], "--judge-parallel: Input should be greater than or equal to 1"),
    "no template": (["--judge-template", "none.txt"], "the file 'none.txt' does not exist"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS, ids=str)
def test_a_wrong_option_is_refused_before_anything_is_sent(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, sentence = BAD_OPTIONS[case]
    with judge_server() as server:
        assert main([*words(tmp_path, server), *more]) == 2
        assert not server.asked
    assert sentence in capsys.readouterr().err


def test_nobody_at_the_address_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with judge_server() as server:
        arguments = words(tmp_path, server, "--judge-retries", "1")
    assert main(arguments) == 2
    assert "was asked 2 times and could not be reached" in capsys.readouterr().err


def test_a_template_that_is_not_the_official_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with judge_server() as server:
        arguments = [word for word in words(tmp_path, server) if word != "--custom-template"]
        assert main(arguments) == 2
        assert not server.asked
    assert "template.txt is not the official template: its SHA-256 is" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{} {} {} {} {}", "{question}", "{", "{0.nothing}"])
def test_a_template_with_other_places_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with judge_server() as server:
        arguments = words(tmp_path, server)
        written(tmp_path / "template.txt", text)
        assert main(arguments) == 2
        assert not server.asked
    assert "template.txt: the template has other places than 4 times {}" in capsys.readouterr().err


def _killed_after(arguments: list[str], server: JudgeServer, num_requests: int) -> None:
    """Run the command, and kill it once the server has that many requests."""
    process = subprocess.Popen([sys.executable, "-m", "mdpo_core.cli", *arguments], stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while len(server.asked) < num_requests and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("num_requests", [5, pytest.param(50, marks=pytest.mark.long)])
def test_a_killed_run_goes_on_and_pays_nothing_twice(num_requests: int, tmp_path: Path) -> None:
    answer: Callable[[dict[str, Any], int], Answered] = lambda body, number: completion()._replace(seconds=0.03)  # noqa: E731
    with judge_server(answer) as server:
        arguments = words(tmp_path, server)
        _killed_after(arguments, server, num_requests)
        before = list(server.contents)
        kept = (tmp_path / "answers.json.judge.jsonl").read_bytes().count(b"\n")
        assert kept >= num_requests - 4  # those in flight are lost with the process that would read them
        result = result_of(tmp_path, arguments)
        assert len(server.asked) == len(before) + 96 - kept
    assert result["judge"]["replies"] == 96


def test_a_judge_is_not_imported_without_one() -> None:
    code = "import mdpo_core.registry.discovery as d, sys; d.Registry.discover([]); assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
