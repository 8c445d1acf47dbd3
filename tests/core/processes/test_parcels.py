"""What travels between processes arrives as it was, in few blocks."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mdpo_core import Batch, Example, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.processes.parcels import pack, unpack

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = torch.randint(0, 9, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 9))))
    made = values.to(draw(st.sampled_from(DTYPES)))
    return made.transpose(0, -1) if made.dim() and draw(st.booleans()) else made


values = st.recursive(
    st.one_of(tensors(), st.integers(), st.text(max_size=3), st.binary(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=20,
)


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert (one.dtype, one.shape, one.requires_grad) == (other.dtype, other.shape, other.requires_grad)
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert_equal(list(one.items()), list(other.items()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_equal(first, second)
    elif hasattr(one, "__dict__"):
        assert_equal(vars(one), vars(other))
    else:
        assert one == other


def sent(value: Any) -> Any:
    """Packed, copied byte by byte, unpacked."""
    return unpack(pickle.loads(pickle.dumps(pack(value))))


@given(values)
def test_a_value_arrives_as_it_was(value: Any) -> None:
    before = copy.deepcopy(value)
    assert_equal(sent(value), value)
    assert_equal(value, before)


@given(st.lists(tensors(), max_size=9))
def test_all_tensors_of_a_type_are_one_block(found: list[Tensor]) -> None:
    assert pack(found).blocks.keys() == {tensor.dtype for tensor in found}


def test_tensor_met_twice_stays_one_and_travels_once() -> None:
    tensor = torch.arange(5)
    parcel = pack([tensor, {"again": tensor}, tensor + 1])
    assert parcel.blocks[torch.int64].tolist() == [0, 1, 2, 3, 4, 1, 2, 3, 4, 5]


def test_what_is_more_than_numbers_travels_as_torch_pickles_it() -> None:
    parameter = nn.Parameter(torch.ones(2))
    sparse = torch.eye(3).to_sparse()
    weight, gradient_wanted, again = sent([parameter, torch.ones(2, requires_grad=True), sparse])
    assert isinstance(weight, nn.Parameter)
    assert gradient_wanted.requires_grad
    assert torch.equal(again.to_dense(), torch.eye(3))


def test_a_batch_arrives_as_it_was() -> None:
    rows: list[Example] = component("reader", "digits", num_pairs=3).open()[:]  # type: ignore[attr-defined]
    encoder = component("adapter", "digits").encoder()  # type: ignore[attr-defined]
    terms: Any = [component("loss", "dpo"), component("loss", "dpo", over="chosen@crop")]
    crop: Any = component("corruption", "random_crop")
    batch = BatchBuilder.for_terms(terms, {"crop": crop}, encoder, 2048, 0).build(rows, range(3), 0)
    parcel = pack(batch)
    assert isinstance(batch, Batch)
    assert len(parcel.blocks) <= 3
    assert_equal(unpack(parcel), batch)
