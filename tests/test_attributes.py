"""The attribute index against DuckDB's WHERE and GROUP BY, and against the data it was given."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.attributes import AttributeIndex, postings
from fanns.attributes.cache import SelectionCache
from fanns.errors import CorruptIndexError, FilterError, FilterTypeError, UnknownColumnError
from fanns.expressions import (
    And,
    Column,
    Compare,
    Compiled,
    Constant,
    Evaluated,
    Ids,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Mask,
    Node,
    Not,
    Or,
    Parameter,
)
from fanns.schema import ColumnType, Schema, schema_of
from fanns.selection import Selection
from tests.attribute_helpers import FORMS, KINDS, Case, arrow_column, cases, random_values, trees


@dataclass
class Context:
    """A segment whose rows stand in insertion order, with ids 0..n-1."""

    n: int
    table: pa.Table | None = None

    def rows_of_mask(self, values: np.ndarray) -> np.ndarray:
        return values

    def rows_of_ids(self, values: Any) -> np.ndarray:
        return np.unique([v for v in values if 0 <= v < self.n]).astype(np.int32)

    def stored(self, column: str) -> pa.ChunkedArray:
        assert self.table is not None
        return self.table[column]


@pytest.fixture(autouse=True, scope="module")
def cumulative_bitmaps_for_small_tables() -> Iterator[None]:
    before, postings.MIN_ROWS_FOR_CUTS = postings.MIN_ROWS_FOR_CUTS, 0
    yield
    postings.MIN_ROWS_FOR_CUTS = before


def reloaded(index: AttributeIndex, schema: Schema) -> AttributeIndex:
    arrays = {name: array.copy() for name, array in index.arrays().items()}
    return AttributeIndex.load(arrays, schema, index.n)


def same(a: Any, b: Any) -> bool:
    """Equal values, NaN equal to itself, the sign of zero told apart."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return bool(a == b)


@given(st.data(), cases())
def test_selections_are_those_of_duckdb(data: st.DataObject, case: Case) -> None:
    built = AttributeIndex.build(case.table, case.schema)
    stored = AttributeIndex.load({}, case.schema, built.n)
    context = Context(built.n, case.table)
    for tree in data.draw(st.lists(trees(case.schema), min_size=4, max_size=8)):
        expected = case.passing(tree)
        for index in (built, reloaded(built, case.schema), stored):
            selection = index.select(tree, context)
            assert selection.rows().tolist() == expected
            assert selection.count == len(expected)
            assert np.flatnonzero(selection.mask()).tolist() == expected


@given(cases(), st.integers(0, 99))
def test_take_gives_the_values_back(case: Case, seed: int) -> None:
    built = AttributeIndex.build(case.table, case.schema)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, built.n, 20) if built.n else np.zeros(0, np.int64)
    for index in (built, reloaded(built, case.schema)):
        for name, kind in case.schema.items():
            taken = index.take(name, rows)
            assert taken.type == kind.to_arrow()
            taken.validate(full=True)
            given = case.table[name].cast(kind.to_arrow()).to_pylist()
            assert same(taken.to_pylist(), [given[row] for row in rows])


@given(cases(), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_facets_are_those_of_group_by(case: Case, density: float) -> None:
    index = AttributeIndex.build(case.table, case.schema)
    mask = np.random.default_rng(index.n).random(index.n) < density
    selection = Selection.from_mask(mask)
    case.connection.execute(
        "CREATE TABLE chosen AS SELECT unnest(?::BIGINT[]) AS row", [np.flatnonzero(mask).tolist()]
    )
    for name, kind in case.schema.items():
        source = f"SELECT row, {f'unnest({name})' if kind.is_list else name} AS v FROM t"
        counted = case.connection.sql(
            f"SELECT v, count(*) AS n FROM (SELECT DISTINCT * FROM ({source})) "
            "SEMI JOIN chosen USING (row) GROUP BY v ORDER BY v NULLS LAST"
        ).to_arrow_table()
        values, counts = index.facets(name, selection)
        assert values.type == kind.item.to_arrow()
        bare = kind.item.to_arrow() if kind.tz is None else pa.timestamp(kind.unit)
        expected = counted["v"].cast(bare).to_pylist()
        got = values.cast(bare).to_pylist()
        assert [repr(v + 0.0 if isinstance(v, float) else v) for v in got] == [
            repr(v + 0.0 if isinstance(v, float) else v) for v in expected
        ]
        assert counts.tolist() == counted["n"].to_pylist()


# -- one fixed case for each kind of node and each awkward shape -------------------------------

DATA = {
    "flag": pa.array([True, False, None, True, False, True]),
    "small": pa.array([-128, 127, None, 0, 5, 5], pa.int8()),
    "big": pa.array([-(2**63), 2**63 - 1, None, 0, 5, 5], pa.int64()),
    "huge": pa.array([0, 2**64 - 1, None, 2**63, 5, 2**63 - 1], pa.uint64()),
    "half": pa.array([np.float16(x) for x in (-0.0, 0.0, 1.5, np.nan, -np.inf, 2.0)], pa.float16()),
    "single": pa.array([-0.0, 0.0, None, math.nan, 0.1, math.inf], pa.float32()),
    "double": pa.array([-0.0, 0.0, None, math.nan, 0.1, -math.inf], pa.float64()),
    "name": pa.array(["b", "", None, "a%", "Äb", "a"]),
    "day": pa.array([0, -1, None, 17_000, 0, 1], pa.date32()),
    "millis": pa.array([0, 86_400_000, None, -86_400_000, 0, 0], pa.int64()).view(pa.date64()),
    "time": pa.array([0, -1, None, 10**15, 5, 5], pa.timestamp("ns", "Europe/Paris")),
    "tags": pa.array([["x", "y"], [], None, ["y", None, "y"], [None], ["z"]]),
    "marks": pa.array(
        [[math.nan], [-0.0, 0.0], None, [1.0, None], [], [0.0]], pa.list_(pa.float32())
    ),
    "pair": pa.array([[1, 2], None, [3, None], [1, 1], [2, 1], [0, 0]], pa.list_(pa.int16(), 2)),
}
TABLE = pa.table(DATA)
SCHEMA = schema_of(TABLE.schema)
EVERY = {0, 1, 2, 3, 4, 5}


@pytest.fixture(scope="module", params=["built", "loaded", "stored"])
def index(request: pytest.FixtureRequest) -> AttributeIndex:
    built = AttributeIndex.build(TABLE, SCHEMA)
    if request.param == "built":
        return built
    if request.param == "loaded":
        return reloaded(built, SCHEMA)
    return AttributeIndex.load({}, SCHEMA, 6, TABLE.column)


def rows(index: AttributeIndex, tree: Node) -> set[int]:
    return set(index.select(tree, Context(6, TABLE)).rows().tolist())


def compare(name: str, op: Any, value: Any) -> Compare:
    return Compare(Column(name), op, value)


EXPECTED = [
    (Constant(True), EVERY, set()),
    (Constant(False), set(), EVERY),
    (Constant(None), set(), set()),
    (compare("flag", "=", True), {0, 3, 5}, {1, 4}),
    (compare("flag", "<", True), {1, 4}, {0, 3, 5}),
    (compare("small", "<=", -128), {0}, {1, 3, 4, 5}),
    (compare("small", ">", 4), {1, 4, 5}, {0, 3}),
    (compare("big", "=", -(2**63)), {0}, {1, 3, 4, 5}),
    (compare("big", ">=", 2**63 - 1), {1}, {0, 3, 4, 5}),
    (compare("huge", ">", 2**63 - 1), {1, 3}, {0, 4, 5}),
    (compare("huge", "=", 2**64 - 1), {1}, {0, 3, 4, 5}),
    (In(Column("huge"), (5, 7, 2**63)), {3, 4}, {0, 1, 5}),
    (In(Column("big"), ()), set(), {0, 1, 3, 4, 5}),
    (compare("half", "=", 0.0), {0, 1}, {2, 3, 4, 5}),
    (compare("half", ">", 1.5), {3, 5}, {0, 1, 2, 4}),
    (compare("single", "=", 0.1), set(), {0, 1, 3, 4, 5}),
    (compare("single", "=", float(np.float32(0.1))), {4}, {0, 1, 3, 5}),
    (compare("double", "=", -0.0), {0, 1}, {3, 4, 5}),
    (compare("double", "=", math.nan), {3}, {0, 1, 4, 5}),
    (compare("double", "<", math.nan), {0, 1, 4, 5}, {3}),
    (compare("double", ">=", math.inf), {3}, {0, 1, 4, 5}),
    (compare("name", ">", "a"), {0, 3, 4}, {1, 5}),
    (compare("name", "=", "a\ud800"), set(), {0, 1, 3, 4, 5}),
    (In(Column("name"), ("", "b")), {0, 1}, {3, 4, 5}),
    (compare("day", "<", 0), {1}, {0, 3, 4, 5}),
    (compare("millis", "=", 1), {1}, {0, 3, 4, 5}),
    (compare("time", ">=", 5), {3, 4, 5}, {0, 1}),
    (IsNull("name"), {2}, EVERY - {2}),
    (IsNull("tags"), {2}, EVERY - {2}),
    (IsNull("half"), set(), EVERY),
    (Like("name", "a%"), {3, 5}, {0, 1, 4}),
    (Like("name", "%"), {0, 1, 3, 4, 5}, set()),
    (Like("name", ""), {1}, {0, 3, 4, 5}),
    (Like("name", "_b"), {4}, {0, 1, 3, 5}),
    (Like("name", "äB", None, False), {4}, {0, 1, 3, 5}),
    (Like("name", "a!%", "!"), {3}, {0, 1, 4, 5}),
    (Like("name", "%!%", "!"), {3}, {0, 1, 4, 5}),
    (ListHas("tags", "any", ("y",)), {0, 3}, {1, 4, 5}),
    (ListHas("tags", "any", ("x", "z", "absent")), {0, 5}, {1, 3, 4}),
    (ListHas("tags", "any", ()), set(), {0, 1, 3, 4, 5}),
    (ListHas("tags", "all", ()), {0, 1, 3, 4, 5}, set()),
    (ListHas("tags", "all", ("x", "y")), {0}, {1, 3, 4, 5}),
    (ListHas("tags", "all", ("x", "absent")), set(), {0, 1, 3, 4, 5}),
    (ListHas("marks", "any", (math.nan,)), {0}, {1, 3, 4, 5}),
    (ListHas("marks", "any", (0.0,)), {1, 5}, {0, 3, 4}),
    (ListHas("pair", "all", (1, 2)), {0, 4}, {2, 3, 5}),
    (Compare(Length("tags"), ">=", 2), {0, 3}, {1, 4, 5}),
    (In(Length("tags"), (0, 3)), {1, 3}, {0, 4, 5}),
    (Compare(Length("pair"), "=", 2), {0, 2, 3, 4, 5}, set()),
    (And((compare("small", ">", 0), compare("small", "<", 100))), {4, 5}, {0, 1, 3}),
    (And((compare("small", ">", 100), compare("small", "<", 0))), set(), {0, 1, 3, 4, 5}),
    (Or((IsNull("name"), compare("name", "=", "b"))), {0, 2}, {1, 3, 4, 5}),
    (Not(And((Not(compare("flag", "=", True)), IsNull("tags")))), EVERY - {2}, set()),
    (Mask(np.array([1, 0, 1, 0, 0, 0], np.bool_)), {0, 2}, {1, 3, 4, 5}),
    (Ids(np.array([1, 5, 77])), {1, 5}, {0, 2, 3, 4}),
    (And((Ids(np.array([1, 5, 77])), compare("small", "=", 5))), {5}, {0, 1, 2, 3, 4}),
]


@pytest.mark.parametrize(("tree", "true", "false"), EXPECTED, ids=lambda x: str(x)[:60])
def test_each_kind_of_node(
    index: AttributeIndex, tree: Node, true: set[int], false: set[int]
) -> None:
    assert rows(index, tree) == true
    assert rows(index, Not(tree)) == false
    assert rows(index, Not(Not(tree))) == true


def test_pyarrow_and_polars_expressions(index: AttributeIndex) -> None:
    polars = pytest.importorskip("polars")
    for node in (
        Evaluated((pc.field("small") > 0) & (pc.field("name") != "a"), "pyarrow"),
        Evaluated((polars.col("small") > 0) & (polars.col("name") != "a"), "polars"),
    ):
        assert rows(index, node) == {1, 4}
        assert rows(index, Not(node)) == {0, 3, 5}
        assert rows(index, And((node, compare("flag", "=", True)))) == set()
    assert rows(index, Evaluated(polars.lit(True), "polars")) == EVERY
    assert rows(index, Evaluated(pc.scalar(True), "pyarrow")) == EVERY
    assert rows(index, Evaluated(polars.any_horizontal(polars.selectors.boolean()), "polars")) == {
        0,
        3,
        5,
    }


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda pl: Evaluated(pc.field("nope") > 1, "pyarrow"), UnknownColumnError, "nope"),
        (lambda pl: Evaluated(pl.col("nope") > 1, "polars"), UnknownColumnError, "nope"),
        (lambda pl: Evaluated(pc.field("small"), "pyarrow"), FilterTypeError, "gives int8"),
        (lambda pl: Evaluated(pl.col("small") + 1, "polars"), FilterTypeError, "not a boolean"),
        (lambda pl: Evaluated(pl.col("small", "big") > 1, "polars"), FilterTypeError, "2 columns"),
        (lambda pl: Evaluated(pc.field("name") > 1, "pyarrow"), FilterTypeError, "evaluated"),
        (lambda pl: Evaluated(pl.col("tags") > 1, "polars"), FilterTypeError, "evaluated"),
        (lambda pl: Evaluated(pl.col("small").head(3) > 1, "polars"), FilterError, "3 values"),
    ],
)
def test_expressions_that_are_no_filter(make: Any, error: type[Exception], message: str) -> None:
    polars = pytest.importorskip("polars")
    index = AttributeIndex.build(TABLE, SCHEMA)
    with pytest.raises(error, match=message):
        rows(index, make(polars))


def test_compiled_predicates(index: AttributeIndex) -> None:
    def heavy(small: int, flag: bool, day: int) -> bool:
        return small > 0 and (flag or day == 0)

    node = Compiled(heavy, ("small", "flag", "day"))
    assert rows(index, node) == {4, 5}
    assert rows(index, Not(node)) == {0, 1, 3}
    huge = Compiled(numba.njit(lambda x: x > 2**63), ("huge",))
    assert rows(index, huge) == {1}
    times = Compiled(lambda t, d: t == 5 and d == d, ("time", "double"))
    assert rows(index, times) == {4, 5}


@pytest.mark.parametrize("name", ["name", "tags"])
def test_compiled_predicates_take_numbers_alone(index: AttributeIndex, name: str) -> None:
    with pytest.raises(FilterTypeError, match=f"column '{name}' is"):
        rows(index, Compiled(lambda x: True, (name,)))


def test_a_predicate_that_numba_refuses(index: AttributeIndex) -> None:
    def wild(small: int) -> bool:
        return bool(open(str(small)))

    with pytest.raises(FilterTypeError, match=r"numba cannot compile wild\(small\)"):
        rows(index, Compiled(wild, ("small",)))


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        (Compare(Column("tags"), "=", "x"), FilterTypeError, "list_contains"),
        (Compare(Length("name"), "=", 1), FilterTypeError, "needs a list"),
        (ListHas("name", "any", ("x",)), FilterTypeError, "not a list"),
        (Like("small", "a%"), FilterTypeError, "LIKE needs strings"),
        (Like("tags", "a%"), FilterTypeError, "LIKE needs strings"),
        (Like("name", "a!", "!"), FilterError, "ends with its escape"),
        (Like("name", "%\ud800", "!"), FilterError, "not valid Unicode"),
        (IsNull("nope"), UnknownColumnError, "nope"),
        (In(Column("small"), Parameter("p")), FilterError, "bind its parameters"),
    ],
    ids=str,
)
def test_trees_that_binding_would_refuse(tree: Node, error: type[Exception], message: str) -> None:
    index = AttributeIndex.load(AttributeIndex.build(TABLE, SCHEMA).arrays(), SCHEMA, 6)
    with pytest.raises(error, match=message):
        rows(index, tree)


@pytest.mark.parametrize("name", TABLE.column_names)
def test_take_of_each_column(index: AttributeIndex, name: str) -> None:
    order = np.array([5, 3, 3, 2, 0, 1, 4], np.int32)
    taken = index.take(name, order)
    assert taken.type == SCHEMA[name].to_arrow() or SCHEMA[name].kind == "string"
    expected = TABLE[name].cast(SCHEMA[name].to_arrow()).take(pa.array(order))
    assert same(taken.to_pylist(), expected.to_pylist())
    assert index.take(name, order[:0]).to_pylist() == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [*KINDS, ColumnType("string", is_list=True)], ids=str)
@pytest.mark.parametrize("n", [0, 1, 7], ids=lambda n: f"{n}rows")
@pytest.mark.parametrize("nulls", [0.0, 1.0], ids=["values", "nulls"])
def test_awkward_columns(kind: ColumnType, form: str, n: int, nulls: float) -> None:
    values = random_values(np.random.default_rng(n), kind, n, nulls)
    table = pa.table({"c": arrow_column(values, kind, form)})
    index = reloaded(AttributeIndex.build(table, {"c": kind}), {"c": kind})
    null = [i for i, value in enumerate(values) if value is None]
    assert index.select(IsNull("c"), Context(n)).rows().tolist() == null
    assert index.select(Not(IsNull("c")), Context(n)).count == n - len(null)
    if not kind.is_list:
        for value in random_values(np.random.default_rng(1), kind, 3, 0.0):
            assert index.select(compare("c", "<=", value), Context(n)).count <= n - len(null)
    everything = np.arange(n)
    assert same(
        index.take("c", everything).to_pylist(), pa.array(values, kind.to_arrow()).to_pylist()
    )
    values_found, counts = index.facets("c", Selection.all(n))
    assert len(values_found) == len(counts)
    assert index.statistics("c")["nulls"] == len(null)


@pytest.mark.parametrize("distinct", [1, 2, 50, 20_000])
def test_large_columns_use_every_form(distinct: int) -> None:
    n = 20_000
    rng = np.random.default_rng(distinct)
    values = rng.integers(0, distinct, n)
    null = rng.random(n) < 0.1
    index = AttributeIndex.build(
        pa.table({"v": pa.array(values, mask=null)}), {"v": ColumnType("int")}
    )
    context = Context(n)
    for low, high in rng.integers(-2, distinct + 2, (40, 2)):
        between = And((compare("v", ">=", int(low)), compare("v", "<", int(high))))
        inside = (values >= low) & (values < high)
        several = tuple(np.unique(rng.integers(0, distinct, 30)).tolist())
        for tree, mask in [
            (between, inside & ~null),
            (Not(between), ~inside & ~null),
            (Or((between, IsNull("v"))), inside | null),
            (In(Column("v"), several), np.isin(values, several) & ~null),
            (Not(In(Column("v"), several)), ~np.isin(values, several) & ~null),
        ]:
            selection = index.select(tree, context)
            assert selection.count == mask.sum()
            assert (selection.mask() == mask).all()


# -- cache, statistics, untrusted arrays ---------------------------------------------------------


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
        cache.put(compare("a", "=", value), Selection.all(500))
        assert cache.used <= 10_000
    assert 0 < len(cache) < 100
    assert cache.get(compare("a", "=", 99)) is not None and cache.get(compare("a", "=", 0)) is None
    cache.put(compare("a", "=", 0), Selection.all(100_000))
    assert cache.get(compare("a", "=", 0)) is None
    SelectionCache(0).put(compare("a", "=", 0), Selection.all(1))


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


# -- the real data -------------------------------------------------------------------------------

ARXIV = ["primary_category", "categories", "authors", "submitted_date", "updated_date"]
ARXIV += ["comments", "doi"]


def test_arxiv_attributes_fit_their_bytes_and_answer_as_duckdb(arxiv_table: pa.Table) -> None:
    table = arxiv_table.select(ARXIV)
    schema = schema_of(table.schema)
    index = AttributeIndex.build(table, schema)
    assert index.nbytes <= 20e6
    case = Case(table, schema)
    for tree in [
        compare("primary_category", "=", "cs.LG"),
        Not(compare("primary_category", "=", "cs.LG")),
        Like("primary_category", "cs.%"),
        And((compare("submitted_date", ">=", 15_000), compare("submitted_date", "<", 16_000))),
        And((ListHas("categories", "any", ("cs.LG",)), compare("submitted_date", ">", 16_500))),
        ListHas("categories", "all", ("cs.LG", "stat.ML")),
        Or((IsNull("doi"), compare("updated_date", ">", 17_000))),
        Not(Or((IsNull("doi"), Compare(Length("authors"), ">", 3)))),
        Like("comments", "%pages, _ figures%"),
        Like("comments", "%ICML%", None, False),
        ListHas("authors", "any", ("Jie Shen",)),
        compare("comments", ">", "5"),
    ]:
        assert index.select(tree, Context(100_000)).rows().tolist() == case.passing(tree)
