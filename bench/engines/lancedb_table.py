"""LanceDB: an IVF index of graphs over 8-bit codes, scalar indexes, filters before the search.

Row numbers come from `_rowid`, which saves the engine from reading an id column. LANCE_IO_THREADS=1
makes Lance 8 wait for itself for ever when it builds an index: the variable is taken away.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fanns.bench.engines.dialects import DataFusion
from fanns.bench.engines.engine import Engine, Items, Params, Rows, Setting, Vector
from fanns.bench.engines.tables import free_name, installed, kinds, plain, plain_with, vector_array

METRICS = {"cosine": "dot", "ip": "dot", "l2": "l2"}  # cosine vectors have unit length
BITMAPS = ("bool", "int", "string")  # kinds for which Lance has bitmap indexes
FEW = 1000  # distinct values, up to which a bitmap per value is Lance's advice


class LanceDB(Engine):
    """The asynchronous API on an event loop of each searching thread.

    Measured at 25,000 x 384: a quarter less CPU time a query than the synchronous one, which hands
    every call to a thread of its own.
    """

    name = "lancedb"

    @classmethod
    def version(cls) -> dict[str, str]:
        return installed("lancedb")

    def build(self, items: Items, folder: Path, threads: int) -> None:
        _threads(threads)
        import lancedb
        from lancedb import index

        options = dict(self.options.get("build", {}))
        vector = free_name("vector", items)
        table = plain_with(items, **{vector: vector_array(items)})
        made = lancedb.connect(folder / "lance").create_table("items", table)
        config = getattr(index, options.pop("index", "HnswSq"))
        made.create_index(vector, config=config(distance_type=METRICS[items.metric], **options))
        for name, kind in kinds(items).items():
            if kind.is_list:
                made.create_index(name, config=index.LabelList())
            elif kind.kind in BITMAPS and pc.count_distinct(table[name]).as_py() <= FEW:
                made.create_index(name, config=index.Bitmap())
            else:
                made.create_index(name, config=index.BTree())

    def open(self, items: Items, folder: Path) -> None:
        _threads(self.threads)
        import lancedb

        self.local = threading.local()
        self.loops: list[asyncio.AbstractEventLoop] = []
        connection = self._run(lancedb.connect_async(folder / "lance"))
        self.table: Any = self._run(connection.open_table("items"))
        self.metric = METRICS[items.metric]
        self.vector = free_name("vector", items)
        self.dialect = DataFusion(plain(items).schema)
        # fragments were written in order, so the sorted row ids are the rows in order
        every = self.table.query().with_row_id().select([]).limit(len(items.vectors))
        self.row_ids = np.sort(self._run(every.to_arrow())["_rowid"].to_numpy())

    def start(self, where: str | None) -> None:
        self.filter = self.dialect.compile(where)

    def use(self, setting: Setting) -> None:
        self.setting = setting

    def search(self, query: Vector, params: Params, k: int) -> pa.Table:
        condition = None if self.filter is None else self.filter(params)
        return self._run(self._search(query, condition, k))

    async def _search(self, query: Vector, condition: str | None, k: int) -> pa.Table:
        search = self.table.query().nearest_to(query).column(self.vector)
        search = search.distance_type(self.metric).limit(k)
        for option, value in self.setting.items():  # ef, nprobes, refine_factor
            search = getattr(search, option)(value)
        if condition is not None:
            search = search.where(condition)  # before the search, unless postfilter() is called
        return await search.select(["_distance"]).with_row_id().to_arrow()

    def _run(self, call: Coroutine[Any, Any, Any]) -> Any:
        if not hasattr(self.local, "loop"):
            self.local.loop = asyncio.new_event_loop()
            self.loops.append(self.local.loop)
        return self.local.loop.run_until_complete(call)

    def rows(self, answer: pa.Table) -> Rows:
        return np.asarray(np.searchsorted(self.row_ids, answer["_rowid"].to_numpy()), np.int64)

    def close(self) -> None:
        for loop in self.loops:
            loop.close()


def _threads(threads: int) -> None:
    """Before the package is imported: it reads these once."""
    os.environ["LANCE_CPU_THREADS"] = str(threads)
    os.environ.pop("LANCE_IO_THREADS", None)
