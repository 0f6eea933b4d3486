"""Random filters in every spelling, judged by plain Python; and text and dicts from strangers.

A valid filter is made as SQL text, as a `col()` expression and as a dict at once, with its truth by
SQL's three-valued logic and by Mongo's two-valued one. Mutated text that is still accepted is
judged by DuckDB, where that accepts it as well.
"""

from __future__ import annotations

import math
import operator
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

import fanns
from fanns import col
from tests.fuzz_run import Case

N = 90
Row = dict[str, Any]
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "small": (pa.int8(), [-128, -1, 0, 3, 127]),
    "number": (pa.int64(), [-(2**63), -5, 0, 7, 2**53 + 1, 2**63 - 1]),
    "double": (pa.float64(), [-0.0, 0.1, 2.5, 1e300, -math.inf, math.inf]),
    "name": (pa.string(), ["", "a", "a%b", "Ab", "abc", "été", "x_y", "it's"]),
    "Odd name": (pa.string(), ["p", "q", 'r"']),
    "flag": (pa.bool_(), [True, False]),
    "tags": (pa.list_(pa.string()), [[], ["a"], ["a", "b"], [None, "b"], ["it's"]]),
    "numbers": (pa.list_(pa.int32()), [[], [1], [1, 2, None], [7, 7]]),
    "long": (pa.string(), ["of many words, " * 12, "stored, not indexed " * 9, "x" * 200]),
}
LITERALS: dict[str, list[Any]] = {
    "small": [-129, -128, -1, 0, 2.5, 3, 127, 128, 10**12],
    "number": [-(2**63), -5, 0, 6.5, 7, 2**53, 2**53 + 1, 2**63 - 1],
    "double": [0, -0.5, 0.1, 2.5, 3, 1e300, 2**53],
    "name": ["", "a", "a%b", "Ab", "abc", "zz", "été", "it's", "a'b''"],
    "Odd name": ["p", 'r"', "zz"],
    "long": ["x" * 200, "x", "of many words, " * 12],
    "tags": ["a", "b", "it's", "zz"],
    "numbers": [1, 2, 7, 9, 2**31],
}
SCALARS = ["small", "number", "double", "name", "Odd name", "long"]
TEXTS = ["name", "Odd name", "long"]
LISTS = ["tags", "numbers"]
PATTERNS = ["%", "a%", "%b", "a_b", "A%", "abc", "", "%%_", "_", "é%", "it's", "%word%"]


class Made(NamedTuple):
    """A filter in three spellings, and its truth for a row: by SQL (None: null), and by Mongo."""

    sql: str
    expression: Any
    mongo: dict[str, Any]
    truth: Callable[[Row], bool | None]
    passes: Callable[[Row], bool]


def quoted(name: str) -> str:
    return name if re.fullmatch("[a-z]+", name) else '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def null_or(name: str, test: Callable[[Any], bool]) -> Callable[[Row], bool | None]:
    return lambda row: None if row[name] is None else test(row[name])


def plainly(name: str, test: Callable[[Any], bool]) -> Callable[[Row], bool]:
    return lambda row: row[name] is not None and test(row[name])


HELD: dict[str, Callable[[Any, Any], Any]] = {
    "$eq": operator.eq, "$ne": operator.ne, "$lt": operator.lt, "$lte": operator.le,
    "$gt": operator.gt, "$gte": operator.ge,
}  # fmt: skip


def compare(rng: random.Random) -> Made:
    name = rng.choice(SCALARS)
    value = rng.choice(LITERALS[name])
    sign, key = rng.choice(
        [("=", "$eq"), ("<>", "$ne"), ("!=", "$ne"), ("<", "$lt"), ("<=", "$lte"), (">", "$gt"),
         (">=", "$gte")])  # fmt: skip
    column = col(name)
    made = {"=": column == value, "<>": column != value, "!=": column != value,
            "<": column < value, "<=": column <= value, ">": column > value,
            ">=": column >= value}[sign]  # fmt: skip

    def test(held: Any) -> bool:
        if isinstance(value, str):
            left, right = held.encode(), value.encode()
        else:
            left, right = held, value
        return bool(HELD[key](left, right))

    passes = plainly(name, test)
    if key == "$ne":
        passes = lambda row: row[name] is None or test(row[name])  # noqa: E731
    text = f"{quoted(name)} {sign} {literal(value)}"
    return Made(text, made, {name: {key: value}}, null_or(name, test), passes)


def member(rng: random.Random) -> Made:
    name = rng.choice(SCALARS)
    values = rng.choices(LITERALS[name], k=rng.randint(1, 4))
    test = lambda held: held in values  # noqa: E731
    text = f"{quoted(name)} IN ({', '.join(map(literal, values))})"
    return Made(text, col(name).is_in(values), {name: {"$in": values}},
                null_or(name, test), plainly(name, test))  # fmt: skip


def missing(rng: random.Random) -> Made:
    name = rng.choice([*SCALARS, *LISTS, "flag"])
    none = lambda row: row[name] is None  # noqa: E731
    return Made(f"{quoted(name)} IS NULL", col(name).is_null(), {name: {"$exists": False}},
                none, none)  # fmt: skip


def like(rng: random.Random) -> Made:
    name, pattern, any_case = rng.choice(TEXTS), rng.choice(PATTERNS), rng.random() < 0.4
    shape = "".join({"%": ".*", "_": "."}.get(one, re.escape(one)) for one in pattern)
    compiled = re.compile(shape, re.DOTALL | (re.IGNORECASE if any_case else 0))
    test = lambda held: compiled.fullmatch(held) is not None  # noqa: E731
    word, key = ("ILIKE", "$ilike") if any_case else ("LIKE", "$like")
    column = col(name)
    made = column.ilike(pattern) if any_case else column.like(pattern)
    return Made(f"{quoted(name)} {word} {literal(pattern)}", made, {name: {key: pattern}},
                null_or(name, test), plainly(name, test))  # fmt: skip


def listed(rng: random.Random) -> Made:
    name = rng.choice(LISTS)
    values = rng.choices(LITERALS[name], k=rng.randint(1, 3))
    kind = rng.choice(["one", "any", "all", "length"])
    if kind == "length":
        size = rng.randint(0, 3)
        test = lambda held: len(held) >= size  # noqa: E731
        return Made(f"len({name}) >= {size}", col(name).length() >= size,
                    {name: {"$size": {"$gte": size}}},
                    null_or(name, test), plainly(name, test))  # fmt: skip
    if kind == "one":
        test = lambda held: values[0] in held  # noqa: E731
        return Made(f"list_contains({name}, {literal(values[0])})", col(name).has(values[0]),
                    {name: {"$contains": values[0]}},
                    null_or(name, test), plainly(name, test))  # fmt: skip
    some = any if kind == "any" else all
    test = lambda held: some(value in held for value in values)  # noqa: E731
    column = col(name)
    made = column.has_any(values) if kind == "any" else column.has_all(values)
    text = f"list_has_{kind}({name}, [{', '.join(map(literal, values))}])"
    return Made(text, made, {name: {f"$contains{kind.title()}": values}},
                null_or(name, test), plainly(name, test))  # fmt: skip


LEAVES = [compare, compare, member, missing, like, listed]


def tree(rng: random.Random, depth: int = 3) -> Made:
    """A random filter."""
    if not depth or rng.random() < 0.35:
        return rng.choice(LEAVES)(rng)
    if rng.random() < 0.3:
        inner = tree(rng, depth - 1)

        def not_(row: Row) -> bool | None:
            held = inner.truth(row)
            return None if held is None else not held

        return Made(f"NOT ({inner.sql})", ~inner.expression, {"$not": inner.mongo}, not_,
                    lambda row: not inner.passes(row))  # fmt: skip
    parts = [tree(rng, depth - 1) for _ in range(rng.randint(2, 3))]
    either = rng.random() < 0.5

    def joined(row: Row) -> bool | None:
        held = [part.truth(row) for part in parts]
        if either in held:
            return either
        return None if None in held else not either

    expression = parts[0].expression
    for part in parts[1:]:
        expression = expression | part.expression if either else expression & part.expression
    word, key, every = (" OR ", "$or", any) if either else (" AND ", "$and", all)
    return Made(
        word.join(f"({part.sql})" for part in parts),
        expression,
        {key: [part.mongo for part in parts]},
        joined,
        lambda row: every(part.passes(row) for part in parts),
    )


class Filters:
    """Indexes over one table: whole, in several segments with deleted rows, and from disk."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(7)
        columns: dict[str, Any] = {}
        for name, (kind, pool) in COLUMNS.items():
            picks, gone = rng.integers(0, len(pool), N), rng.random(N) < 0.25
            held = [None if out else pool[at] for at, out in zip(picks, gone, strict=True)]
            columns[name] = pa.array(held, kind)
        vectors = rng.standard_normal((N, 8)).astype(np.float32)
        table = pa.table({
            "id": pa.array(range(N)),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8),
            **columns,
        })  # fmt: skip
        self.rows = table.to_pylist()
        whole = fanns.Index.build(table, calibration="default", path=folder / "whole")
        parted = fanns.Index.build(table.slice(0, 50), calibration="default")
        parted.add(table.slice(50, 20))
        parted.add(table.slice(70))
        parted.delete(ids=range(0, N, 3))
        self.indexes = [whole, parted]
        self.live = [range(N), [row for row in range(N) if row % 3]]
        self.duck = duckdb.connect()
        self.duck.register("arrow", table)
        self.duck.execute("CREATE TABLE rows AS SELECT * FROM arrow")
        self.query = vectors[0]

    def case(self, seed: int) -> str:
        rng = random.Random(seed)
        kind = rng.choices([self.valid, self.mutated, self.hostile_dict, self.hostile_text,
                            self.hostile_value], [45, 30, 12, 6, 7])[0]  # fmt: skip
        return kind(rng)

    def valid(self, rng: random.Random) -> str:
        made = tree(rng)
        at = rng.randrange(2)
        index, live = self.indexes[at], self.live[at]
        by_sql = [row for row in live if made.truth(self.rows[row]) is True]
        by_mongo = [row for row in live if made.passes(self.rows[row])]
        for where, nulls, expected in (
            (made.sql, None, by_sql), (made.expression, None, by_sql), (made.mongo, None, by_mongo),
            (made.mongo, "sql", by_sql), (made.sql, "python", by_mongo),
        ):  # fmt: skip
            found = index.rows(where, columns=[], nulls=nulls)["id"].to_pylist()
            assert found == expected, (where, nulls, found, expected)
        hits = index.search(self.query, 5, made.sql, recall=0.99)
        assert hits.matches == len(by_sql) and set(hits.ids) <= set(by_sql), made.sql
        assert len(hits) == min(5, len(by_sql)), made.sql
        return "valid"

    def mutated(self, rng: random.Random) -> str:
        text = mutation(rng, tree(rng, 2).sql)
        found = self.indexes[0].rows(text, columns=[])["id"].to_pylist()
        try:
            judged = self.duck.execute(f"SELECT id FROM rows WHERE {text} ORDER BY id").fetchall()
        except (duckdb.Error, UnicodeError):
            return "accepted"
        assert found == [row for (row,) in judged], (text, found)
        return "judged"

    def hostile_dict(self, rng: random.Random) -> str:
        where = any_value(rng, 4)
        if not isinstance(where, dict):
            where = {rng.choice([*COLUMNS, "$and", "$or", "$not", "$nor"]): where}
        self.indexes[rng.randrange(2)].count(where)
        return "accepted"

    def hostile_text(self, rng: random.Random) -> str:
        size = rng.choice([1, 5, 40, 2_000, 9_000])
        way = rng.randrange(6)
        if way == 0:
            text = "".join(chr(rng.choice([rng.randrange(0xD800), rng.randrange(128)]))
                           for _ in range(min(size, 400)))  # fmt: skip
        elif way == 1:
            text = "(" * size + "small = 1" + ")" * rng.choice([size, size - 1, 0])
        elif way == 2:
            text = "NOT " * size + "small = 1"
        elif way == 3:
            text = " OR ".join([f"small = {rng.randrange(9)}"] * min(size, 3_000))
        elif way == 4:
            text = "small IN (" + ", ".join(["1"] * size) + ")"
        else:
            text = "name = '" + rng.choice("'\"\\%\0\n;-") * size
        self.indexes[0].count(text)
        return "accepted"

    def hostile_value(self, rng: random.Random) -> str:
        """col() with any object, and parameters of any kind."""
        value, column = odd_value(rng), col(rng.choice([*COLUMNS, "nowhere", ""]))
        index = self.indexes[rng.randrange(2)]
        way = rng.randrange(8)
        if way < 2:
            name = quoted(rng.choice(list(COLUMNS)))
            op = rng.choice(["=", "<", "IN", "LIKE"])
            index.count(f"{name} {op} :p", {rng.choice(["p", "p", "p", "q"]): value})
        elif way == 2:
            index.count(f"list_contains({rng.choice(LISTS)}, :p)", {"p": value})
        elif way == 3:
            index.count(column == value)
        elif way == 4:
            index.count(column < value)
        elif way == 5:
            index.count(column.is_in(value))
        elif way == 6:
            index.count(column.has_any(value))
        else:
            index.count(value)
        return "accepted"


TOKENS = ["AND", "OR", "NOT", "(", ")", "=", "<", ">", "<>", "IN", "LIKE", "IS", "NULL", "TRUE",
          "FALSE", "BETWEEN", "ESCAPE", "'a'", "1", "-1", "1e400", "small", "name", "tags", "flag",
          "CAST", "::int", "len", ",", "[", "]", "*", "+", "--", "/*", ";", "''", "NaN", ".5",
          "list_contains", "lower", "CASE", "WHEN", "||", "0x1F", "1_000", "IS NOT",
          "DISTINCT FROM",           "ILIKE", "SIMILAR TO", "~", "date '2020-01-01'"]  # fmt: skip


def mutation(rng: random.Random, text: str) -> str:
    """Text with tokens or characters put in, taken out, doubled or exchanged."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        words = re.findall(r"'(?:[^']|'')*'|\w+|\s+|[^\w\s]", text)
        at = rng.randrange(len(words)) if words else 0
        way = rng.randrange(6)
        if way == 0:
            words.insert(at, f" {rng.choice(TOKENS)} ")
        elif way == 1 and words:
            del words[at]
        elif way == 2 and words:
            words[at] = f" {rng.choice(TOKENS)} "
        elif way == 3 and words:
            words.insert(at, words[rng.randrange(len(words))])
        elif way == 4 and len(words) > 1:
            other = rng.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        else:
            whole = "".join(words)
            place = rng.randrange(len(whole) + 1)
            words = [whole[:place], chr(rng.choice([rng.randrange(32, 127), 0, 0xE9, 0x202E])),
                     whole[place + rng.randrange(2):]]  # fmt: skip
        text = "".join(words)
    return text


KEYS = ["$and", "$or", "$not", "$nor", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin",
        "$exists", "$contains", "$containsAny", "$containsAll", "$size", "$like", "$ilike",
        "$startswith", "$endswith", "$regex", "$where", "", "$"]  # fmt: skip


def any_value(rng: random.Random, depth: int) -> Any:
    """JSON of sorts, with the words of the language as keys."""
    way = rng.random()
    if depth and way < 0.55:
        keys = [rng.choice([*KEYS, *COLUMNS, *COLUMNS]) for _ in range(rng.randint(0, 3))]
        return {key: any_value(rng, depth - 1) for key in keys}
    if depth and way < 0.75:
        return [any_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return odd_value(rng) if way < 0.85 else rng.choice(LITERALS[rng.choice(list(LITERALS))])


def odd_value(rng: random.Random) -> Any:
    """Something that nobody expects in a filter."""
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    return rng.choice([
        None, True, 0, -1, 2**64, 10**400, -(10**400), 1.5, math.nan, math.inf, -0.0, "", "\0",
        "\ud800", "x" * 10_000, b"bytes", [], [None], [1, "a"], [[1]], (), {}, {"a": 1}, set(),
        deep, object(), lambda row: True, np.float32(1), np.int64(3), np.array(3), np.array([]),
        np.array([1, 2]), np.array([[1]]), np.array(["a"]), np.array([None, 1], object),
        np.array([np.nan]), np.datetime64("2020"), np.datetime64("NaT"), np.ones(N, bool),
        np.ones(N - 1, bool), np.ones((N, 1), bool), np.zeros(0, bool), np.arange(3),
        np.array([-1]), np.array([2**63], np.uint64), np.array([1 + 1j]), pa.array([1, None]),
        pa.array(["a"]), pa.scalar(1), pa.array([], pa.null()), range(3), range(10**5),
        iter([1]), col("small"), col("small") == 1, col("tags"), fanns.param("p"), Ellipsis, int,
        complex(1, 1), memoryview(b"ab"), np.ma.array([1, 2], mask=[False, True]), np.void(b"1"),
    ])  # fmt: skip


def prepare(folder: Path) -> Case:
    """See `fuzz_run`."""
    return Filters(folder).case
