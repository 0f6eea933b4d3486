"""Random changes of an index, told as JSON so that another process can follow them on a `Model`."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import fanns
from tests.living_helpers import DIMENSIONS, Model, Row, random_row, table_of

Operation = dict[str, Any]
EXTRA = "extra"
KEYS = 400  # ids are drawn below this, so that they come again
QUERY = np.full(DIMENSIONS, 0.5, np.float32)


def start(path: Path, n: int = 150) -> Model:
    """An index on disk, and the model of it."""
    rng = np.random.default_rng(0)
    rows = [random_row(rng, i) for i in range(n)]
    fanns.Index.build(
        table_of(rows), metric="l2", store=["note"], calibration="default", path=path
    ).close()
    return Model(rows)


def draw(rng: random.Random, index: fanns.Index, big: int = 30) -> Operation:
    """A change of the index as it is."""
    known = [int(key) for key in index.ids()]
    name = rng.choice(["add", "upsert", "upsert", "delete", "where", "update", "set", "compact",
                       "erase", "column"])  # fmt: skip
    operation: Operation = {"name": name, "seed": rng.randrange(2**31)}
    if EXTRA in index.schema:
        operation[EXTRA] = rng.randrange(9)
    if name == "add":
        free = sorted(set(range(KEYS)) - set(known))
        operation["keys"] = rng.sample(free, min(len(free), rng.randint(1, big)))
    elif name == "upsert":
        operation["keys"] = rng.sample(range(KEYS), rng.randint(1, big))
    elif name in ("delete", "update"):
        operation["keys"] = rng.sample(known, min(len(known), rng.randint(1, 20)))
    elif name in ("where", "set"):
        operation["year"] = rng.randrange(5)
    operation["new"] = rng.choice(
        [{"year": 4}, {"year": None, "note": "x9"}, {"tags": ["b", "z"]}, {"tags": None}]
    )
    return operation


def rows_of(operation: Operation) -> list[Row]:
    """The rows that an operation brings."""
    rng = np.random.default_rng(operation["seed"])
    extra = {EXTRA: operation[EXTRA]} if EXTRA in operation else {}
    return [random_row(rng, key) | extra for key in operation["keys"]]


def perform(index: fanns.Index, operation: Operation) -> None:
    """Do it to an index."""
    name = operation["name"]
    if name in ("add", "upsert") and operation["keys"]:
        rows = rows_of(operation)
        table = table_of(rows)
        if EXTRA in operation:
            table = table.append_column(EXTRA, pa.array([row[EXTRA] for row in rows]))
        (index.add if name == "add" else index.upsert)(table)
    elif name == "delete":
        index.delete(ids=operation["keys"])
    elif name == "where":
        index.delete(where="year = :y", params={"y": operation["year"]})
    elif name == "update":
        index.update(set=operation["new"], ids=operation["keys"])
    elif name == "set":
        index.update(set=operation["new"], where="year = :y", params={"y": operation["year"]})
    elif name == "column" and EXTRA in operation:
        index.drop_column(EXTRA)
    elif name == "column":
        index.add_column(EXTRA, operation["seed"] % 7)
    elif name in ("compact", "erase"):
        index.compact(erase=name == "erase", full=operation["seed"] % 2 == 0)


def follow(model: Model, operation: Operation) -> Model:
    """The model after it."""
    after = Model(model.rows.values())
    name = operation["name"]
    if name in ("add", "upsert"):
        after.add(rows_of(operation))
    elif name == "delete":
        after.delete_keys(operation["keys"])
    elif name == "where":
        after.delete(lambda row: row["year"] == operation["year"])
    elif name == "update":
        keys = set(operation["keys"])
        after.update(lambda row: row["id"] in keys, operation["new"])
    elif name == "set":
        after.update(lambda row: row["year"] == operation["year"], operation["new"])
    elif name == "column" and EXTRA in operation:
        for key, row in after.rows.items():
            after.rows[key] = {n: value for n, value in row.items() if n != EXTRA}
    elif name == "column":
        after.update(lambda _: True, {EXTRA: operation["seed"] % 7})
    return after


def rows_in(index: fanns.Index) -> list[Row]:
    """All rows of an index, as a model has them."""
    found: list[Row] = index.get(index.ids(), vector=True).to_pylist()
    for row in found:
        row["embedding"] = np.array(row["embedding"], np.float32)
    return found


def digest(rows: Iterator[Row] | list[Row]) -> str:
    """Equal for equal rows in equal order."""
    plain = [sorted(({**row, "embedding": row["embedding"].tolist()}).items()) for row in rows]
    return repr(plain)


def work(path: str, log: str, seed: int, seconds: float = 1e9) -> None:
    """Change an index at random; the log has a line before each change and one after."""
    rng = random.Random(seed)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(what: Operation | str) -> None:
        os.write(descriptor, (json.dumps(what) + "\n").encode())

    end = time.monotonic() + seconds
    with fanns.open(path, mode="w") as index:
        while time.monotonic() < end:
            operation = draw(rng, index)
            tell(operation)
            perform(index, operation)
            tell("done")
    os.close(descriptor)
