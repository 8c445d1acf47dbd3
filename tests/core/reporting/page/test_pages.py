"""The report of a run and the page of several: one file, everything escaped, nothing loaded, nothing run but ours."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs
from support.stored_runs import stored_run, with_seeds

import mdpo
from mdpo_core.cli import main
from mdpo_core.reporting.page.charts import charts_of
from mdpo_core.reporting.page.samples import samples_html

EVIL = "<script>alert('x')</script><img src=http://host/x.png> & \"quoted\""


class Page(HTMLParser):
    """A page: its texts, its scripts, and whether each element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.policy = ""
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert not {"src", "href", "onclick", "onerror"} & given.keys()
        self.tags.append(tag)
        self.policy = given.get("content") or "" if given.get("http-equiv") else self.policy
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self._open[-1:] == ["script"] else self.texts).append(data)


def samples_of(run: Path, *answers: str) -> None:
    lines = [
        {"step": step, "id": EVIL, "prompt": EVIL, "answer": answer, "chosen": "the picture shows a nine", "words": []}
        for step, answer in enumerate(answers)
    ]
    (run / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_report_of_a_run_holds_its_parts_and_escapes_what_the_model_wrote(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", steps=30)
    samples_of(run, EVIL, "the picture shows a two")
    text = mdpo.compare([run]).html()
    page = Page(text)
    titles = ("Is it healthy?", "Before and after", "Curves", "Answers", "What was run")
    assert set(titles) <= set(page.texts)
    assert "digits/wrong_digits" in page.texts
    assert "".join(page.texts).count("alert('x')") > 0
    assert "img" not in page.tags
    assert "<mark>two</mark>" in text
    assert len(text) - len(get_plotlyjs()) < 60_000


@pytest.mark.parametrize(("metric", "before"), [("rewards/accuracy/text", "not yet"), ("wrong_digits", "0.000")])
def test_an_accuracy_before_the_first_step_is_no_number_in_a_report(metric: str, before: str, tmp_path: Path) -> None:
    text = mdpo.compare([stored_run(tmp_path / "run", after={f"eval/preference/{metric}": 0.5})]).html()
    assert f"<th>preference/{metric}</th><td>{before}</td><td>0.500</td>" in text
    assert ("no answer is preferred" in text) == (before == "not yet")


def test_answers_of_a_report_stand_behind_their_beginning() -> None:
    line = {"id": "1", "prompt": "What?", "answer": "A boat.", "words": []}
    begun, whole = {**line, "step": 1, "beginning": EVIL}, {**line, "step": 1}
    texts = "".join(Page(samples_html([begun])).texts)
    assert texts.index("each goes on from:") < texts.index(EVIL) < texts.index("A boat.")
    assert "goes on from" not in samples_html([whole])


def test_one_script_may_run_and_the_curves_end_no_element(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", after={f"eval/{EVIL}/x": 0.5})
    page = Page(mdpo.compare([run]).html())
    data, script = page.scripts
    assert get_plotlyjs() in script
    assert f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in page.policy
    assert page.policy.startswith("default-src 'none'")
    assert any("<img src=" in line["name"] for chart in json.loads(data) for line in chart["lines"])
    assert "<" not in data


def test_the_page_of_several_runs_has_a_curve_for_each_and_their_mean(tmp_path: Path) -> None:
    runs = [*with_seeds(tmp_path / "low", [0.1, 0.2]), *with_seeds(tmp_path / EVIL[:8], [0.5], "train.epochs=2")]
    page = Page(mdpo.compare(runs).html())
    charts = json.loads(page.scripts[0])
    kinds = [[line["kind"] for line in chart["lines"]] for chart in charts]
    assert ["pale", "pale", "measured", "measured"] in kinds
    assert {"Runs", "Options that differ", "Numbers"} <= set(page.texts)
    assert any("0.150" in text for text in page.texts)


def test_many_steps_make_no_large_page(tmp_path: Path) -> None:
    records = [
        {"step": step, "loss": 1 / (step + 1), "loss/text": float("nan") if step % 7 else 0.5} for step in range(20_000)
    ]
    [chart] = charts_of(records)
    assert all(len(line.steps) <= 300 for line in chart.lines)
    assert chart.lines[0].steps[-1] == 19_999
    assert set(chart.lines[1].values) == {0.5}


def test_the_command_writes_each_form_and_prints_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(stored_run(tmp_path / "a")), str(stored_run(tmp_path / "b", "train.epochs=2", finished=False))]
    files = [tmp_path / name for name in ("x.html", "x.md", "x.csv")]
    assert main(["compare", *runs, *(word for file in files for word in ("--out", str(file)))]) == 0
    assert all(file.stat().st_size > 100 for file in files)
    capsys.readouterr()
    assert main(["compare", *runs]) == 0
    assert capsys.readouterr().out == files[1].read_text()
    assert main(["compare", *runs, str(tmp_path / "none")]) == 2
    assert re.search("'.*none' is no directory; name the directory that mdpo-run wrote", capsys.readouterr().err)
