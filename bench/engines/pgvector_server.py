"""pgvector: HNSW with iterative scans, beside btree and GIN indexes; the planner chooses.

The server is our own, over a unix socket. Statements are prepared and binary, and planned anew for
each query's parameters: one generic plan would fit few of them.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines import pg_server
from fanns.bench.engines.dialects_bound import PostgreSQL
from fanns.bench.engines.engine import Engine, Items, Params, Rows, Setting, Vector
from fanns.bench.engines.tables import free_name, installed, kinds, plain

OPERATORS = {  # of each metric; cosine vectors have unit length
    "cosine": ("<#>", "vector_ip_ops"),
    "ip": ("<#>", "vector_ip_ops"),
    "l2": ("<->", "vector_l2_ops"),
}
MEGABYTE = 1 << 20


class PGVector(Engine):
    """One table, its vectors in line, everything in shared buffers."""

    name = "pgvector"
    server: pg_server.Server | None = None
    RELAXED: ClassVar[str] = "relaxed_order"

    @classmethod
    def version(cls) -> dict[str, str]:
        found = installed("psycopg", "pgvector")
        return {**found, "postgresql": pg_server.server_version(), "vector": _extension()}

    def build(self, items: Items, folder: Path, threads: int) -> None:
        pg_server.initialise(folder / "data")
        # twice the vectors hold the graph, which otherwise is finished slowly on disk
        memory = 2 * items.vectors.nbytes // MEGABYTE + 256
        settings = _settings(items) | {
            "maintenance_work_mem": f"{memory}MB",
            "max_parallel_maintenance_workers": max(0, threads - 1),
            "max_wal_size": "16GB",
            "synchronous_commit": "off",
        }
        if _shared_memory() < memory + 64:
            settings["dynamic_shared_memory_type"] = "mmap"  # parallel builds work there
        self.server = pg_server.Server(folder / "data", settings)
        try:
            with self._connect() as connection:
                self._fill(connection, items)
                self._index(connection, items)
                size = connection.execute("SELECT pg_total_relation_size('items')").fetchone()
                (folder / "bytes").write_text(str(size[0]))
        finally:
            self.close()

    def _fill(self, connection: Any, items: Items) -> None:
        from pgvector.psycopg import register_vector

        connection.execute("CREATE EXTENSION vector")
        register_vector(connection)
        dialect = PostgreSQL(plain(items).schema)
        row, vector, width = *self._names(items), items.vectors.shape[1]
        types = [
            dialect.type_name(kind.item) + ("[]" if kind.is_list else "")
            for kind in kinds(items).values()
        ]
        names = [dialect.column(name).replace("%%", "%") for name in kinds(items)]
        columns = [f"{row} integer", f"{vector} vector({width})"]
        columns += [f"{name} {kind}" for name, kind in zip(names, types, strict=True)]
        connection.execute(f"CREATE TABLE items ({', '.join(columns)})")
        if width <= 1900:  # a page's worth; longer vectors are stored out of line
            connection.execute(f"ALTER TABLE items ALTER {vector} SET STORAGE PLAIN")
        rows = zip(*(column.to_pylist() for column in plain(items).columns), strict=True)
        if not names:
            rows = iter([()] * len(items.vectors))  # type: ignore[assignment]
        with connection.cursor() as cursor, cursor.copy("COPY items FROM STDIN BINARY") as copy:
            copy.set_types(["integer", "vector", *types])
            for at, values in enumerate(rows):
                copy.write_row((at, items.vectors[at], *values))

    def _index(self, connection: Any, items: Items) -> None:
        dialect = PostgreSQL(plain(items).schema)
        for name, kind in kinds(items).items():
            method = "gin" if kind.is_list else "btree"
            column = dialect.column(name).replace("%%", "%")
            connection.execute(f"CREATE INDEX ON items USING {method} ({column})")
        options = {"m": 16, "ef_construction": 64} | self.options.get("build", {})
        given = ", ".join(f"{name} = {value}" for name, value in options.items())
        family = OPERATORS[items.metric][1]
        vector = self._names(items)[1]
        connection.execute(f"CREATE INDEX ON items USING hnsw ({vector} {family}) WITH ({given})")
        connection.execute("VACUUM ANALYZE items")
        connection.execute("CHECKPOINT")

    def open(self, items: Items, folder: Path) -> None:
        settings = _settings(items) | {
            "max_parallel_workers_per_gather": 0,
            "autovacuum": "off",
            "plan_cache_mode": "force_custom_plan",
            "hnsw.max_scan_tuples": len(items.vectors) + 1,
            "hnsw.scan_mem_multiplier": 16,
        }
        self.server = pg_server.Server(folder / "data", settings)
        self.dialect = PostgreSQL(plain(items).schema)
        self.names = self._names(items)
        self.operator = OPERATORS[items.metric][0]
        self.local = threading.local()
        self.connections: list[Any] = []
        with self._connect() as connection:
            _warm(connection, self.names[1])

    def start(self, where: str | None) -> None:
        made = self.dialect.compile(where)
        condition = "" if made is None else f" WHERE {made({})}"
        row, vector = self.names
        self.statement = (
            f"SELECT {row} FROM items{condition} "
            f"ORDER BY {vector} {self.operator} %(query_)s LIMIT %(limit_)s"
        )

    def use(self, setting: Setting) -> None:
        self.setting = setting
        self._disconnect()

    def search(self, query: Vector, params: Params, k: int) -> list[tuple[int]]:
        given = {"query_": query, "limit_": k, **params}
        cursor = self._cursor().execute(self.statement, given, prepare=True)
        found: list[tuple[int]] = cursor.fetchall()
        return found

    def rows(self, answer: list[tuple[int]]) -> Rows:
        found: NDArray[np.int64] = np.array([row for (row,) in answer], dtype=np.int64)
        return found

    def size(self, folder: Path) -> int:
        """The table and its indexes, without the server's catalogs and its log."""
        return int((folder / "bytes").read_text())

    def close(self) -> None:
        self._disconnect()
        if self.server is not None:
            self.server.stop()
            self.server = None

    def _names(self, items: Items) -> tuple[str, str]:
        return free_name("row_number", items), free_name("vector_", items)

    def _connect(self) -> Any:
        import psycopg

        assert self.server is not None
        return psycopg.connect(
            host=str(self.server.socket), user=pg_server.SUPERUSER, dbname="postgres",
            autocommit=True, prepare_threshold=0,
        )  # fmt: skip

    def _cursor(self) -> Any:
        """A binary cursor of this thread, its connection under the setting."""
        if not hasattr(self.local, "cursor"):
            from pgvector.psycopg import register_vector

            connection = self._connect()
            self.connections.append(connection)
            register_vector(connection)
            order = self.setting.get("order", self.RELAXED)
            connection.execute(f"SET hnsw.iterative_scan = {order}")
            connection.execute(f"SET hnsw.ef_search = {int(self.setting['ef_search'])}")
            self.local.cursor = connection.cursor(binary=True)
        return self.local.cursor

    def _disconnect(self) -> None:
        for connection in getattr(self, "connections", []):
            connection.close()
        self.connections = []
        self.local = threading.local()


def _settings(items: Items) -> dict[str, Any]:
    """What a user with enough memory for the data sets."""
    size = items.vectors.nbytes // MEGABYTE
    return {
        "shared_buffers": f"{max(128, 4 * size + 128)}MB",
        "effective_cache_size": f"{max(512, 6 * size)}MB",
        "work_mem": "64MB",
        "random_page_cost": 1.1,  # everything is in memory
        "jit": "off",
        "fsync": "off",
    }


def _warm(connection: Any, vector: str) -> None:
    """Reads the table and its indexes into shared buffers; without pg_prewarm, the table alone."""
    has = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_prewarm'")
    if has.fetchone():
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        connection.execute(
            "SELECT pg_prewarm(oid::regclass) FROM pg_class "
            "WHERE relname LIKE 'items%' AND relkind IN ('r', 'i')"
        ).fetchall()
    else:
        connection.execute(f"SELECT count(*) FROM items WHERE vector_dims({vector}) > 0")


def _shared_memory() -> int:
    """Megabytes free for POSIX shared memory."""
    try:
        return shutil.disk_usage("/dev/shm").free // MEGABYTE
    except OSError:
        return 0


def _extension() -> str:
    """The version of the extension, from its control file."""
    base = pg_server.programs().parent
    places = [*base.glob("share/**/vector.control")]
    places += Path("/usr/share/postgresql").glob(f"{base.name}/extension/vector.control")
    for line in places[0].read_text().splitlines():
        if line.startswith("default_version"):
            return line.split("'")[1]
    return "unknown"
