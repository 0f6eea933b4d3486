"""A tiny workload for tests of the benchmark runner, and engines, many of them wrong."""

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from fanns.bench.engines.engine import (
    AbsentError,
    Engine,
    Items,
    Kind,
    Mode,
    Params,
    Setting,
    UnsupportedError,
    Vector,
    Work,
)
from fanns.bench.workloads import workload
from fanns.bench.workloads.masks import Masks
from fanns.datasets.dataset import truth_table
from fanns.datasets.exact import nearest

ROWS, DIMENSIONS, QUERIES = 300, 8, 30


def make_workload(folder: Path) -> Path:
    """300 rows; cells "all" and "colour" of 30 queries each, a fifth of them for tuning.

    Colour 9 has no rows, colour 8 has three.
    """
    random = np.random.default_rng(7)
    vectors = random.normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = random.normal(size=(QUERIES, DIMENSIONS)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    colours = random.integers(0, 8, ROWS)
    colours[:3] = 8
    asked = np.resize(np.arange(10), QUERIES)
    everything = nearest(vectors, queries, 20)
    coloured = nearest(vectors, queries, 20, mask=[colours == one for one in asked])
    sizes = [np.count_nonzero(colours == one) for one in asked]
    cells = {
        "all": (None, ["{}"] * QUERIES, [ROWS] * QUERIES),
        "colour": ("colour = :c", [f'{{"c": {one}}}' for one in asked], sizes),
    }
    parts = [
        pa.table(
            {
                "embedding": _listed(queries),
                "where": pa.array([where] * QUERIES, pa.string()),
                "params": params,
                "cell": [name] * QUERIES,
                "family": [name] * QUERIES,
                "target": pa.array([None] * QUERIES, pa.float64()),
                "correlation": ["none"] * QUERIES,
                "role": ["tune" if i % 5 == 0 else "measure" for i in range(QUERIES)],
                "matches": pa.array(matches, pa.int64()),
                "near": np.array(matches) / ROWS,
            }
        )
        for name, (where, params, matches) in cells.items()
    ]
    first, second = truth_table(everything), truth_table(coloured)
    shifted = pa.array(np.asarray(second["query"]) + QUERIES, pa.int32())
    second = second.set_column(0, "query", shifted)
    items = pa.table({"id": np.arange(ROWS), "embedding": _listed(vectors), "colour": colours})
    workload.write(
        folder,
        items,
        pa.concat_tables(parts),
        pa.concat_tables([first, second]),
        "cosine",
        depth=20,
    )
    return folder


def _listed(vectors: Vector) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


class Right(Engine):
    """Exact, with a setting that makes it miss rows on purpose."""

    name = "right"
    kind: ClassVar[Kind] = "exact"
    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    @classmethod
    def version(cls) -> dict[str, str]:
        return {"right": "1"}

    def settings(self) -> list[Setting]:
        return [{"share": share} for share in (0.2, 0.5, 0.8, 0.9, 1.0)]

    def build(self, items: Items, folder: Path, threads: int) -> None:
        (folder / "built").write_text(f"{threads} threads, {len(items.tune)} queries to learn from")

    def open(self, items: Items, folder: Path) -> None:
        assert (folder / "built").exists()
        self.items = items
        self.kept = np.random.default_rng(0).random(len(items.vectors))

    def start(self, where: str | None) -> None:
        self.masks = Masks(self.items.attributes, where) if where is not None else None

    def use(self, setting: Setting) -> None:
        self.share = float(setting["share"])

    def bind(self, params: Params) -> Any:
        mask = self.kept < self.share
        return mask if self.masks is None else mask & self.masks(params)

    def search(self, query: Vector, params: Params, k: int) -> Any:
        return self.search_bound(query, self.bind(params), k)

    def search_bound(self, query: Vector, bound: Any, k: int) -> Any:
        rows = np.flatnonzero(bound)
        return rows[np.argsort(-(self.items.vectors[rows] @ query), kind="stable")[:k]]

    def work(self, answer: Any) -> Work:
        return Work(distances=len(self.items.vectors), status="exact")


class Simple(Right):
    """Only end to end, with one setting."""

    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end",)

    def settings(self) -> list[Setting]:
        return [{"share": 1.0}]


class Other(Simple):
    name = "other"


class IgnoresFilter(Simple):
    name = "ignores-filter"

    def bind(self, params: Params) -> Any:
        return np.ones(len(self.items.vectors), dtype=bool)


class MinusOne(Simple):
    name = "minus-one"

    def rows(self, answer: Any) -> Any:
        return np.where(np.arange(len(answer)) % 2 == 1, -1, answer)


class DropsRows(Simple):
    name = "drops-rows"

    def rows(self, answer: Any) -> Any:
        return answer[: len(answer) // 2]


class Repeats(Simple):
    name = "repeats"

    def rows(self, answer: Any) -> Any:
        return np.repeat(answer[:1], len(answer))


class Missing(Simple):
    name = "missing"

    @classmethod
    def version(cls) -> dict[str, str]:
        raise AbsentError("the package missing is not installed")


class Unable(Simple):
    name = "unable"

    def start(self, where: str | None) -> None:
        if where is not None:
            raise UnsupportedError("no equality of colours")
        super().start(where)


class Raises(Simple):
    name = "raises"

    def search(self, query: Vector, params: Params, k: int) -> Any:
        raise RuntimeError("does not work")


class Exits(Simple):
    """Ends its process in cells with a filter."""

    name = "exits"

    def search(self, query: Vector, params: Params, k: int) -> Any:
        if self.masks is not None:
            os._exit(3)
        return super().search(query, params, k)


class Segfaults(Simple):
    name = "segfaults"

    def open(self, items: Items, folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class Hangs(Simple):
    name = "hangs"

    def search(self, query: Vector, params: Params, k: int) -> Any:
        time.sleep(100)


class HangsBuilding(Simple):
    name = "hangs-building"

    def build(self, items: Items, folder: Path, threads: int) -> None:
        time.sleep(100)


class Greedy(Simple):
    """Takes more and more memory."""

    name = "greedy"

    def build(self, items: Items, folder: Path, threads: int) -> None:
        held = []
        for _ in range(200):
            held.append(np.ones(5_000_000))
            time.sleep(0.05)
