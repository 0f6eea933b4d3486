"""Qdrant in the process (qdrant-edge-py): one shard, payload indexes, HNSW made after them.

The payload indexes come first: Qdrant links the rows of their values in the graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fanns.bench.engines.dialects_embedded import Qdrant, moment
from fanns.bench.engines.engine import Engine, Items, Params, Rows, Setting, Vector
from fanns.bench.engines.tables import documents, installed, kinds, parts, plain
from fanns.schema import ColumnType

METRICS = {"cosine": "Dot", "ip": "Dot", "l2": "Euclid"}  # cosine vectors have unit length
BATCH = 2000


class QdrantEdge(Engine):
    """Filters as Filter objects, made for each query."""

    name = "qdrant-edge"

    @classmethod
    def version(cls) -> dict[str, str]:
        return installed("qdrant-edge-py")

    def build(self, items: Items, folder: Path, threads: int) -> None:
        import qdrant_edge as qdrant

        place = folder / "shard"
        place.mkdir()
        shard = qdrant.EdgeShard.create(str(place), self._config(items, threads))
        change = qdrant.UpdateOperation
        columns = kinds(items)
        for name, kind in columns.items():
            shard.update(change.create_field_index(name, _payload_index(kind)))
        table = plain(items)
        for part in parts(len(items.vectors), BATCH):
            payloads = documents(table, part)
            points = [
                qdrant.Point(
                    at,
                    items.vectors[at].tolist(),
                    {name: _value(value, columns[name]) for name, value in payload.items()},
                )
                for at, payload in enumerate(payloads, part.start)
            ]
            shard.update(change.upsert_points(points))
        while shard.optimize():
            pass
        shard.flush()
        shard.close()

    def _config(self, items: Items, threads: int) -> Any:
        import qdrant_edge as qdrant

        options = self.options.get("build", {})
        distance = getattr(qdrant.Distance, METRICS[items.metric])
        graph = qdrant.HnswIndexConfig(
            m=options.get("m", 16),
            ef_construct=options.get("ef_construct", 100),
            full_scan_threshold=options.get("full_scan_threshold", 10_000),
            max_indexing_threads=threads,
        )
        optimizers = qdrant.EdgeOptimizersConfig(
            default_segment_number=1, indexing_threshold=1, max_segment_size=1 << 40
        )
        return qdrant.EdgeConfig(
            vectors=qdrant.EdgeVectorParams(
                size=items.vectors.shape[1], distance=distance, hnsw_config=graph
            ),
            hnsw_config=graph,
            optimizers=optimizers,
            max_search_threads=threads,
            wal_enabled=False,
        )

    def open(self, items: Items, folder: Path) -> None:
        import qdrant_edge as qdrant

        self.qdrant = qdrant
        config = self._config(items, self.threads)
        self.shard = qdrant.EdgeShard.load(str(folder / "shard"), config)
        self.dialect = Qdrant(plain(items).schema)

    def start(self, where: str | None) -> None:
        made = self.dialect.compile(where)
        self.filter = made

    def use(self, setting: Setting) -> None:
        acorn = None
        if setting.get("acorn"):
            acorn = self.qdrant.AcornSearchParams(enable=True)
        self.params = self.qdrant.SearchParams(hnsw_ef=setting["ef"], acorn=acorn)

    def search(self, query: Vector, params: Params, k: int) -> list[Any]:
        condition = None
        if self.filter is not None:
            condition = self.filter(params)
            if not isinstance(condition, self.qdrant.Filter):
                condition = self.qdrant.Filter(must=[condition])
        nearest: Any = self.qdrant.Query.Nearest  # takes arrays, though its stub says lists
        request = self.qdrant.SearchRequest(
            query=nearest(query),
            limit=k,
            filter=condition,
            params=self.params,
        )
        found: list[Any] = self.shard.search(request)
        return found

    def rows(self, answer: list[Any]) -> Rows:
        return np.array([point.id for point in answer], dtype=np.int64)

    def size(self, folder: Path) -> int:
        """Blocks in use: the shard keeps an empty segment, whose files are mostly holes."""
        return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())

    def close(self) -> None:
        self.shard.close()


def _payload_index(kind: ColumnType) -> Any:
    import qdrant_edge as qdrant

    if kind.kind in ("int", "bool"):
        return qdrant.IntegerIndexParams(lookup=True, range=True)
    return {
        "string": qdrant.KeywordIndexParams,
        "float": qdrant.FloatIndexParams,
        "date": qdrant.DatetimeIndexParams,
        "timestamp": qdrant.DatetimeIndexParams,
    }[kind.kind]()


def _value(value: Any, kind: ColumnType) -> Any:
    """As a payload holds it (see the dialect): nulls are kept, so that a filter can name them."""
    if isinstance(value, list):
        return [_value(one, kind) for one in value if one is not None]
    if value is not None and kind.kind in ("date", "timestamp"):
        return moment(value)
    return int(value) if isinstance(value, bool) else value
