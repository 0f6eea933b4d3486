"""The clusters: the passing rows of the clusters nearest to the query, through three sieves."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids
from fanns.codes import Int8Codes
from fanns.kernels.bits import SPREAD, record_words
from fanns.kernels.bitset import count_ranges
from fanns.kernels.centroids import rank_centres
from fanns.kernels.distance import COSINE, L2
from fanns.kernels.fastscan import CENTROIDS
from fanns.kernels.jit import Array, frozen
from fanns.kernels.rotation import random_signs
from fanns.kernels.scan_clusters import DENSE, scan_clusters
from fanns.paths import NO_BUDGET, Answers, Budget, Ready, RowSet, form_of, no_answers
from fanns.paths.locality import FAR, FEWEST, SHARE
from fanns.pq_codes import PQCodes
from fanns.vectors import DenseVectors

NO_ESTIMATES = -1.0
"""As `slack`: rows are compared by int8 codes at once, which can prove an answer."""


DENSE_SHARE = DENSE / 64
"""From this pass-rate on, rows are mostly estimated 64 at a time."""

KEPT = 64
"""Parameters whose arrays are kept."""

SAMPLE = 1_024
"""Rows that tell the errors of product codes."""


class ClusterParameters(NamedTuple):
    """How much of the selection is looked at, and how closely.

    `near`: passing rows after which no further cluster is taken, by how densely the clusters taken
    so far pass: near[i] at a rate of 2^-i. `far`: the same when the clusters nearest to the query
    pass at less than FAR times the rate of all rows. Infinity: all clusters. `rerank`: rows kept
    by their int8 codes for full precision, at least k. `slack`: what an
    estimate is lowered by before it is held against the worst of these, in units of |q' - c| times
    the row's factor, of which SPREAD is one standard error; `NO_ESTIMATES` for none.
    `abandon`: leave queries that the filter avoids to another path.
    """

    near: tuple[float, ...]
    far: float
    rerank: int
    slack: float = NO_ESTIMATES
    abandon: bool = False


def probed(clusters: int) -> int:
    """How many of the nearest clusters tell whether a filter avoids a query."""
    return max(FEWEST, clusters // SHARE)


class ClustersPath:
    """Clusters in the order of their distance; `ties` int64[n] orders rows of equal distance.

    Attributes:
        ranks: what ranks centres: signs, bits, records and factors of the centres as in
            `BitCodes`; no records where there are none of the rows.
    """

    name = "clusters"

    def __init__(
        self,
        vectors: DenseVectors,
        codes: Int8Codes,
        ties: Array,
        centroids: Centroids,
        bits: BitCodes | None = None,
        products: PQCodes | None = None,
    ) -> None:
        self._n, self._has_bits = vectors.n, bits is not None
        self._full = (vectors.exact, vectors.norms, vectors.metric, frozen(ties))
        self._codes = (codes.codes, codes.scale, codes.square, codes.mean, codes.limits)
        self._centres, self._centroids = centroids, centroids.arrays
        self._probe = probed(len(centroids))
        if bits is None:
            _, width = record_words(vectors.d)
            records = frozen(np.empty((0, width), np.uint64))
            signs, centres = frozen(random_signs(vectors.d, 0)), records
            kept: Any = (records, records.view(np.float32), signs, 1)
        else:
            centres = bits.encode_points(centroids.centres)
            kept = (bits.records, bits.factors, bits.signs, bits.bits)
        ranks = (centres, centres.view(np.float32))
        self.ranks = (*kept[2:], *ranks)
        held: Any = (self._n, *self._full, *kept, *ranks, *product_arrays(products))
        self._held = (*held, *self._codes, *self._centroids)
        self._near: dict[tuple[float, ...], Array] = {}

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: ClusterParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of the clusters looked at; see `Path.search`.

        The status is EXACT when the rows left out are proved to be farther, else APPROXIMATE; a
        spent budget gives INCOMPLETE and the best rows so far, an abandoned query EXHAUSTED.
        """
        if parameters.slack >= 0 and not self._has_bits:
            raise ValueError("this segment has no codes of few bits")
        answers = no_answers(len(queries), k)
        self._settled(selection, k, parameters, budget)(queries, answers)
        return answers

    def ready(self, selection: RowSet, k: int, parameters: ClusterParameters) -> Ready | None:
        """See `Ready`; of all rows only."""
        return self._settled(selection, k, parameters, NO_BUDGET) if selection.is_all else None

    def _settled(
        self, selection: RowSet, k: int, parameters: ClusterParameters, budget: Budget
    ) -> Ready:
        near, far, rerank, slack, abandon = parameters
        wanted: Any = (self._rates(near), far, FAR * selection.count / max(selection.n, 1))
        limits: Any = (self._probe, max(rerank, k), slack, abandon, *budget)
        settled: Any = (*form_of(selection), *self._held, *wanted, *limits)
        kernel: Any = scan_clusters
        return lambda queries, answers: kernel(queries, *settled, *answers)

    def _rates(self, near: tuple[float, ...]) -> Array:
        """`near` as kernels take it; there are few, of one calibration."""
        made = self._near.get(near)
        if made is None:
            if len(self._near) >= KEPT:
                self._near.clear()
            made = self._near[near] = np.array(near)
        return made

    def passing_before(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        rows: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.int64]:
        """Selected rows in the clusters nearer to each query than those of its rows, int64[m, k].

        A row is looked at when fewer rows than are enough come before it. rows int32[m, k]; a
        negative one counts as row 0.
        """
        keys = self._keys(queries)
        counts = np.zeros(len(self._centres), np.int64)
        count_ranges(selection.words(), self._centres.bounds, counts)
        order = np.argsort(keys, axis=1, kind="stable")
        sizes = counts[order]
        nearer = np.empty_like(sizes)
        np.put_along_axis(nearer, order, np.cumsum(sizes, axis=1) - sizes, axis=1)
        own = np.searchsorted(self._centres.bounds, np.maximum(rows, 0), "right") - 1
        return np.take_along_axis(nearer, own, axis=1)

    def _keys(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What centres are ranked by for each query, float64[m, c]."""
        centres, metric = self._centres.centres, self._full[2]
        if self._has_bits:
            keys = np.empty((len(queries), len(centres)))
            given: Any = (queries, metric, self._centres.mean, *self.ranks, keys)
            rank_centres(*given)
            return keys
        wide = queries.astype(np.float64)
        keys = -2.0 * (wide @ centres.T.astype(np.float64))
        if metric == COSINE:
            keys /= np.linalg.norm(wide, axis=1)[:, None]
        return keys + self._centres.length2 if metric == L2 else keys

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing: vectors, codes, centres and ties belong to the segment."""
        return {}

    @property
    def nbytes(self) -> int:
        return int(self.ranks[2].nbytes)


def product_arrays(products: PQCodes | None) -> tuple[Any, ...]:
    """codes, fields, books, rotation, and what a row's error is to its factor."""
    if products is None:
        codes, fields = np.empty((0, 0), np.uint8), np.empty((0, 0), np.float32)
        books, rotation = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)
        return frozen(codes), frozen(fields), frozen(books), frozen(rotation), 0.0
    if products.size != CENTROIDS:
        raise ValueError("fast scan needs product codes of 4 bits")
    rows = np.linspace(0, products.n - 1, SAMPLE).astype(np.int64)
    factors = products.factor(rows)
    told = factors > np.finfo(np.float32).tiny  # a row at its centre tells nothing
    ratios = products.error[rows][told] / factors[told] if told.any() else np.zeros(1)
    # An estimate's standard error is |q' - c| error / sqrt(d); that of codes of few bits is SPREAD
    # times |q' - c| times the row's factor, which slacks are counted in.
    error = float(np.median(ratios)) / math.sqrt(len(products.mean))
    parts = (products.codes, products.fields, products.books, products.rotation)
    return *parts, error / SPREAD
