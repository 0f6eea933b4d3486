"""A workload: items, queries under filters in named cells, and their exact answers.

On disk it is a data set (`fanns.datasets.dataset`) whose queries carry a cell:

queries.parquet   embedding, where, params (JSON text; dates in ISO form), and
                  cell, family string; target float64 (selectivity asked for; null: none),
                  correlation string ("positive", "none", "negative", "natural");
                  role string ("tune": for choosing settings, "measure"); matches int64;
                  near float64 (share of the query's nearest rows, filter aside, that pass)
truth.parquet     the nearest passing rows of each query, best first
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cell:
    """Queries under one kind of filter: a constant text, and parameters for each query.

    Attributes:
        name: for people, unique in the workload. family: such as "range_date".
        where: SQL text with :parameters, or None.
        target: the selectivity asked for, or None. correlation: what was asked for.
        measure, tune: numbers of its queries in the workload, in order.
        selectivity: mean share of rows that pass, measured.
        affinity: measured correlation of filter and query in [-1, 1]: the mean over queries of
            (near - s) / (near + s), s the query's own selectivity. 0: independent.
    """

    name: str
    family: str
    where: str | None
    target: float | None
    correlation: str
    measure: NDArray[np.int64]
    tune: NDArray[np.int64]
    selectivity: float
    affinity: float


@dataclass(frozen=True)
class Workload:
    """A workload in memory.

    Attributes:
        vectors: float32[n, d], read-only, mapped from a file that processes share; of unit length
            when the metric is "cosine". attributes: n rows, without id and embedding.
        queries: float32[m, d]; params: for each query its parameters, typed (dates as
            datetime.date); matches: int64[m], passing rows.
        depth: how many true neighbours are known. truth_rows int64, truth_distances float64,
            truth_offsets int64[m + 1]: those of query i are offsets[i]:offsets[i + 1].
        fingerprint: of everything above, from the checksums of the files.
    """

    name: str
    metric: str
    vectors: NDArray[np.float32]
    attributes: pa.Table
    queries: NDArray[np.float32]
    params: list[Mapping[str, Any]]
    matches: NDArray[np.int64]
    cells: list[Cell]
    depth: int
    truth_rows: NDArray[np.int64]
    truth_distances: NDArray[np.float64]
    truth_offsets: NDArray[np.int64]
    fingerprint: str
