"""The part of a report on the probe, and curves of many numbers."""

from __future__ import annotations

from mdpo_core.reporting.health import Known
from mdpo_core.reporting.page.charts import charts_of
from mdpo_core.reporting.page.probed import probe_html

KNOWN = Known(num_probed=24)


def probed(step: int, **numbers: float) -> dict[str, float]:
    return {"step": step, **{f"eval/probe/{name.replace('__', '/')}": value for name, value in numbers.items()}}


def lines(without: float) -> list[dict[str, float]]:
    after = probed(9, accuracy=0.9, accuracy__without=without, chosen=2.0, chosen__without=-9.0, logps_per_token=-0.4)
    return [probed(0, accuracy=0.0, accuracy__without=0.0, chosen=0.0, logps_per_token=-0.5), after]


def test_the_table_has_a_row_for_each_condition_and_the_words_of_the_alarm() -> None:
    alarmed = probe_html(lines(without=0.9), KNOWN)
    assert "<tr><th>with the picture</th><td>0.900</td><td>2.000</td><td>-0.500</td><td>-0.400</td></tr>" in alarmed
    assert "<th>without the picture</th><td>0.900</td><td>-9.000</td><td></td><td></td>" in alarmed
    assert "class=alarm" in alarmed
    assert "preferred without the picture as well (90% of the probed pairs" in alarmed
    quiet = probe_html(lines(without=0.4), KNOWN)
    assert "class=alarm" not in quiet
    assert "raises no alarm" in quiet
    assert "too few rows to judge by: the probe needs 8 or more" in probe_html(lines(without=0.9), Known(num_probed=3))
    assert "24 rows, probed 2 times, at last after step 9" in quiet


def test_no_probe_after_the_start_is_no_part_of_the_page() -> None:
    assert probe_html([{"step": 3, "loss": 1.0}], KNOWN) == ""
    assert probe_html(lines(0.4)[:1], KNOWN) == ""


def test_every_curve_is_drawn_however_many_there_are() -> None:
    names = [f"rewards/accuracy/term{number}" for number in range(60)]
    charts = charts_of([{"step": step, **dict.fromkeys(names, 0.5)} for step in (1, 2)])
    assert sorted(line.name for chart in charts for line in chart.lines) == sorted(name[17:] for name in names)
    assert max(len(chart.lines) for chart in charts) <= 24
    assert len({chart.title for chart in charts}) == len(charts) == 3


def test_rewards_of_a_probe_have_another_chart_than_its_shares() -> None:
    records = [probed(step, accuracy=0.9, chosen=0.5, logps_per_token=-0.4) for step in (0, 5)]
    assert len(charts_of(records)) == 3
