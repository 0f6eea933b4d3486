"""zvec: HNSW over a collection whose attributes have inverted indexes.

The collection is opened read-only, which allows `query_internal_ids`: no documents are made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.dialects_embedded import Zvec as ZvecText
from fanns.bench.engines.dialects_embedded import stored
from fanns.bench.engines.engine import Engine, Items, Params, Rows, Setting, Vector
from fanns.bench.engines.tables import documents, free_name, installed, kinds, parts, plain
from fanns.schema import ColumnType

METRICS = {"cosine": "IP", "ip": "IP", "l2": "L2"}  # cosine vectors have unit length
BATCH = 1000  # documents an insert; zvec refuses more than 1024


class Zvec(Engine):
    """One collection; filters under the engine's own plan (index, or brute force by keys)."""

    name = "zvec"

    @classmethod
    def version(cls) -> dict[str, str]:
        return installed("zvec")

    def build(self, items: Items, folder: Path, threads: int) -> None:
        import zvec

        _start(threads)
        vector = free_name("vector", items)
        collection = zvec.create_and_open(str(folder / "collection"), self._schema(items, vector))
        table, columns = plain(items), kinds(items)
        for part in parts(len(items.vectors), BATCH):
            batch = []
            for at, row in enumerate(documents(table, part), part.start):
                fields = {
                    name: _value(value, columns[name])
                    for name, value in row.items()
                    if value is not None
                }
                batch.append(
                    zvec.Doc(id=str(at), vectors={vector: items.vectors[at]}, fields=fields)
                )
            for status in collection.insert(batch):
                if not status.ok():
                    raise RuntimeError(f"zvec did not take a document: {status.message()}")
        collection.flush()
        collection.optimize(zvec.OptimizeOption(concurrency=threads))
        collection.close()

    def _schema(self, items: Items, vector: str) -> Any:
        import zvec

        options = dict(self.options.get("build", {}))
        if "quantize_type" in options:
            options["quantize_type"] = getattr(zvec.QuantizeType, options["quantize_type"])
        metric = getattr(zvec.MetricType, METRICS[items.metric])
        width = items.vectors.shape[1]
        return zvec.CollectionSchema(
            name="items",
            fields=[
                zvec.FieldSchema(
                    name,
                    getattr(zvec.DataType, _type_name(kind)),
                    nullable=True,
                    index_param=zvec.InvertIndexParam(
                        enable_range_optimization=not kind.is_list and kind.kind != "bool"
                    ),
                )
                for name, kind in kinds(items).items()
            ],
            vectors=[
                zvec.VectorSchema(
                    vector,
                    zvec.DataType.VECTOR_FP32,
                    width,
                    index_param=zvec.HnswIndexParam(metric_type=metric, **options),
                )
            ],
        )

    def open(self, items: Items, folder: Path) -> None:
        import zvec

        _start(self.threads)
        option = zvec.CollectionOption(read_only=True)
        self.collection = zvec.open(str(folder / "collection"), option)
        self.vector = free_name("vector", items)
        self.dialect = ZvecText(plain(items).schema)

    def start(self, where: str | None) -> None:
        self.filter = self.dialect.compile(where)

    def use(self, setting: Setting) -> None:
        import zvec

        self.query = zvec.Query
        self.param = zvec.HnswQueryParam(**setting)

    def search(self, query: Vector, params: Params, k: int) -> NDArray[np.int64]:
        wanted = self.query(self.vector, vector=query, param=self.param)
        text = None if self.filter is None else self.filter(params)
        found: Any = self.collection.query_internal_ids(wanted, topk=k, filter=text)
        return found  # type: ignore[no-any-return]

    def rows(self, answer: NDArray[np.int64]) -> Rows:
        keys = self.collection.resolve_internal_ids(answer[answer >= 0])  # -1 pads short answers
        return np.array([-1 if key is None else int(key) for key in keys], dtype=np.int64)

    def close(self) -> None:
        self.collection.close()


def _start(threads: int) -> None:
    """Sets zvec's threads, which can be done once a process."""
    import zvec

    global _started
    if not _started:
        zvec.init(query_threads=threads, optimize_threads=threads, log_level=zvec.LogLevel.FATAL)
        _started = True


_started = False


def _type_name(kind: ColumnType) -> str:
    """zvec's type of a column; dates and timestamps are integers."""
    if kind.kind == "int":
        name = f"{'' if kind.signed else 'U'}INT{max(32, kind.bits)}"
    elif kind.kind == "float":
        name = "DOUBLE" if kind.bits == 64 else "FLOAT"
    else:
        name = {"bool": "BOOL", "string": "STRING", "date": "INT32", "timestamp": "INT64"}[
            kind.kind
        ]
    return f"ARRAY_{name}" if kind.is_list else name


def _value(value: Any, kind: ColumnType) -> Any:
    if isinstance(value, list):  # zvec has no nulls in lists, and no filter finds them
        return [stored(one, kind) for one in value if one is not None]
    return stored(value, kind)
