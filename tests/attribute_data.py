"""One small table with every kind of column, and what tests of the attribute index share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.attributes import AttributeIndex
from fanns.expressions import (
    And,
    Column,
    Compare,
    Constant,
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
)
from fanns.schema import Schema, schema_of


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


def rows(index: AttributeIndex, tree: Node) -> set[int]:
    return set(index.select(tree, Context(6, TABLE)).rows().tolist())


def compare(name: str, op: Any, value: Any) -> Compare:
    return Compare(Column(name), op, value)


# A filter, the rows for which it is true, and those for which it is false.
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
