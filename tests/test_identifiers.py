import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.errors import CorruptIndexError, InputError
from fanns.identifiers import BISECT_LIMIT, Identifiers

ints = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=200)
texts = st.lists(st.text(max_size=8), unique=True, max_size=200)


@given(ints)
def test_integer_keys_are_found_and_ordered_by_value(keys: list[int]) -> None:
    made = Identifiers.build(np.array(keys, np.int64))
    assert made.lookup(np.array(keys, np.int64)).tolist() == list(range(len(keys)))
    assert np.argsort(made.ties).tolist() == sorted(range(len(keys)), key=keys.__getitem__)
    assert list(made.take(np.arange(len(keys)))) == keys


@given(texts)
def test_string_keys_are_found_and_ordered_by_bytes(keys: list[str]) -> None:
    made = Identifiers.build(pa.array(keys, pa.large_string()))
    assert made.lookup(keys).tolist() == list(range(len(keys)))
    by_bytes = sorted(range(len(keys)), key=lambda i: keys[i].encode())
    assert np.argsort(made.ties).tolist() == by_bytes
    assert made.take(np.arange(len(keys))) == keys
    loaded = Identifiers.load("string", made.arrays(), len(keys))
    assert loaded.take_arrow(np.arange(len(keys))).to_pylist() == keys


@pytest.mark.parametrize("count", [3, BISECT_LIMIT + 10])
def test_unknown_keys_have_no_row(count: int) -> None:
    names = [f"k{i}" for i in range(500)]
    made = Identifiers.build(pa.array(names, pa.large_string()))
    asked = [f"k{i * 7}" if i % 2 else f"x{i}" for i in range(count)]
    expected = [names.index(key) if key in names else -1 for key in asked]
    assert made.lookup(asked).tolist() == expected
    numbers = Identifiers.build(np.arange(0, 1000, 2))
    assert numbers.lookup(np.array([4, 5, -1, 998, 1000])).tolist() == [2, -1, -1, 499, -1]


def test_a_slice_of_an_arrow_array_keeps_its_own_keys() -> None:
    whole = pa.array([f"row {i}" for i in range(20)], pa.large_string())
    made = Identifiers.build(whole.slice(5, 4))
    assert made.take(np.arange(4)) == ["row 5", "row 6", "row 7", "row 8"]


@pytest.mark.parametrize("keys", [np.array([3, 1, 3]), pa.array(["b", "a", "b"])])
def test_duplicates_are_named(keys: np.ndarray | pa.Array) -> None:
    with pytest.raises(InputError, match=r"duplicate id (3|'b')"):
        Identifiers.build(keys)


def test_altered_arrays_are_refused() -> None:
    arrays = Identifiers.build(pa.array(["a", "bb", "c"], pa.large_string())).arrays()
    for name, value in (
        ("order", np.array([0, 1, 3], np.int32)),
        ("offsets", np.array([0, 3, 2, 4], np.int64)),
        ("offsets", np.array([0, 1, 3, 9], np.int64)),
    ):
        with pytest.raises(CorruptIndexError, match=name):
            Identifiers.load("string", {**arrays, name: value}, 3)
