"""What a term sees of a batch: log-probs of every view, under the policy and the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from mdpo_core.types.declared import OnlyDeclared, Undeclared
from mdpo_core.types.transfer import to_device
from mdpo_core.types.view import CLEAN, View

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.types.batch import Batch

Value = TypeVar("Value")


class TokenLogProbs(NamedTuple):
    """Log-probs of a view's response tokens, end token included.

    ``values``: ``(batch, time)``, nats, 0 where ``mask`` is false. ``mask``: ``(batch, time)`` bool, true on response
    tokens. It is a named tuple because engines search a module's output for tensors.
    """

    values: Tensor
    mask: Tensor


class ResponseTokens(NamedTuple):
    """The tokens of a view's response, both ``(batch, time)`` int64, on the CPU.

    ``ids``: token ids. ``turns``: the number of each token's turn, from 1; 0 for padding and for tokens not scored.
    """

    ids: Tensor
    turns: Tensor


class ByView(Mapping[View, Value], Generic[Value]):
    """A mapping over views that is also indexed by their text: ``policy["chosen@crop"]``.

    ``absent``: the reason why this mapping is empty. The error shows it when someone reads a view. Reading a view that
    is missing raises `Undeclared`.
    """

    def __init__(self, values: Mapping[View, Value] | Mapping[str, Value] | None = None, absent: str = "") -> None:
        self._values = {View.parse(view): value for view, value in (values or {}).items()}
        self._absent = absent

    def __getitem__(self, view: View | str) -> Value:
        try:
            return self._values[View.parse(view)]
        except KeyError:
            known = ", ".join(map(str, self._values)) or "none"
            reason = self._absent or f"was not declared in views(); declared: {known}"
            raise Undeclared(f"view '{view}' {reason}") from None

    def __iter__(self) -> Iterator[View]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def only(self, views: Iterable[View], absent: str = "") -> ByView[Value]:
        """The values of those ``views`` that are here; none of them if ``absent`` gives a reason."""
        return ByView({} if absent else {view: self._values[view] for view in views if view in self._values}, absent)


class ScorerOutput(NamedTuple):
    """What a scorer returns for a batch: token log-probs by view, statistics and outputs of probes by name and view.

    ``reference`` is empty if no term needs it. A statistic is ``(batch, time)``, the output of a probe ``(batch, time,
    outputs)``; both are 0 where the view's mask is false. ``router_aux_loss``: a number, of all views together.
    """

    policy: dict[View, TokenLogProbs]
    reference: dict[View, TokenLogProbs]
    statistics: Mapping[str, Mapping[View, Tensor]] = MappingProxyType({})
    probes: Mapping[str, Mapping[View, Tensor]] = MappingProxyType({})
    router_aux_loss: Tensor | None = None


class Declarations(Protocol):
    """What a term declares that it reads; see `Term`."""

    @property
    def needs_reference(self) -> bool:
        """True if it reads the reference's log-probs."""

    @property
    def needs_tokens(self) -> bool:
        """True if it reads the log-prob of each token."""

    def views(self) -> Sequence[View]: ...

    def columns(self) -> Sequence[str]: ...

    def statistics(self) -> Mapping[str, object]: ...

    def probes(self) -> Mapping[str, object]: ...


@dataclass(frozen=True)
class Scores:
    """Log-probs of a batch of pairs, by view.

    For every term: ``policy[view]`` and ``reference[view]``, sums over response tokens, ``(batch,)``, nats;
    ``num_tokens[view]``, ``(batch,)``; ``columns[name]``, ``(batch,)``; ``ids``, the names of the rows in messages;
    ``corruptible``, ``(batch,)`` bool, false for rows that conditions cannot change (usually: without an image). A term
    over a corrupted view does not count those rows.

    For terms with ``needs_tokens``: ``policy_tokens``, ``reference_tokens`` and ``responses``, by view.

    For terms that declare them: ``statistics[name][view]``, ``(batch, time)``; ``probes[name][view]``, ``(batch, time,
    outputs)``; ``running[name]``, a number.
    """

    policy: ByView[Tensor]
    reference: ByView[Tensor]
    num_tokens: ByView[Tensor]
    corruptible: Tensor
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    policy_tokens: ByView[TokenLogProbs] = field(default_factory=ByView)
    reference_tokens: ByView[TokenLogProbs] = field(default_factory=ByView)
    statistics: Mapping[str, ByView[Tensor]] = field(default_factory=dict)
    running: Mapping[str, float] = field(default_factory=dict)
    responses: ByView[ResponseTokens] = field(default_factory=ByView)
    probes: Mapping[str, ByView[Tensor]] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    @classmethod
    def from_sums(
        cls,
        policy: Mapping[str, Tensor] | Mapping[View, Tensor],
        reference: Mapping[str, Tensor] | Mapping[View, Tensor] | None = None,
        num_tokens: Mapping[str, Tensor] | Mapping[View, Tensor] | None = None,
        columns: Mapping[str, Tensor] | None = None,
    ) -> Scores:
        """Scores from sums of log-probs, each ``(batch,)``, nats. Raises `ValueError` if shapes differ."""
        import torch

        sums = ByView(policy)
        shapes = {tuple(value.shape) for value in sums.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f"sums of log-probs are (batch,), one shape for all views; found {sorted(shapes)}")
        corruptible = torch.ones(next(iter(shapes)), dtype=torch.bool, device=next(iter(sums.values())).device)
        return cls(sums, ByView(reference), ByView(num_tokens), corruptible, dict(columns or {}))

    @classmethod
    def of_columns(cls, name: str, columns: Mapping[str, float]) -> Scores:
        """Scores that contain only the columns of one row; ``name`` is its id."""
        import torch

        values = {column: torch.tensor([value]) for column, value in columns.items()}
        row = torch.ones(1, dtype=torch.bool)
        return cls(ByView(), ByView(), ByView(), row, OnlyDeclared(values, "column"), ids=(name,))

    @classmethod
    def of_batch(cls, scored: ScorerOutput, batch: Batch, tokens: bool = True) -> Scores:
        """The scores of a batch; ``tokens``: with the token ids and turns of its responses."""
        responses = {view: response_tokens(batch, view) for view in scored.policy} if tokens else {}
        return cls.from_tokens(scored, batch.corruptible, batch.columns, responses, batch.ids)

    @classmethod
    def from_tokens(
        cls,
        scored: ScorerOutput,
        corruptible: Tensor,
        columns: Mapping[str, Tensor],
        responses: Mapping[View, ResponseTokens] | None = None,
        ids: tuple[str, ...] = (),
    ) -> Scores:
        """Scores from token log-probs. Moves ``corruptible`` and ``columns`` to the device of the log-probs.

        Without ``responses``, every token has id 0 and turn 1.
        """
        policy, reference, statistics, probes, _ = scored
        device = next(iter(policy.values())).values.device
        return cls(
            policy=ByView({view: tokens.values.sum(dim=1) for view, tokens in policy.items()}),
            reference=ByView({view: tokens.values.sum(dim=1) for view, tokens in reference.items()}),
            num_tokens=ByView({view: tokens.mask.sum(dim=1) for view, tokens in policy.items()}),
            corruptible=to_device(corruptible, device),
            columns={name: to_device(values, device) for name, values in columns.items()},
            policy_tokens=ByView(policy),
            reference_tokens=ByView(reference),
            statistics={name: ByView(values) for name, values in statistics.items()},
            probes={name: ByView(values) for name, values in probes.items()},
            responses=ByView(
                {view: _one_turn(tokens.mask) for view, tokens in policy.items()} if responses is None else responses
            ),
            ids=ids,
        )

    def counted(self, views: Iterable[View]) -> Tensor:
        """Which rows count in a term over ``views``, ``(batch,)`` bool.

        If a view is corrupted, these are the `corruptible` ones; otherwise, all.
        """
        clean = all(view.condition == CLEAN for view in views)
        return self.corruptible | clean

    def log_ratio(self, view: View | str) -> Tensor:
        """The policy's log-prob of a view's response minus the reference's, ``(batch,)``, nats."""
        return self.policy[view] - self.reference[view]

    def margin(self, preferred: View | str, dispreferred: View | str) -> Tensor:
        """The log-ratio of the preferred view minus that of the other one, ``(batch,)``, nats."""
        return self.log_ratio(preferred) - self.log_ratio(dispreferred)

    def seen_by(self, term: Declarations, means: Mapping[str, float], probes: Mapping[str, ByView[Tensor]]) -> Scores:
        """The part of these scores that ``term`` has declared. Reading anything else raises `Undeclared`.

        ``means``: the running and step means that the term reads. ``probes``: the outputs of its probes. Both use the
        term's names.
        """
        views = term.views()
        no_reference = "" if term.needs_reference else "has no reference here: the term says needs_reference = False"
        no_tokens = "" if term.needs_tokens else "has no tokens here: the term does not say needs_tokens = True"
        return replace(
            self,
            policy=self.policy.only(views),
            reference=self.reference.only(views, no_reference),
            num_tokens=self.num_tokens.only(views),
            columns=OnlyDeclared({name: self.columns[name] for name in term.columns()}, "column"),
            policy_tokens=self.policy_tokens.only(views, no_tokens),
            reference_tokens=self.reference_tokens.only(views, no_tokens or no_reference),
            statistics=OnlyDeclared(
                {name: self.statistics[name].only(views) for name in term.statistics()}, "statistic"
            ),
            running=OnlyDeclared(means, "mean"),
            responses=self.responses.only(views, no_tokens),
            probes=OnlyDeclared({name: probes[name].only(views) for name in term.probes()}, "probe"),
        )


def versions_of(scores: Scores) -> dict[str, list[int]]:
    """How often each tensor in ``scores`` has been written to, by the name of the field; torch counts it."""
    return {
        each.name: [tensor._version for tensor in _tensors_in(getattr(scores, each.name))] for each in fields(scores)
    }


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors_in(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from _tensors_in(each)
    elif hasattr(value, "_version"):
        yield value


def _one_turn(mask: Tensor) -> ResponseTokens:
    turns = mask.long()
    return ResponseTokens(turns.new_zeros(turns.shape), turns)


def response_tokens(batch: Batch, view: View) -> ResponseTokens:
    """The response tokens of a view, one row for each row of the batch, right-padded with 0."""
    from torch.nn.utils.rnn import pad_sequence

    items = batch.items[view]
    ids, turns = [item.response for item in items], [item.turns for item in items]
    return ResponseTokens(pad_sequence(ids, batch_first=True), pad_sequence(turns, batch_first=True))
