"""The queries of an arXiv data set under every set of filters, with their exact answers.

queries.parquet   set ("none", "em", "r", "emis"), text and what else is known of the query,
                  embedding, where (null: no filter), params (JSON, dates in ISO form),
                  matches (int64, passing rows). The sets follow each other; all ask the same
                  queries in the same order.
truth.parquet     query (the number of its row in queries.parquet), rank, id, distance
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError

from . import ground_truth
from .arxiv_filters import QuerySet, paper_sets
from .dataset import truth_table
from .exact import Truth
from .vector_blocks import Vectors


def answer(
    vectors: NDArray[Any] | Sequence[Path] | Vectors,
    attributes: pa.Table,
    ids: pa.Array | pa.ChunkedArray | NDArray[Any],
    asked: pa.Table,
    query_vectors: NDArray[np.float32],
    *,
    seed: int = 0,
    k: int = ground_truth.DEPTH,
    metric: str = "cosine",
    memory_limit: int = ground_truth.MEMORY,
    work: Path | None = None,
    report: ground_truth.Report | None = None,
    gpu: bool | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The tables of queries and of truth; see the module's head.

    Args:
        vectors, ids: of the n items, as `ground_truth.solve` takes them. attributes: n rows; sets
            whose column is not there are left out (`arxiv_filters.missing_sets` names them).
        asked: m queries with the column text; what else it has is kept.
        query_vectors: float32[m, d]. The rest: as `ground_truth.solve`.

    Raises InputError where numbers of rows differ, and what `ground_truth.solve` raises.
    """
    if asked.num_rows != len(query_vectors):
        raise InputError(f"{asked.num_rows} queries with {len(query_vectors)} vectors")
    sets = paper_sets(attributes, asked.num_rows, seed)
    found = ground_truth.solve(
        vectors,
        query_vectors,
        {one.name: one.passing for one in sets},
        k=k,
        metric=metric,
        ids=ids,
        memory_limit=memory_limit,
        work=work,
        report=report,
        gpu=gpu,
    )
    matches = [found[one.name].matches for one in sets]
    truth = _joined([found[one.name].truth for one in sets])
    return queries_table(asked, query_vectors, sets, matches), truth_table(truth)


def queries_table(
    asked: pa.Table,
    vectors: NDArray[np.float32],
    sets: Sequence[QuerySet],
    matches: Sequence[NDArray[np.int64]],
) -> pa.Table:
    """The queries under each set; the vectors of all sets share memory."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    kind = pa.list_(pa.field("element", pa.float32()), vectors.shape[1])
    embedding = pa.FixedSizeListArray.from_arrays(flat, type=kind)
    parts = []
    for one, passing in zip(sets, matches, strict=True):
        part = asked.add_column(0, "set", pa.array([one.name] * asked.num_rows, pa.string()))
        for name, column in {
            "embedding": embedding,
            "where": pa.array([one.where] * asked.num_rows, pa.string()),
            "params": pa.array([_json(params) for params in one.params], pa.string()),
            "matches": pa.array(passing),
        }.items():
            part = part.append_column(name, column)
        parts.append(part)
    return pa.concat_tables(parts)


def _json(params: dict[str, Any]) -> str:
    return json.dumps(params, default=_iso, ensure_ascii=False)


def _iso(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} {value!r} has no form in JSON")


def _joined(truths: Sequence[Truth]) -> Truth:
    """The answers of several sets one after another."""
    lengths = np.concatenate([np.diff(one.offsets) for one in truths])
    return Truth(
        np.concatenate([one.rows for one in truths]),
        np.concatenate([one.ids for one in truths]),
        np.concatenate([one.distances for one in truths]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
