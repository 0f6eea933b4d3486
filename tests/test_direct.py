"""The short way to a selection gives what the general way gives, or gives way to it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanns
from fanns.attributes import AttributeIndex, dictionary
from fanns.attributes.direct_tree import direct
from fanns.errors import FilterTypeError, ParameterError
from fanns.filters import compile_filter, parse_filter
from fanns.schema import schema_of
from tests.attribute_data import Context

N = 700
DAYS = [dt.date(2000, 1, 1) + dt.timedelta(days=i) for i in range(40)]
WORDS = ["", "a", "b", "ab", "c", "d", "e", "Ω"]
LEAVES = [
    ("year = :y", "year"),
    ("year >= :y", "year"),
    ("year < :z", "year"),
    ("small <= :s", "small"),
    ("name = :n", "name"),
    ("name > :n", "name"),
    ("day BETWEEN :a AND :b", "day"),
    ("day = :a", "day"),
    ("list_contains(tags, :t)", "tags"),
    ("list_contains(tags, :u)", "tags"),
    ("list_contains(counts, :c)", "counts"),
    ("year IN :ys", "year"),
    ("name IN (:n, 'b', 'missing')", "name"),
    ("year >= 3", "year"),
    ("list_has_any(tags, :ts)", "tags"),
    ("list_has_all(tags, :ts)", "tags"),
    ("list_has_all(tags, [:t, :u])", "tags"),
    ("list_has_any(tags, [:u, 'c'])", "tags"),
    ("wide > :w", "wide"),
    ("wide BETWEEN :w AND :x", "wide"),
    ("wide = :w", "wide"),
    ("narrow >= :w", "narrow"),
    ("narrow = :x", "narrow"),
    ("narrow IN :xs", "narrow"),
    ("huge < :h", "huge"),
    ("huge = :h", "huge"),
]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(-2, 45),
    "z": st.integers(-2, 45),
    "s": st.integers(-200, 200),
    "n": st.sampled_from([*WORDS, "missing"]),
    "a": st.sampled_from([*DAYS, dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    "b": st.sampled_from(DAYS),
    "t": st.sampled_from([*WORDS, "missing"]),
    "u": st.sampled_from(WORDS),
    "c": st.integers(-1, 9),
    "ys": st.lists(st.integers(-2, 45), min_size=1, max_size=5),
    "ts": st.lists(st.sampled_from([*WORDS, "missing"]), min_size=1, max_size=3),
    "w": st.sampled_from([-0.0, 0.1, 1.5, -2.25, 1e300, float("inf"), float("-inf")]) | st.floats(),
    "x": st.sampled_from([0.0, 0.1, 1.5, 7.75]),
    "xs": st.lists(st.sampled_from([0.0, 0.1, 1.5, 7.75]), min_size=1, max_size=3),
    "h": st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1]),
}
STRANGE: list[Any] = [
    *(
        None,
        1.5,
        True,
        "2000-01-05",
        "20000105",
        "2000-W01-5",
        "2000-13-01",
        np.int64(3),
        "x",
        2**70,
        float("nan"),
        "\ud800",
        1e39,
    ),
    *([], [None], ["a", None], ["\ud800"], [1, 2.5], ("a", "b"), np.array([1, 2]), {"a"}, "Ω"),
]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(5)

    def holes(values: list[Any]) -> list[Any]:
        return [None if rng.random() < 0.1 else value for value in values]

    def lists(words: list[Any], most: int) -> list[Any]:
        return [[words[i] for i in rng.integers(0, len(words), rng.integers(0, most))] for _ in a]

    a = range(N)
    huge = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
    some = [0.0, -0.0, 0.1, 1.5, -2.25, 7.75, float("nan"), float("inf"), float("-inf")]
    floats = [some[i] for i in rng.integers(0, len(some), N)]
    return pa.table(
        {
            "year": holes((rng.zipf(1.3, N) % 40).tolist()),
            "small": pa.array(holes(rng.integers(-128, 128, N).tolist()), pa.int8()),
            "name": holes([WORDS[i] for i in rng.integers(0, len(WORDS), N)]),
            "day": holes([DAYS[i] for i in rng.integers(0, len(DAYS), N)]),
            "tags": pa.array(holes(lists([*WORDS, None], 4)), pa.list_(pa.string())),
            "counts": pa.array(holes(lists(list(range(8)), 3)), pa.list_(pa.int64())),
            "wide": pa.array(holes(floats), pa.float64()),
            "narrow": pa.array(holes(floats), pa.float32()),
            "huge": pa.array(holes([huge[i] for i in rng.integers(0, len(huge), N)]), pa.uint64()),
        }
    )


@pytest.fixture(scope="module")
def index(table: pa.Table) -> AttributeIndex:
    return AttributeIndex.build(table, schema_of(table.schema))


@given(data=st.data())
def test_equals_the_general_way(index: AttributeIndex, data: st.DataObject) -> None:
    leaf = st.sampled_from([text for text, _ in LEAVES])
    scalar = leaf.filter(lambda text: "list" not in text and "BETWEEN" not in text)
    inverted = scalar.map(lambda text: f"NOT {text}")
    part = st.lists(leaf | inverted, min_size=1, max_size=3).map(" AND ".join)
    tree = parse_filter(" OR ".join(data.draw(st.lists(part, min_size=1, max_size=3))))
    nulls = data.draw(st.sampled_from(["sql", "python"]))
    template = compile_filter(tree, index.schema, nulls)
    way = direct(tree, index, nulls)
    assert way is not None
    for _ in range(5):
        strange = data.draw(st.booleans())
        values = {
            name: data.draw(st.sampled_from(STRANGE) | VALUES[name] if strange else VALUES[name])
            for name in template.parameters
        }
        found = way.select(values)
        try:
            expected = index.select(template.bind(values), Context(N))
        except (FilterTypeError, ParameterError):
            assert found is None  # the general way raises it
            continue
        assert found is None or found == expected
        assert found is None or found.count == len(found.rows()) == expected.count


def test_is_taken_where_few_rows_pass(index: AttributeIndex) -> None:
    tree = parse_filter("small = :s AND day BETWEEN :a AND :b")
    way = direct(tree, index)
    assert way is not None
    assert way.select({"s": 5, "a": DAYS[0], "b": DAYS[-1]}) is not None
    by_dates = way.select({"s": 5, "a": DAYS[3], "b": DAYS[-1]})
    assert way.select({"s": 5, "a": "2000-01-04", "b": DAYS[-1]}) == by_dates
    for left_to_binding in ("20000104", "2000-W01-2", "2000-01-32", "2000-01-04T00:00"):
        assert way.select({"s": 5, "a": left_to_binding, "b": DAYS[-1]}) is None


@pytest.mark.parametrize(
    "where",
    [
        "year = :y OR len(tags) = :y",
        "(year = :y OR small = :s) AND name = :n",
        "NOT (year = :y AND small = :s)",
        "len(tags) = :y",
        "name LIKE :n",
        "day IS NULL",
        "NOT list_has_any(tags, :ts)",
        "year = 3.5",
        "list_has_any(tags, ['a', NULL])",
        "TRUE",
    ],
)
def test_leaves_other_filters_alone(index: AttributeIndex, where: str) -> None:
    assert direct(parse_filter(where), index) is None


def test_searches_through_it(table: pa.Table) -> None:
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((N, 8)).astype(np.float32)
    made = fanns.Index.build(
        table.append_column("v", pa.FixedSizeListArray.from_arrays(vectors.ravel(), 8)),
        vector="v",
        calibration="default",
    )
    where = "year = :y AND list_contains(tags, :t)"
    passing = [
        i
        for i, (year, tags) in enumerate(
            zip(table["year"].to_pylist(), table["tags"].to_pylist(), strict=True)
        )
        if year == 7 and tags is not None and "ab" in tags
    ]
    hits = made.search(vectors[0], N, where, {"y": 7, "t": "ab"})
    assert sorted(hits.ids) == passing and hits.matches == len(passing)
    assert "year = 7" in str(hits.explain())
    with pytest.raises(ParameterError):
        made.search(vectors[0], 5, where, {"y": 7})
    with pytest.raises(ParameterError):
        made.search(vectors[0], 5, where, {"y": 7, "t": "ab", "more": 1})
    with pytest.raises(FilterTypeError):
        made.search(vectors[0], 5, where, {"y": "seven", "t": "ab"})
    more = table.slice(0, 3).append_column(
        "v", pa.FixedSizeListArray.from_arrays(vectors[:3].ravel(), 8)
    )
    prepared = made.prepare(where).bind(y=7, t="ab")
    before = prepared.count()
    made.add(more)
    assert made.count(where, {"y": 7, "t": "ab"}) >= before == len(passing)


@pytest.mark.parametrize("most", [N // 10, N])
def test_lists_with_several_elements_are_not_taken_for_all_rows(most: int) -> None:
    # Every other row has both: as many entries as rows.
    both = [["a", "b"] if i % 2 else [] for i in range(N)]
    table = pa.table({"i": range(N), "tags": both})
    made = AttributeIndex.build(table, schema_of(table.schema))
    way = direct(parse_filter("list_has_any(tags, :ts) AND i < :most"), made)
    assert way is not None
    found = way.select({"ts": ["a", "b"], "most": most})
    assert found is not None and found.rows().tolist() == list(range(1, most, 2))


@pytest.mark.parametrize("few", [0, 100])
@pytest.mark.parametrize(
    "where", ["name = :n", "list_contains(tags, :n)", "day = :n", "small = :n"]
)
def test_many_values_at_a_time(
    table: pa.Table, monkeypatch: pytest.MonkeyPatch, few: int, where: str
) -> None:
    monkeypatch.setattr(dictionary, "FEW", few)  # strings, or a hash table of them
    own = AttributeIndex.build(table, schema_of(table.schema))
    tree = parse_filter(where)
    way, template = direct(tree, own), compile_filter(tree, own.schema)
    assert way is not None
    values: list[Any] = [*WORDS, "missing", "é", "a" * 99]
    if "day" in where:
        values = [*DAYS, dt.date(1900, 1, 1), dt.date(2100, 1, 1)]
    elif "small" in where:
        values = list(range(-128, 128))
    found = way.slices({"n": values})
    assert found is not None
    for value, start, stop in zip(values, *found[:2], strict=True):
        expected = own.select(template.bind({"n": value}), Context(N))
        one = way.select({"n": value})
        assert one == expected and found[2][start:stop].tolist() == expected.rows().tolist()
    for strange in (None, 1.5, "\ud800", dt.datetime(2000, 1, 5)):
        assert way.slices({"n": [*values, strange]}) is None
        assert way.select({"n": strange}) is None
