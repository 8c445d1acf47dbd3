"""Samples as trackers show them."""

from __future__ import annotations

from mdpo_trackers.samples import texts_of

from mdpo_core import Begun, Example, Sample


def test_beginning_stands_before_the_answer_that_goes_on_from_it() -> None:
    row = Example("1", "What?", {"chosen": "Red."}, begun=Begun("A boat."))
    assert list(texts_of(Sample(row, "Blue.")).items()) == [
        ("id", "1"),
        ("prompt", "What?"),
        ("beginning", "A boat. "),
        ("answer", "Blue."),
        ("chosen", "Red."),
    ]
