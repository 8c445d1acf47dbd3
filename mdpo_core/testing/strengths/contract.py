"""The contract of strengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.data.term_checks import check_strength as judge_row
from mdpo_core.errors import shown
from mdpo_core.interfaces.strengths.strength import Pairs, Strength
from mdpo_core.recipe.checks.declarations import problems_of_strength
from mdpo_core.testing.score_cases import equal, nearly_equal
from mdpo_core.testing.sentences import (
    PROPERTY,
    Broken,
    calling,
    check_options,
    global_randomness,
    name_of,
    raised,
    require,
)
from mdpo_core.testing.strategies import Columns
from mdpo_core.types.declared import OnlyDeclared, Undeclared

if TYPE_CHECKING:
    from torch import Tensor

# Nats by which the log-ratios of long answers can differ.
_FAR = (-4000.0, -400.0, 0.0, 400.0, 4000.0)


def check_strength(strength: Strength, *, columns: Columns | None = None) -> None:
    """Check a strength; raises `AssertionError` with what it breaks.

    ``columns``: the values that its data columns may have; 0 to 1 by default.

    Its numbers are finite, above 0 and without a gradient, one for each pair, and equal when computed again. It reads
    only what it declares. A pair's number depends on other pairs through its means alone, so micro-batches and
    processes do not change it.
    """
    check_options(strength, Strength)
    with calling(strength, "when it declares what it reads"):
        wrong = list(problems_of_strength(strength))
        decays = {name: mean.decay for name, mean in strength.means().items() if mean.decay is not None}
    require(not wrong, "; ".join(wrong))
    for name, decay in decays.items():
        require(0 <= decay < 1, f"{name_of(strength)} keeps {decay} of its mean '{name}'; it must be 0 to below 1")
    known = {name: st.floats(0, 1) for name in strength.columns()} | dict(columns or {})
    _check_numbers(strength, known)
    _check_rows(strength, known)
    _check_far(strength, known)


def _check_numbers(strength: Strength, columns: Columns) -> None:
    @PROPERTY
    @given(_pairs(strength, columns))
    def one_number_a_pair(drawn: Pairs) -> None:
        for row in range(len(_any_of(drawn))):
            values = {name: float(column[row]) for name, column in drawn.columns.items()}
            with calling(strength, f"in check_columns() at {values}"):
                judge_row(strength, "1", values)
        before, generators = [tensor.clone() for tensor in _tensors(drawn)], global_randomness()
        numbers = _numbers(strength, drawn)
        _require_strengths(strength, numbers, drawn)
        require(
            equal(numbers, _numbers(strength, drawn)), f"{name_of(strength)} gives different numbers for the same pairs"
        )
        require(global_randomness() == generators, f"{name_of(strength)} uses global random generators")
        unchanged = all(equal(old, new) for old, new in zip(before, _tensors(drawn), strict=True))
        require(unchanged, f"{name_of(strength)} changes what it reads in place")

    one_number_a_pair()


def _check_rows(strength: Strength, columns: Columns) -> None:
    @PROPERTY
    @given(_pairs(strength, columns))
    def each_row_by_itself(drawn: Pairs) -> None:
        together: dict[str, Callable[[Pairs], Tensor]] = {
            "numbers": strength,
            **{name: mean.measure for name, mean in strength.means().items()},
        }
        for what, function in together.items():
            values = _call(strength, function, drawn, what)
            for row in range(len(values)):
                alone = _call(strength, function, _row(drawn, row), what)
                require(
                    nearly_equal(alone, values[row : row + 1]),
                    f"the {what} of {name_of(strength)} depend on the other pairs of a micro-batch: "
                    f"{alone.tolist()} alone, {float(values[row])} among others, at {_case(drawn)}; "
                    "declare what it reads of them in means()",
                )

    each_row_by_itself()


def _check_far(strength: Strength, columns: Columns) -> None:
    import torch

    @PROPERTY
    @given(st.fixed_dictionaries(dict(columns)), st.booleans())
    def finite_far_out(values: dict[str, float], first: bool) -> None:
        margins = torch.tensor(_FAR)
        given = {name: torch.full((len(_FAR),), value) for name, value in values.items()}
        drawn = _declared(strength, given, margins)
        _require_strengths(strength, _numbers(strength, _with_means(strength, drawn, 0.0 if first else 1.0)), drawn)

    finite_far_out()


def _require_strengths(strength: Strength, numbers: Tensor, drawn: Pairs) -> None:
    require(not numbers.requires_grad, f"{name_of(strength)} gives numbers with a gradient; detach them")
    require(
        bool(numbers.isfinite().all()) and bool((numbers > 0).all()),
        f"{name_of(strength)} gives {numbers.tolist()} at {_case(drawn)}; each must be finite and above 0",
    )


def _numbers(strength: Strength, drawn: Pairs) -> Tensor:
    return _call(strength, strength, drawn, "numbers")


def _call(strength: Strength, function: Callable[[Pairs], Tensor], drawn: Pairs, what: str) -> Tensor:
    import torch

    try:
        values: object = function(drawn)
    except Undeclared as error:
        raise Broken(f"{name_of(strength)} reads something that it does not declare: {error.args[0]}") from error
    except Exception as error:
        raise raised(strength, error, f"at {_case(drawn)}") from error
    shape = _any_of(drawn).shape
    if isinstance(values, torch.Tensor) and values.shape == shape and values.is_floating_point():
        return values
    raise Broken(f"{name_of(strength)} must give {what} of the shape {tuple(shape)}; it gives {shown(values)}")


def _pairs(strength: Strength, columns: Columns) -> st.SearchStrategy[Pairs]:
    """One to four pairs in float64, with means as after some steps, or as in the first one."""
    import torch

    rows = st.fixed_dictionaries({**columns, "": st.floats(-400, 400)})

    def made(drawn: list[Mapping[str, float]], spread: float) -> Pairs:
        values = {name: torch.tensor([row[name] for row in drawn], dtype=torch.float64) for name in (*columns, "")}
        margins = values.pop("")
        return _with_means(strength, _declared(strength, values, margins), spread)

    return st.builds(made, st.lists(rows, min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 1.0]))


def _declared(strength: Strength, columns: Mapping[str, Tensor], margins: Tensor) -> Pairs:
    seen = {name: columns[name] for name in strength.columns()}
    if not strength.reads_margins and not seen:
        return Pairs(OnlyDeclared(seen, "column"), ids=("1",) * len(margins))
    return Pairs(OnlyDeclared(seen, "column"), measured_margins=margins if strength.reads_margins else None)


def _with_means(strength: Strength, drawn: Pairs, spread: float) -> Pairs:
    """The pairs with means of them, the decaying ones times ``spread``; 0: as in the first step."""
    means = {
        name: float(_call(strength, mean.measure, drawn, f"values of '{name}'").mean())
        * (1 if mean.decay is None else spread)
        for name, mean in strength.means().items()
    }
    return replace(drawn, means=OnlyDeclared(means, "batch mean"))


def _row(drawn: Pairs, row: int) -> Pairs:
    columns = OnlyDeclared({name: values[row : row + 1] for name, values in drawn.columns.items()}, "column")
    margins = drawn.measured_margins
    return replace(drawn, columns=columns, measured_margins=None if margins is None else margins[row : row + 1])


def _tensors(drawn: Pairs) -> list[Tensor]:
    margins = drawn.measured_margins
    return [*drawn.columns.values(), *(() if margins is None else (margins,))]


def _any_of(drawn: Pairs) -> Tensor:
    """A tensor of the pairs' shape."""
    import torch

    return next(iter(_tensors(drawn)), torch.ones(len(drawn.ids)))


def _case(drawn: Pairs) -> str:
    parts = [f"{name} {values.tolist()}" for name, values in drawn.columns.items()]
    margins = [] if drawn.measured_margins is None else [f"margins {drawn.measured_margins.tolist()}"]
    return ", ".join([*parts, *margins, *(f"mean '{name}' {value}" for name, value in drawn.means.items())])
