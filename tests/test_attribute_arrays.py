"""The cache, and arrays that were stored: columns opened once, damage refused before use."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns.attributes import AttributeIndex, postings
from fanns.attributes.cache import Hashed, SelectionCache
from fanns.errors import CorruptIndexError, FilterTypeError
from fanns.expressions import (
    Ids,
    IsNull,
    Mask,
    Not,
    Or,
)
from fanns.schema import schema_of
from fanns.selection import Selection
from tests.attribute_data import EVERY, EXPECTED, SCHEMA, TABLE, Context, compare, reloaded, rows


@pytest.fixture(autouse=True, scope="module")
def cumulative_bitmaps_for_small_tables() -> Iterator[None]:
    before, postings.MIN_ROWS_FOR_CUTS = postings.MIN_ROWS_FOR_CUTS, 0
    yield
    postings.MIN_ROWS_FOR_CUTS = before


def test_equal_filters_are_answered_from_the_cache() -> None:
    index = AttributeIndex.build(TABLE, SCHEMA)
    first = index.select(compare("small", ">", 0), Context(6))
    assert index.select(compare("small", ">", 0), Context(6)) is first
    mask = Mask(np.zeros(6, np.bool_))
    index.select(Or((mask, compare("small", ">", 0))), Context(6))
    assert len(index.cache) == 1


def test_the_cache_keeps_to_its_bytes() -> None:
    cache = SelectionCache(10_000)
    for value in range(100):
        cache.put(Hashed(compare("a", "=", value)), Selection.all(500))
        assert cache.used <= 10_000
    assert 0 < len(cache) < 100
    assert (
        cache.get(Hashed(compare("a", "=", 99))) is not None
        and cache.get(Hashed(compare("a", "=", 0))) is None
    )
    cache.put(Hashed(compare("a", "=", 0)), Selection.all(100_000))
    assert cache.get(Hashed(compare("a", "=", 0))) is None
    SelectionCache(0).put(Hashed(compare("a", "=", 0)), Selection.all(1))


def test_what_code_and_ids_select_lives_as_long_as_their_node() -> None:
    index = AttributeIndex.build(TABLE, SCHEMA)
    node = Ids(np.array([1]))
    index.select(node, Context(6))
    assert index.remember(node) is not None
    del node
    gc.collect()
    assert not list(index._opaque)


def test_codes_and_statistics() -> None:
    index = AttributeIndex.build(TABLE, SCHEMA)
    assert index.codes("small").tolist() == [0, 3, -1, 1, 2, 2]
    assert index.statistics("small") == {"nulls": 1, "distinct": 4}
    assert index.statistics("tags") == {"nulls": 1, "distinct": 3}
    assert index.indexed == tuple(SCHEMA)
    assert index.nbytes == sum(array.nbytes for array in index.arrays().values())
    with pytest.raises(FilterTypeError, match="no codes"):
        index.codes("tags")


def damaged(name: str, change: Any) -> AttributeIndex:
    arrays = {
        key: array.copy() for key, array in AttributeIndex.build(TABLE, SCHEMA).arrays().items()
    }
    arrays[name] = change(arrays[name])
    return AttributeIndex.load(arrays, SCHEMA, 6)


def put(at: Any, value: int) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[at] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("small/codes", put(0, 99)),
        ("small/codes", put(0, -2)),
        ("small/codes", put(0, 2)),
        ("small/codes", lambda a: a[:-1]),
        ("small/codes", lambda a: a.astype(np.int64)),
        ("small/postings", put(2, 6)),
        ("small/postings", put(2, -1)),
        ("small/postings", put(2, 0)),
        ("small/postings", lambda a: a[:-1]),
        ("small/offsets", put(1, 99)),
        ("small/offsets", put(1, -1)),
        ("small/offsets", put(-1, 7)),
        ("small/offsets", lambda a: a[:-1]),
        ("small/keys", put(0, 99)),
        ("small/keys", lambda a: a[:-1]),
        ("small/cuts", put(0, 99)),
        ("small/cumulative", put(0, 2**63)),
        ("small/cumulative", put(0, 0)),
        ("small/cumulative", lambda a: a[:, :0]),
        ("flag/frequent", put(0, 17)),
        ("flag/bitmaps", put(0, 0)),
        ("name/text_offsets", put(1, 99)),
        ("name/text_offsets", put(-1, 99)),
        ("name/text_offsets", lambda a: a.astype(np.int16)),
        ("name/text", put(-1, 255)),
        ("name/text", lambda a: a[:-1]),
        ("double/negative_zeros", put(0, 6)),
        ("tags/starts", put(1, 99)),
        ("tags/starts", put(-1, 3)),
        ("tags/starts", lambda a: a[:-1]),
        ("tags/codes", put(0, 3)),
        ("tags/codes", put(0, -2)),
        ("tags/postings", put(0, 6)),
        ("tags/present", put(0, 2**63)),
        ("tags/present", lambda a: np.zeros(0, np.uint64)),
    ],
)
def test_damaged_arrays_are_refused_before_a_kernel_reads_them(name: str, change: Any) -> None:
    column = name.split("/")[0]
    index = damaged(name, change)
    for _ in range(2):  # it stays refused
        with pytest.raises(CorruptIndexError, match=f"column '{column}': "):
            index.select(IsNull(column), Context(6))
    assert index.select(IsNull("big"), Context(6)).count == 1


@pytest.mark.parametrize("seed", range(150))
def test_any_damage_is_refused_or_harmless(seed: int) -> None:
    """Wrong answers are for checksums to prevent; rows outside the segment never come."""
    rng = np.random.default_rng(seed)
    built = AttributeIndex.build(TABLE, SCHEMA)
    arrays = {key: array.copy() for key, array in built.arrays().items()}
    names = [name for name, array in arrays.items() if array.nbytes]
    for name in rng.choice(names, 4, replace=False):
        data = arrays[name].view(np.uint8).reshape(-1)
        data[rng.integers(len(data))] ^= np.uint8(1 << rng.integers(8))
    index = AttributeIndex.load(arrays, SCHEMA, 6)
    for tree, _, _ in EXPECTED:
        for node in (tree, Not(tree)):
            try:
                selection = index.select(node, Context(6, TABLE))
            except CorruptIndexError:
                continue
            found = selection.rows()
            assert len(found) == selection.count == selection.mask().sum()
            assert set(found.tolist()) <= EVERY and (np.diff(found) > 0).all()
    for name in SCHEMA:
        with contextlib.suppress(CorruptIndexError):
            assert len(index.take(name, np.arange(6))) == 6


def test_a_missing_part_is_refused() -> None:
    arrays = AttributeIndex.build(TABLE, SCHEMA).arrays()
    del arrays["small/keys"]
    with pytest.raises(CorruptIndexError, match="column 'small': its part 'keys' is missing"):
        AttributeIndex.load(arrays, SCHEMA, 6).take("small", np.array([0]))


def test_stored_columns_of_another_length_are_refused() -> None:
    index = AttributeIndex.load({}, SCHEMA, 7)
    with pytest.raises(CorruptIndexError, match="column 'small' has 6 rows, not 7"):
        index.select(IsNull("small"), Context(7, TABLE))


def test_column_names_may_hold_slashes() -> None:
    table = pa.table({"a/b": [1, 2], "a": ["x", "y"]})
    schema = schema_of(table.schema)
    index = reloaded(AttributeIndex.build(table, schema), schema)
    assert index.take("a/b", np.array([1])).to_pylist() == [2]
    assert index.take("a", np.array([1])).to_pylist() == ["y"]


def test_many_threads_open_a_column_once() -> None:
    index = AttributeIndex.load(AttributeIndex.build(TABLE, SCHEMA).arrays(), SCHEMA, 6)
    trees = [compare("small", ">", value) for value in range(-3, 6)] * 20
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda tree: rows(index, tree), trees))
    assert found == [rows(index, tree) for tree in trees]
