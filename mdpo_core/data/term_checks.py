"""The check of a row's columns: each term and its strengths judge the values that they read, before training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mdpo_core.errors import DataError, PluginError, Problem, shown
from mdpo_core.interfaces.plugin_results import call_plugin, require_tensor
from mdpo_core.interfaces.strengths.by_row import limits_of, within_limits
from mdpo_core.interfaces.strengths.strength import ColumnStrength, Pairs, Strength
from mdpo_core.interfaces.term import Term
from mdpo_core.types.example import Flag
from mdpo_core.types.scores import Scores


def check_row(term: Term, row: str, columns: Mapping[str, float]) -> None:
    """Let a term and its strengths judge the columns of the row with the id ``row``."""
    _require_no_flag("the term", _number_columns(term), row, columns)
    check_columns(term, Scores.of_columns(row, {name: columns[name] for name in term.columns()}))
    for option, strength in term.strengths().items():
        _require_no_flag(f"'{option}'", strength.columns(), row, columns)
        check_strength(strength, row, columns)
        if strength.reads_only_columns:
            _check_limits(term, option, strength, row, columns)


def _require_no_flag(reader: str, names: Iterable[str], row: str, columns: Mapping[str, float]) -> None:
    """Raise `DataError` if a row has true or false in a column where ``reader`` takes a number."""
    for name in names:
        value = columns[name]
        if isinstance(value, Flag | bool):
            found = "true" if value else "false"
            message = (
                f"{reader} reads numbers from the column '{name}', found {found}; write {value:g} if that is meant"
            )
            raise DataError([Problem(f"example '{row}'", "", message)])


def _number_columns(term: Term) -> tuple[str, ...]:
    source = f"number_columns() of {type(term).__name__}"
    names = call_plugin(source, term.number_columns)
    unknown = sorted(set(names).difference(term.columns()))
    if unknown:
        raise PluginError(f"{source} names '{unknown[0]}', which is none of its columns()")
    return names


def check_columns(term: Term, scores: Scores) -> None:
    """Call a term's `check_columns` with scores that contain only columns. It must return None."""
    _judge(f"check_columns() of {type(term).__name__}", lambda: term.check_columns(scores))


def check_strength(strength: Strength, row: str, columns: Mapping[str, float]) -> None:
    """Call a strength's `check_columns` with the columns that it reads. It must return None."""
    pairs = Pairs.of_columns(row, {name: columns[name] for name in strength.columns()})
    _judge(f"check_columns() of {type(strength).__name__}", lambda: strength.check_columns(pairs))


def _judge(source: str, check: Callable[[], object]) -> None:
    answer = call_plugin(source, check)
    if answer is not None:
        raise PluginError(f"{source} must raise DataError or return nothing; it returned {shown(answer)}")


def _check_limits(term: Term, option: str, strength: Strength, row: str, columns: Mapping[str, float]) -> None:
    """Raise `DataError` if the option of a term cannot have the number of a row."""
    read = {name: columns[name] for name in strength.columns()}
    source = f"the strength {type(strength).__name__}"
    values = call_plugin(source, lambda: strength(Pairs.of_columns(row, read)))
    number = require_tensor(source, values, "one number a pair", (1,))
    if not bool(within_limits(term, option, number).all()):
        given = ", ".join(f"{name} = {value:.9g}" for name, value in read.items())
        made = "" if isinstance(strength, ColumnStrength) else f", which gives {float(number):.9g}"
        raise DataError(
            [Problem(f"example '{row}'", "", f"'{option}' must be {limits_of(term, option)}, found {given}{made}")]
        )
