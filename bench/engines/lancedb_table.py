"""LanceDB: an IVF index of graphs over 8-bit codes, scalar indexes, filters before the search.

Row numbers come from `_rowid`, which saves the engine from reading an id column. LANCE_IO_THREADS=1
makes Lance 8 wait for itself for ever when it builds an index: the variable is taken away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fanns.bench.dialects import DataFusion
from fanns.bench.engine import Engine, Items, Params, Rows, Setting, Vector
from fanns.bench.engines.tables import free_name, installed, kinds, plain, vector_array

METRICS = {"cosine": "dot", "ip": "dot", "l2": "l2"}  # cosine vectors have unit length
FEW = 1000  # distinct values, up to which a bitmap per value is Lance's advice


class LanceDB(Engine):
    """The synchronous API, as its guide shows it."""

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
        table = plain(items).append_column(vector, vector_array(items))
        made = lancedb.connect(folder / "lance").create_table("items", table)
        config = getattr(index, options.pop("index", "HnswSq"))
        made.create_index(vector, config=config(distance_type=METRICS[items.metric], **options))
        for name, kind in kinds(items).items():
            if kind.is_list:
                made.create_index(name, config=index.LabelList())
            elif kind.kind == "bool" or pc.count_distinct(table[name]).as_py() <= FEW:
                made.create_index(name, config=index.Bitmap())
            else:
                made.create_index(name, config=index.BTree())

    def open(self, items: Items, folder: Path) -> None:
        _threads(self.threads)
        import lancedb

        self.table = lancedb.connect(folder / "lance").open_table("items")
        self.metric = METRICS[items.metric]
        self.vector = free_name("vector", items)
        self.dialect = DataFusion(plain(items).schema)
        # fragments were written in order, so the sorted row ids are the rows in order
        every = self.table.search().with_row_id(True).select([]).limit(len(items.vectors))
        self.row_ids = np.sort(every.to_arrow()["_rowid"].to_numpy())

    def start(self, where: str | None) -> None:
        self.filter = self.dialect.compile(where)

    def use(self, setting: Setting) -> None:
        self.setting = setting

    def search(self, query: Vector, params: Params, k: int) -> pa.Table:
        search: Any = self.table.search(query, vector_column_name=self.vector)
        search = search.distance_type(self.metric).limit(k)
        for option, value in self.setting.items():  # ef, nprobes, refine_factor
            search = getattr(search, option)(value)
        if self.filter is not None:
            search = search.where(self.filter(params), prefilter=True)
        return search.select(["_distance"]).with_row_id(True).to_arrow()

    def rows(self, answer: pa.Table) -> Rows:
        return np.searchsorted(self.row_ids, answer["_rowid"].to_numpy()).astype(np.int64)


def _threads(threads: int) -> None:
    """Before the package is imported: it reads these once."""
    os.environ["LANCE_CPU_THREADS"] = str(threads)
    os.environ.pop("LANCE_IO_THREADS", None)
