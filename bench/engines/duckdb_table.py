"""DuckDB: exact search by SQL over a table of fixed-size arrays.

Two ways to say the same, as settings: "direct", and "rows", which finds the passing rows first and
then reads the vectors of these alone (faster where few pass and the filter is not pushed down).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.engines.dialects_bound import DuckDB as DuckDBText
from fanns.bench.engines.engine import Engine, Items, Kind, Params, Rows, Setting, Vector, Work
from fanns.bench.engines.tables import free_name, installed, plain, plain_with, vector_array

KEYS = {
    "cosine": "array_negative_inner_product",  # cosine vectors have unit length
    "ip": "array_negative_inner_product",
    "l2": "array_distance",
}


class DuckDB(Engine):
    """A database file of uncompressed columns, which is read twice as fast as a compressed one."""

    name = "duckdb"
    kind: ClassVar[Kind] = "exact"

    @classmethod
    def version(cls) -> dict[str, str]:
        return installed("duckdb")

    def build(self, items: Items, folder: Path, threads: int) -> None:
        import duckdb

        row, vector = free_name("row", items), free_name("vector", items)
        more = {vector: vector_array(items), row: pa.array(np.arange(len(items.vectors)))}
        table = plain_with(items, **more)
        with duckdb.connect(folder / "items.duckdb") as connection:
            connection.execute(f"SET threads = {threads}")
            connection.execute("SET force_compression = 'uncompressed'")
            connection.register("given", table)
            connection.execute("CREATE TABLE items AS SELECT * FROM given")

    def open(self, items: Items, folder: Path) -> None:
        import duckdb

        self.connection = duckdb.connect(folder / "items.duckdb", read_only=True)
        self.connection.execute("SET threads = 1")
        self.local = threading.local()
        self.dialect = DuckDBText(plain(items).schema)
        self.width = items.vectors.shape[1]
        self.key = KEYS[items.metric]
        self.row, self.vector = free_name("row", items), free_name("vector", items)

    def start(self, where: str | None) -> None:
        made = self.dialect.compile(where)
        self.condition = "" if made is None else f" WHERE {made({})}"

    def use(self, setting: Setting) -> None:
        order = f"ORDER BY {self.key}({self.vector}, $query_::FLOAT[{self.width}])"
        if setting.get("plan") == "rows" and self.condition:
            inner = f"SELECT rowid AS r FROM items{self.condition}"
            self.text = (
                f"WITH passing AS MATERIALIZED ({inner}) SELECT {self.row} FROM items "
                f"WHERE rowid IN (SELECT r FROM passing) {order}"
            )
        else:
            self.text = f"SELECT {self.row} FROM items{self.condition} {order}"
        self.local = threading.local()

    def search(self, query: Vector, params: Params, k: int) -> NDArray[np.int64]:
        connection, statement = self._prepared(k)
        found = connection.execute(statement, {"query_": query, **params}).fetchnumpy()
        return np.asarray(found[self.row], np.int64)

    def _prepared(self, k: int) -> tuple[Any, Any]:
        """A cursor of this thread (a connection runs one query) and the statement, parsed once."""
        if not hasattr(self.local, "known"):
            self.local.known = {}
        known: dict[int, tuple[Any, Any]] = self.local.known
        if k not in known:
            cursor = self.connection.cursor()
            known[k] = cursor, cursor.extract_statements(f"{self.text} LIMIT {k}")[0]
        return known[k]

    def rows(self, answer: NDArray[np.int64]) -> Rows:
        return answer

    def work(self, answer: Any) -> Work:
        return Work(None, "exact")

    def close(self) -> None:
        self.connection.close()
