"""Engines that are written to while they are searched, for `fanns bench live`.

Each holds a key (the row's number), a year and a vector per row, with the settings of peers.toml,
and searches for the rows of a year and later. What its own writes survive, `durable` says: fanns'
power-loss tests show it for fanns; for the others, whether they call fsync was seen with strace.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import fanns
from fanns.bench.engines import registry
from fanns.bench.engines.engine import Setting
from fanns.bench.engines.hnswlib_graph import load_hnswlib, make_graph
from fanns.bench.engines.tables import installed

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
POWER = "loss of power"
PROCESS = "a killed process (syncs nothing)"


class Living(ABC):
    """An engine with rows in a folder.

    Attributes:
        name, durable: what a write that returned survives. engine: its section of peers.toml.
        lacks: what it cannot do, by phase.
    """

    name: ClassVar[str]
    engine: ClassVar[str]
    durable: ClassVar[str] = POWER
    lacks: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        told = registry.options(self.engine)
        self.build_options: dict[str, Any] = dict(told.get("build", {}))
        self.settings: list[Setting] = list(told["settings"])
        self.setting: Setting = {}

    def use(self, setting: Setting) -> None:
        """Search so from now on."""
        self.setting = setting

    @abstractmethod
    def build(self, vectors: Floats, years: Ints, folder: Path) -> None:
        """Rows 0..n-1, on disk, of unit length."""

    @abstractmethod
    def open(self, folder: Path) -> None:
        """What `build` left, to be searched and written."""

    @abstractmethod
    def insert(self, first: int, vectors: Floats, years: Ints) -> None:
        """Rows first, first + 1, ...; they hold as `durable` says when it returns."""

    def update(self, key: int, year: int) -> None:
        """Another year for one row; engines that `lack` it are not asked."""
        raise NotImplementedError(self.lacks["updates"])

    @abstractmethod
    def search(self, query: Floats, year: int, k: int) -> list[int]:
        """Keys of the nearest rows of this year and later."""

    def merge(self) -> None:
        """What the engine offers to tidy up; engines that `lack` it are not asked."""
        raise NotImplementedError(self.lacks["merging"])

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Nothing to do, mostly."""


def table_of(first: int, vectors: Floats, years: Ints) -> pa.Table:
    """Rows as Arrow."""
    column = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
    keys = pa.array(np.arange(first, first + len(vectors)))
    return pa.table({"id": keys, "year": pa.array(years), "vector": column})


class Fanns(Living):
    name, engine = "fanns", "fanns"
    durability: ClassVar[str] = "full"

    def build(self, vectors: Floats, years: Ints, folder: Path) -> None:
        fanns.Index.build(table_of(0, vectors, years), path=folder / "index").close()

    def open(self, folder: Path) -> None:
        self.index = fanns.open(folder / "index", mode="w", durability=self.durability)
        self.index.warmup()

    def insert(self, first: int, vectors: Floats, years: Ints) -> None:
        self.index.add(table_of(first, vectors, years))

    def update(self, key: int, year: int) -> None:
        self.index.update(set={"year": year}, ids=[key])

    def search(self, query: Floats, year: int, k: int) -> list[int]:
        hits = self.index.search(
            query, k, "year >= :year", {"year": year}, recall=self.setting["recall"]
        )
        return [int(key) for key in hits.ids]

    def merge(self) -> None:
        self.index.compact()

    def close(self) -> None:
        self.index.close()


class FannsDeferred(Fanns):
    name, durability, durable = "fanns, deferred", "deferred", "a killed process (5 s at risk)"


class LanceDB(Living):
    name, engine, durable = "lancedb", "lancedb", PROCESS

    def build(self, vectors: Floats, years: Ints, folder: Path) -> None:
        import lancedb
        from lancedb import index

        options = dict(self.build_options)
        config = getattr(index, options.pop("index"))(distance_type="dot", **options)
        made = lancedb.connect(folder / "lance").create_table("items", table_of(0, vectors, years))
        made.create_index("vector", config=config)
        made.create_index("year", config=index.Bitmap())
        made.create_index("id", config=index.BTree())

    def open(self, folder: Path) -> None:
        installed("lancedb")
        import lancedb

        self.table: Any = lancedb.connect(folder / "lance").open_table("items")

    def insert(self, first: int, vectors: Floats, years: Ints) -> None:
        self.table.add(table_of(first, vectors, years))

    def update(self, key: int, year: int) -> None:
        self.table.update(where=f"id = {key}", values={"year": year})

    def search(self, query: Floats, year: int, k: int) -> list[int]:
        search = self.table.search(query, vector_column_name="vector").distance_type("dot")
        for option, value in self.setting.items():
            search = getattr(search, option)(value)
        found = search.where(f"year >= {year}").limit(k).select(["id", "_distance"]).to_arrow()
        keys: list[int] = found["id"].to_pylist()
        return keys

    def merge(self) -> None:
        self.table.optimize()


class Zvec(Living):
    """Durable by a `flush` after each write, which is what syncs."""

    name, engine = "zvec, flushed", "zvec"
    flushes: ClassVar[bool] = True
    BATCH: ClassVar[int] = 1_000  # it takes 1,024 documents at once

    def build(self, vectors: Floats, years: Ints, folder: Path) -> None:
        import zvec

        _start_zvec()
        options = dict(self.build_options)
        if "quantize_type" in options:
            options["quantize_type"] = getattr(zvec.QuantizeType, options["quantize_type"])
        index = zvec.HnswIndexParam(metric_type=zvec.MetricType.IP, **options)
        inverted = zvec.InvertIndexParam(enable_range_optimization=True)
        schema = zvec.CollectionSchema(
            name="items",
            fields=[zvec.FieldSchema("year", zvec.DataType.INT64, index_param=inverted)],
            vectors=[
                zvec.VectorSchema(
                    "vector", zvec.DataType.VECTOR_FP32, vectors.shape[1], index_param=index
                )
            ],
        )
        self.collection: Any = zvec.create_and_open(str(folder / "collection"), schema)
        self._put(0, vectors, years)
        self.collection.flush()
        self.merge()
        self.collection.close()

    def open(self, folder: Path) -> None:
        installed("zvec")
        import zvec

        _start_zvec()
        self.collection = zvec.open(str(folder / "collection"))

    def _put(self, first: int, vectors: Floats, years: Ints) -> None:
        import zvec

        for start in range(0, len(vectors), self.BATCH):
            documents = [
                zvec.Doc(
                    id=str(first + at),
                    vectors={"vector": vectors[at]},
                    fields={"year": int(years[at])},
                )
                for at in range(start, min(start + self.BATCH, len(vectors)))
            ]
            for status in self.collection.insert(documents):
                if not status.ok():
                    raise RuntimeError(f"zvec did not take a document: {status.message()}")

    def insert(self, first: int, vectors: Floats, years: Ints) -> None:
        self._put(first, vectors, years)
        if self.flushes:
            self.collection.flush()

    def update(self, key: int, year: int) -> None:
        import zvec

        (status,) = self.collection.update([zvec.Doc(id=str(key), fields={"year": year})])
        if not status.ok():
            raise RuntimeError(f"zvec did not update a document: {status.message()}")
        if self.flushes:
            self.collection.flush()

    def search(self, query: Floats, year: int, k: int) -> list[int]:
        import zvec

        wanted = zvec.Query("vector", vector=query, param=zvec.HnswQueryParam(**self.setting))
        found = self.collection.query(wanted, topk=k, filter=f"year >= {year}", output_fields=[])
        return [int(document.id) for document in found]

    def merge(self) -> None:
        import zvec

        self.collection.optimize(zvec.OptimizeOption(concurrency=1))

    def close(self) -> None:
        self.collection.close()


class ZvecUnflushed(Zvec):
    name, flushes, durable = "zvec", False, PROCESS


class Hnswlib(Living):
    """A graph in memory; years are the caller's own array. Writing and searching at once is not
    allowed, so a lock keeps them apart; to be durable the whole graph is written anew.
    """

    name, engine, durable = "hnswlib", "hnswlib", PROCESS
    lacks: ClassVar[dict[str, str]] = {
        "updates": "has no attributes",
        "merging": "has nothing to merge",
    }

    def build(self, vectors: Floats, years: Ints, folder: Path) -> None:
        build = self.build_options
        index = make_graph(vectors, "cosine", build["m"], build["ef_construction"])
        index.add_items(vectors, np.arange(len(vectors)))
        index.save_index(str(folder / "graph"))
        np.save(folder / "years.npy", years)

    def open(self, folder: Path) -> None:
        self.folder = folder
        self.years: Ints = np.load(folder / "years.npy")
        self.dims: int | None = None
        self._lock = threading.Lock()

    def _load(self, dims: int) -> None:
        self.index = load_hnswlib().Index("ip", dims)
        self.index.load_index(str(self.folder / "graph"))
        self.index.set_num_threads(1)
        self.dims = dims
        self.use(self.setting)

    def use(self, setting: Setting) -> None:
        self.setting = setting
        if getattr(self, "dims", None) is not None:
            self.index.set_ef(setting["ef_search"])

    def insert(self, first: int, vectors: Floats, years: Ints) -> None:
        with self._lock:
            if self.dims is None:
                self._load(vectors.shape[1])
            self.index.resize_index(first + len(vectors))
            self.index.add_items(vectors, np.arange(first, first + len(vectors)))
            self.years = np.concatenate([self.years, years])
            self.index.save_index(str(self.folder / "graph"))
            np.save(self.folder / "years.npy", self.years)

    def search(self, query: Floats, year: int, k: int) -> list[int]:
        with self._lock:
            if self.dims is None:
                self._load(len(query))
            passes = (self.years >= year).tobytes()
            found = self.index.knn_query(query, k, 1, passes.__getitem__)[0][0]
            return [int(key) for key in found]


def _start_zvec() -> None:
    """Once a process."""
    import zvec

    global _started
    if not _started:
        zvec.init(query_threads=1, optimize_threads=1, log_level=zvec.LogLevel.FATAL)
        _started = True


_started = False
LIVING: dict[str, type[Living]] = {
    one.name: one for one in (Fanns, FannsDeferred, LanceDB, Zvec, ZvecUnflushed, Hnswlib)
}
