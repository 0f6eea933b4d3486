"""The rows and queries that proofs measure on, and indexes over them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import fanns
from fanns.bench.engines.ours import Fanns, free_name
from fanns.bench.workloads import families, workload
from fanns.bench.workloads.making import roles

Floats = NDArray[np.float32]
_STAMP = "rows.json"


@dataclass(frozen=True)
class Rows:
    """Vectors, and attributes where a proof draws filters from them; row i has the id i.

    Attributes:
        vectors: float32[n, d], of unit length when the metric is "cosine".
        tune: float32[t, d], sample queries for the build; queries: float32[m, d], others.
        source: what they are, in words. attributes: n rows, or None.
    """

    vectors: Floats
    tune: Floats
    queries: Floats
    metric: str
    source: str
    attributes: pa.Table | None = None

    def first(self, queries: int) -> Rows:
        """The same with only so many queries."""
        return replace(self, queries=self.queries[:queries])

    @property
    def told(self) -> str:
        """What they are, in a phrase."""
        n, d = self.vectors.shape
        size = f"{n:,} rows of {d} dimensions, {self.metric}"
        return f"{self.source}: {size}; {len(self.queries)} queries"


def rows_of(name: str | Path, data: Path | None = None) -> Rows:
    """The rows of a named workload (`fanns bench run --workload`), or of the folder of one.

    data: the folder of arXiv records, for arxiv-*. Raises InputError for a name that there is not.
    """
    if families.is_name(str(name)):
        corpus = families.recipe(str(name), data).corpus()
        tuning = roles(len(corpus.queries), corpus.seed) == "tune"
        asked = corpus.queries
        return Rows(
            corpus.vectors, asked[tuning], asked[~tuning], corpus.metric, str(name),
            corpus.attributes,
        )  # fmt: skip
    if not Path(name).is_dir():
        families.recipe(str(name), data)  # says which names there are
    held = workload.load(name)
    cell = held.cells[0]
    return Rows(
        held.vectors, held.queries[cell.tune], held.queries[cell.measure], held.metric, held.name,
        held.attributes,
    )  # fmt: skip


@contextmanager
def index_over(
    rows: Rows, folder: Path | None, attributes: Sequence[str] = (), **options: Any
) -> Iterator[fanns.Index]:
    """An index over the rows, kept in `folder` for the next time, or nowhere.

    One that is there is taken when it was built of the same rows by the same code, else replaced.
    attributes: columns that it holds, too; options: of `fanns.Index.build`.
    """
    stamp = {"rows": _digest(rows, attributes), "options": repr(options), **Fanns.version()}
    with tempfile.TemporaryDirectory(prefix="fanns-proof-") as scratch:
        home = Path(scratch) if folder is None else folder
        if _stamp(home) != stamp:
            home.mkdir(parents=True, exist_ok=True)
            build(rows, home / "index", attributes, **options)
            (home / _STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        with fanns.open(home / "index") as index:
            yield index


def build(rows: Rows, path: Path, attributes: Sequence[str] = (), **options: Any) -> None:
    """Build and save an index over the rows, calibrated on the sample queries."""
    width = rows.vectors.shape[1]
    column = pa.FixedSizeListArray.from_arrays(rows.vectors.ravel(), width)
    vector = free_name(attributes)
    fanns.Index.build(
        pa.table({**_held(rows, attributes), vector: column}),
        vector=vector,
        attributes=list(attributes),
        metric=rows.metric,
        queries=rows.tune if len(rows.tune) else None,
        path=path,
        overwrite=True,
        **options,
    ).close()


def _held(rows: Rows, attributes: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    if rows.attributes is None:
        return {}
    return {name: rows.attributes[name] for name in attributes}


def _digest(rows: Rows, attributes: Sequence[str]) -> str:
    made = hashlib.sha256(repr((rows.vectors.shape, rows.metric)).encode())
    step = max(1, len(rows.vectors) // 64)
    made.update(np.ascontiguousarray(rows.vectors[::step]).tobytes())
    made.update(np.ascontiguousarray(rows.tune).tobytes())
    some = np.arange(0, len(rows.vectors), step)
    for name, column in _held(rows, attributes).items():
        made.update(repr((name, column.type, column.take(some).to_pylist())).encode())
    return made.hexdigest()[:16]


def _stamp(home: Path) -> dict[str, str] | None:
    """What the index in a folder was built of; None where there is none, whole."""
    try:
        found: dict[str, str] = json.loads((home / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if (home / "index").is_dir() else None
