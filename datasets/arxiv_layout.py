"""A data set of arXiv papers in the layout of the published one, arxiv-for-fanns.

    database_vectors.fvecs   database_attributes.jsonl   query_vectors.fvecs
    ground_truth.ivecs       row numbers of the nearest items without a filter
    <set>_query_attributes.jsonl and ground_truth_<set>.ivecs, for the sets em, r and emis

update_date counts days since 1970-01-01. All sets ask the same query vectors. The layout's own
metric is the Euclidean distance, which orders vectors of unit length as cosine does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from . import vecs
from .arxiv_attributes import THE_ELEVEN
from .dataset import read_manifest, vectors
from .parquet_files import streamed

STAGE = "arxiv-for-fanns"
UNFILTERED = "none"
_EPOCH = date(1970, 1, 1)
_ROWS = 4_096  # of a block
_UNIT = 1e-5  # how far from 1 the length of a unit vector in float32 may be
Report = Callable[[str, int, int], None]


def write(dataset: Path, folder: Path, report: Report | None = None) -> list[Path]:
    """Write the data set in the folder `dataset` into `folder`, made if needed; the files.

    Attributes are those of the paper's eleven that are there. Under cosine vectors are written at
    unit length. Every file appears whole or not at all.

    Raises InputError for a data set under inner products, without query sets, or whose sets ask
    other queries than the unfiltered one; StorageError when something cannot be read or written.
    """
    metric = read_manifest(dataset)["metric"]
    if metric == "ip":
        raise InputError(f"{dataset} has the metric ip; this layout is for l2 and cosine")
    queries, truth = _tables(dataset)
    sets = list(dict.fromkeys(queries["set"].to_pylist()))
    if UNFILTERED not in sets:
        raise InputError(f"{dataset}: its queries have no set {UNFILTERED!r}: {', '.join(sets)}")
    asked = {name: queries.filter(pc.equal(queries["set"], name)) for name in sets}
    plain = vectors(asked[UNFILTERED])
    found: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with placed(folder / "query_vectors.fvecs", found) as path:
            vecs.write_fvecs(path, _unit(plain) if metric == "cosine" else plain)
        with placed(folder / "database_vectors.fvecs", found) as path:
            vecs.write_fvecs(path, _items(dataset, metric, report))
        with placed(folder / "database_attributes.jsonl", found) as path:
            write_lines(path, _attributes(dataset))
        for name, own in asked.items():
            if not np.array_equal(vectors(own), plain):
                raise InputError(f"{dataset}: the set {name} asks other queries than {UNFILTERED}")
            _write_set(folder, name, own, found)
        _write_answers(folder, dataset, queries, truth, found)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{folder}: the layout cannot be written: {error}") from error
    return found


@contextmanager
def placed(path: Path, done: list[Path]) -> Iterator[Path]:
    """A file to write, which gets its name, and its place in `done`, once it is whole."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        done.append(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def write_lines(path: Path, batches: Iterable[pa.RecordBatch]) -> Path:
    """Rows as JSON objects, one a line."""
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            for row in batch.to_pylist():
                file.write(json_line(row))
    return path


def json_line(row: dict[str, Any]) -> str:
    """One JSON object and the end of its line; days for dates, ISO text for times."""
    return json.dumps({k: _plain(v) for k, v in row.items()}, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return (value - _EPOCH).days
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _tables(dataset: Path) -> tuple[pa.Table, pa.Table]:
    """The queries, and the truth in order."""
    try:
        queries = pq.read_table(dataset / "queries.parquet")
        truth = pq.read_table(dataset / "truth.parquet", columns=["query", "rank", "id"])
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{dataset} cannot be read as a data set: {error}") from error
    if missing := {"set", "embedding", "params"} - set(queries.column_names):
        raise InputError(f"{dataset}: its queries have no {', '.join(sorted(missing))}")
    return queries, truth.sort_by([("query", "ascending"), ("rank", "ascending")])


def _items(
    dataset: Path, metric: str, report: Report | None
) -> Iterator[NDArray[np.floating[Any]]]:
    """The vectors of the items, block by block."""
    done = 0
    with streamed(dataset / "items.parquet") as file:
        for batch in file.iter_batches(_ROWS, columns=["embedding"]):
            block = vectors(pa.Table.from_batches([batch]))
            yield _unit(block) if metric == "cosine" else block
            done += len(block)
            if report is not None:
                report(STAGE, done, file.metadata.num_rows)


def _unit(block: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """At unit length: those that are so already keep their bits."""
    lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    off = np.abs(lengths - 1.0) > _UNIT
    if not off.any():
        return block
    found = block.astype(np.float32)
    found[off] = block[off] / lengths[off, None]
    return found


def _attributes(dataset: Path) -> Iterator[pa.RecordBatch]:
    with streamed(dataset / "items.parquet") as file:
        there = set(file.schema_arrow.names)
        names = [name for name in THE_ELEVEN if name in there]
        for batch in file.iter_batches(_ROWS, columns=names):
            yield batch.select(names)


def _write_set(folder: Path, name: str, queries: pa.Table, done: list[Path]) -> None:
    """The parameters of a set; none of the unfiltered one."""
    if name == UNFILTERED:
        return
    with placed(folder / f"{name}_query_attributes.jsonl", done) as path:
        lines = [json_line(_typed(json.loads(text))) for text in queries["params"].to_pylist()]
        path.write_text("".join(lines), encoding="utf-8")


def _typed(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the ends of a range, where they are dates in ISO form, as dates."""
    ends = {"range_start", "range_end"}
    return {
        name: date.fromisoformat(value) if name in ends and isinstance(value, str) else value
        for name, value in params.items()
    }


def _write_answers(
    folder: Path, dataset: Path, queries: pa.Table, truth: pa.Table, done: list[Path]
) -> None:
    """The nearest items of every query, a file for each set."""
    ids = pq.read_table(dataset / "items.parquet", columns=["id"])["id"].combine_chunks()
    rows = pc.index_in(truth["id"], value_set=ids)
    if rows.null_count:
        raise InputError(f"{dataset}: truth.parquet names ids that items.parquet does not have")
    rows = np.asarray(rows).astype(np.int32)
    counts = np.bincount(np.asarray(truth["query"]), minlength=queries.num_rows)
    starts = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    names = np.array(queries["set"].to_pylist())
    for name in dict.fromkeys(names.tolist()):
        own = np.flatnonzero(names == name)
        found = [rows[starts[query] : starts[query + 1]] for query in own.tolist()]
        offsets = np.concatenate([[0], counts[own].cumsum()]).astype(np.int64)
        title = "ground_truth" if name == UNFILTERED else f"ground_truth_{name}"
        with placed(folder / f"{title}.ivecs", done) as path:
            vecs.write_ivecs(path, vecs.Lists(np.concatenate([rows[:0], *found]), offsets))
