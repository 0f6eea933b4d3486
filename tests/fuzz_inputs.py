"""Arrays and arguments from strangers: queries, rows, ids, masks, numbers.

Any dtype, shape, stride and value. What is accepted must be answered as numpy says: exact searches
of every query that was taken, and the rows of an index after every change that was.
"""

from __future__ import annotations

import math
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import fanns
from fanns.errors import FannsError
from tests.fuzz_run import Case

N, D = 60, 8
DTYPES: list[Any] = [
    np.float32, np.float32, np.float32, np.float64, np.float16, np.int8, np.int64, np.uint8, bool,
    np.complex64, ">f4", "S3", "U2", object, "M8[s]", np.longdouble, [("a", "f4")],
]  # fmt: skip
NUMBERS: list[Any] = [
    0, 1, 3, 5, 60, 61, 10**6, 2**31, 2**63, 10**30, -1, True, False, 1.0, 2.5, math.nan, math.inf,
    None, "5", "", b"1", [], [3], (), {}, np.int64(4), np.float32(3), np.array(2),
    np.array([2]), 1j, object(), 0.5, 0.95, 1e-300, -0.0, np.bool_(True),
]  # fmt: skip
OPTIONS = ["metric", "bits", "reduce", "calibration", "seed", "threads", "keep_originals",
           "attributes", "store", "id", "vector"]  # fmt: skip
PLANS: list[Any] = ["scan", "clusters", "graph", "walk", "", 5, None, b"scan"]


def array(rng: random.Random, rows: int | None = None) -> Any:
    """Vectors of sorts: mostly float32[rows, D], with anything else now and then."""
    made = np.random.default_rng(rng.randrange(2**32))
    count = rng.choice([0, 1, 2, 7]) if rows is None else rows
    shape = rng.choice(
        [(count, D)] * 6 + [(D,), (), (0,), (count, D, 1), (count, D + 1), (count, 0)]
    )
    dtype = np.dtype(rng.choice(DTYPES))
    numbers = made.standard_normal(shape) * rng.choice([1, 1, 1, 100, 1e30, 1e-30, 0])
    with np.errstate(all="ignore"):
        try:
            values = np.asarray(numbers).astype(dtype)
        except (TypeError, ValueError):
            values = np.zeros(shape, dtype)
    if values.dtype.kind == "f" and values.size and rng.random() < 0.2:
        bad = [np.nan, np.inf, -np.inf, np.finfo(values.dtype).max, 5e-324, -0.0]
        flat = values.reshape(-1)
        with np.errstate(all="ignore"):
            flat[rng.randrange(flat.size)] = rng.choice(bad)
    way = rng.randrange(12)
    if way == 0 and values.ndim == 2:
        return np.asfortranarray(values)
    if way == 1 and values.ndim:
        return np.repeat(values, 2, axis=-1)[..., ::2]
    if way == 2 and values.ndim:
        return np.ascontiguousarray(values[..., ::-1])[..., ::-1]
    if way == 3 and values.ndim:
        return np.broadcast_to(values[:1], values.shape) if len(values) else values
    if way == 4:
        return values.tolist()
    if way == 5 and values.dtype == np.float32 and values.size:  # not aligned
        raw = bytearray(values.nbytes + 1)
        view = np.frombuffer(raw, np.uint8)[1:].view(np.float32).reshape(values.shape)
        view[...] = values
        return view
    if way == 6:
        values.setflags(write=False)
    return values


class Inputs:
    """An index of each metric that is searched, and small ones that are changed."""

    def __init__(self, _: Path) -> None:
        rng = np.random.default_rng(0)
        self.vectors = rng.standard_normal((N, D)).astype(np.float32)
        self.years = rng.integers(0, 5, N)
        self.indexes = {
            metric: fanns.Index.build(
                {"id": np.arange(N), "embedding": self.vectors, "year": self.years},
                metric=metric,
                calibration="default",
            )
            for metric in ("l2", "cosine", "ip")
        }

    def case(self, seed: int) -> str:
        rng = random.Random(seed)
        kind = rng.choices([self.search, self.arguments, self.change, self.build, self.keys],
                           [40, 20, 20, 8, 12])[0]  # fmt: skip
        return kind(rng)

    def search(self, rng: random.Random) -> str:
        metric = rng.choice(sorted(self.indexes))
        given, k = array(rng), rng.choice([1, 3, 70])
        year = rng.choice([None, 2, 9])
        where = None if year is None else f"year = {year}"
        passing = np.flatnonzero(self.years == year) if where else np.arange(N)
        found = self.indexes[metric].search(given, k, where, exact=True)
        queries = np.asarray(given, np.float32)
        answers = [found] if queries.ndim == 1 else list(found)
        queries = np.atleast_2d(queries) if queries.size else queries
        assert len(answers) == len(queries)
        for query, hits in zip(queries, answers, strict=True):
            assert len(hits) == min(k, len(passing)) and hits.matches == len(passing)
            assert set(hits.ids) <= set(passing.tolist())
            wanted = np.sort(self.distances(metric, query)[passing])[: len(hits)]
            scale = max(1.0, float(np.abs(wanted).max(initial=0)))
            near = np.allclose(hits.distances, wanted, rtol=1e-4, atol=1e-4 * scale)
            assert near, f"other distances than numpy's for {query!r}"
        return "searched"

    def distances(self, metric: str, query: np.ndarray) -> np.ndarray:
        rows, one = self.vectors.astype(np.float64), query.astype(np.float64)
        if metric == "l2":
            return np.asarray(np.sqrt(((rows - one) ** 2).sum(axis=1)))
        products = rows @ one
        if metric == "cosine":
            return np.asarray(1 - products / np.linalg.norm(rows, axis=1) / np.linalg.norm(one))
        return np.asarray(-products)

    def arguments(self, rng: random.Random) -> str:
        """Every argument of a search may be anything."""
        options: dict[str, Any] = {}
        for _ in range(rng.randint(1, 3)):
            name = rng.choice(["k", "recall", "radius", "offset", "threads", "timeout", "max_work",
                               "plan", "columns", "group_by", "group_size", "nulls", "params",
                               "exact", "where"])  # fmt: skip
            if name == "plan":
                options[name] = rng.choice(PLANS)
            elif name in ("columns", "group_by", "nulls"):
                options[name] = rng.choice(["year", ["year"], "no", "sql", "python", [], 5, ["id"]])
            elif name == "where" and rng.random() < 0.5:
                options[name] = rng.choice([np.ones(N, bool), np.ones(N), [True] * N, "year = 2"])
            elif name == "threads":
                options[name] = rng.choice([1, 2, 0, -1, None, "2", 1.5])
            else:
                options[name] = rng.choice(NUMBERS)
        query = self.vectors[0] if rng.random() < 0.6 else self.vectors[:3]
        index = self.indexes["l2"]
        found = index.search(query, **options)
        for hits in [found] if query.ndim == 1 else found:
            assert np.all(np.diff(hits.distances) >= 0) or "group_by" in options
            assert len(set(hits.ids)) == len(hits)
        return "asked"

    def keys(self, rng: random.Random) -> str:
        """Ids and filters by them, counts, rows, facets, with anything."""
        index, value = (
            self.indexes["l2"],
            rng.choice([*NUMBERS, array(rng), np.arange(3), [1, "a"]]),
        )
        way = rng.randrange(7)
        if way == 0:
            got = index.get(value)
            assert got.num_rows == (1 if isinstance(value, str) else np.size(value))
        elif way == 1:
            index.count(fanns.ids(value))
        elif way == 2:
            index.count(value)
        elif way == 3:
            index.rows(limit=value)
        elif way == 4:
            column: Any = rng.choice(["year", "no", 5])
            index.facets(column, limit=value)
        elif way == 5:
            index.count(fanns.mask(value))
        else:
            index.check(array(rng), k=rng.choice(NUMBERS))
        return "keyed"

    def build(self, rng: random.Random) -> str:
        given = array(rng, rng.choice([0, 1, 5, 40]))
        options: dict[str, Any] = {}
        if rng.random() < 0.4:
            name = rng.choice(OPTIONS)
            options[name] = rng.choice([*NUMBERS, "l2", "x", "on", "off", ["year"], "embedding"])
            if name == "threads" and isinstance(options[name], int) and options[name] > 4:
                options[name] = 2
        table: dict[str, Any] = {"embedding": given}
        if rng.random() < 0.6:
            size = len(given) if np.ndim(given) else 0
            texts = [f"k{i}" for i in range(size)]
            table["id"] = rng.choice(
                [np.arange(size), texts, np.zeros(size), [None] * size, np.arange(size + 1)]
            )
        index = fanns.Index.build(table, **{"calibration": "default", **options})
        assert len(index) == len(given)
        if len(index) and index.metric == "cosine" and index.dimensions == D:
            hits = index.search(self.vectors[0], 3)
            assert len(hits) == min(3, len(index))
        return "built"

    def change(self, rng: random.Random) -> str:
        """A few changes; the rows are those of a dict that saw the ones that were accepted."""
        index = fanns.Index.build(
            {"id": np.arange(5), "embedding": self.vectors[:5], "year": self.years[:5]},
            metric="l2",
            calibration="default",
        )
        held = {i: (self.vectors[i].tolist(), int(self.years[i])) for i in range(5)}
        for _ in range(3):
            with suppress(FannsError):
                self.changed(rng, index, held)
            got = index.get(index.ids(), vector=True)
            now = {row["id"]: (row["embedding"], row["year"]) for row in got.to_pylist()}
            assert list(now) == list(held) and now == held
        return "changed"

    def changed(self, rng: random.Random, index: fanns.Index, held: dict[int, Any]) -> None:
        way = rng.randrange(4)
        if way < 2:
            vectors = array(rng, rng.choice([1, 2, 3]))
            size = len(vectors) if np.ndim(vectors) else 0
            keys = rng.sample(range(12), min(size, 12))
            odd = rng.random() < 0.3
            ids = rng.choice(NUMBERS) if odd else np.array(keys, np.int64)
            years = rng.choice([[1] * size, [None] * size, np.ones(size), ["a"] * size, [1]])
            table = {"id": ids, "embedding": vectors, "year": years}
            if rng.random() < 0.1:
                del table[rng.choice(sorted(table))]
            (index.add if way else index.upsert)(table)
            for place, key in enumerate(np.asarray(ids).tolist()):
                held.pop(key, None)
                year = pa.array(table["year"])[place].as_py()
                vector = np.asarray(vectors)[place].astype(np.float32).tolist()
                held[key] = (vector, None if year is None else int(year))
        elif way == 2:
            value = rng.choice([*NUMBERS, np.array([1, 2]), range(2), "year = 2", [0, 0, 1]])
            before = set(held)
            by_id = rng.random() < 0.5
            count = index.delete(ids=value) if by_id else index.delete(where=value)
            left = set(np.asarray(index.ids()).tolist())
            assert count == len(before) - len(left) and left <= before
            for key in before - left:
                del held[key]
        else:
            value = rng.choice([*NUMBERS, [1, 2], np.arange(5), "year"])
            keys = rng.choice([[0], [0, 1], [3, 99], list(held)])
            column: Any = rng.choice(["year", "year", "id", "no", 5])
            index.update(set={column: value}, ids=keys)
            now = index.get([key for key in keys if key in held], columns=["year"])
            for key, year in zip(now["id"].to_pylist(), now["year"].to_pylist(), strict=True):
                held[key] = (held[key][0], year)


def prepare(folder: Path) -> Case:
    """See `fuzz_run`."""
    return Inputs(folder).case
