"""The graph: a walk over links between near rows, for selections that are not small."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids
from fanns.codes import Int8Codes
from fanns.errors import CorruptIndexError, InputError
from fanns.kernels.graph_answer import ONE_HOP, TWO_HOP
from fanns.kernels.graph_parts import SHIFTS
from fanns.kernels.graph_search import check_links, search_graph, search_graph_records
from fanns.kernels.graph_walk import MOST_FRESH
from fanns.kernels.jit import Array, frozen
from fanns.paths import NO_BUDGET, Answers, Budget, Ready, RowSet, no_answers
from fanns.paths.graph_builder import BEAM, DEGREE, PLACES, build_links
from fanns.paths.graph_builder import Links as BuiltLinks
from fanns.vectors import DenseVectors

__all__ = ["ONE_HOP", "TWO_HOP", "GraphParameters", "GraphPath", "Links"]

FEWEST_BITS = 2
"""Records of fewer bits a dimension are too coarse: a walk on one bit takes twice the codes."""

MOST_CLUSTERS = 65_536
"""Above this, two bytes do not tell a row's cluster, and walks go by int8 codes."""

MOST_PLACES = 512
"""Above this, links would not fit the walk's buffers."""

_NO_WORDS = frozen(np.empty(0, np.uint64))
NO_ROWS = frozen(np.empty(0, np.int32))
_ALL_LINKS = frozen(np.zeros(SHIFTS, np.int64))


class Links(NamedTuple):
    """Which links a walk goes by; see `kernels.graph_parts`.

    links int32[m, places]; marks int32[n] or int32[0]; members int32[m] or int32[0]; part
    int64[SHIFTS + levels - 1].
    """

    links: Array
    marks: Array = NO_ROWS
    members: Array = NO_ROWS
    part: Array = _ALL_LINKS


class GraphParameters(NamedTuple):
    """How to walk.

    `mode`: ONE_HOP follows failing rows and collects the passing ones, TWO_HOP meets passing rows
    only. `ef`: rows of the beam at most, at least k are used. `rerank`: rows compared in full
    precision, at least k and at most the beam are used. `walk_limit`: codes compared and lists of
    links read, in all, before the walk gives up with status EXHAUSTED; 0 for no limit. `gap`: rows
    are followed that are farther than the k-th best by no more than this share of its distance
    (squared under l2; under ip, of how far its product is from the largest that could be).
    """

    mode: int
    ef: int
    rerank: int
    walk_limit: int = 0
    gap: float = math.inf


class _Scratch(threading.local):
    """Buffers of one thread: bitmaps, keys, rows."""

    def __init__(self) -> None:
        self.held: tuple[Array, Array, Array] = (
            np.empty(0, np.uint64),
            np.empty(0, np.int64),
            np.empty(0, np.int32),
        )

    def grown(self, bits: int, keys: int, rows: int) -> tuple[Array, Array, Array]:
        """The buffers, each at least as long as asked for."""
        old = self.held
        sizes = (bits, keys, rows)
        if any(len(array) < size for array, size in zip(old, sizes, strict=True)):
            self.held = (
                np.empty(max(bits, len(old[0])), np.uint64),
                np.empty(max(keys, len(old[1])), np.int64),
                np.empty(max(rows, len(old[2])), np.int32),
            )
        return self.held


class GraphPath:
    """A proximity graph of all rows that knows nothing of attributes, and its filtered walk.

    `links` int32[n, places] holds row numbers, -1 behind the last; `entries` int32[c] the middle
    row of each cluster that is not empty.
    """

    name = "graph"

    def __init__(
        self,
        links: Array,
        entries: Array,
        vectors: DenseVectors,
        codes: Int8Codes,
        ties: Array,
        bounds: Array,
        bits: tuple[BitCodes, Centroids] | None = None,
    ) -> None:
        self.links = frozen(links)
        self.entries = frozen(entries)
        self._n = len(self.links)
        self._own = Links(self.links)
        self.ties = frozen(ties)
        self._scratch = _Scratch()
        self._records: tuple[Any, ...] = ()
        near: tuple[Array, Array, Array] = (codes.codes, codes.scale, codes.square)
        standing = self.entries
        if bits is not None and bits[0].bits >= FEWEST_BITS and len(bits[1]) <= MOST_CLUSTERS:
            coarse, centres = bits
            near = (centres.codes, centres.scale, centres.square)
            sizes = np.diff(centres.bounds)
            standing = np.flatnonzero(sizes > 0)
            owners = np.arange(len(standing), dtype=np.uint16)
            cluster_of = frozen(np.repeat(owners, sizes[standing]))
            held = (coarse.records, coarse.factors, coarse.signs)
            self._records = (*held, coarse.bits, cluster_of)
        self._arrays = (
            bounds,
            self.entries,
            *(frozen(array[standing]) for array in near),
            codes.codes,
            codes.scale,
            codes.square,
            codes.mean,
            codes.limits,
            vectors.exact,
            vectors.norms,
            vectors.metric,
            self.ties,
        )

    @classmethod
    def build(
        cls,
        vectors: DenseVectors,
        codes: Int8Codes,
        ties: Array,
        cluster_offsets: Array,
        centroids: Array,
        *,
        seed: int = 0,
        threads: int | None = 1,
        progress: Callable[[int, int], None] | None = None,
        places: int = PLACES,
        degree: int = DEGREE,
        beam: int = BEAM,
        links_of: Callable[..., BuiltLinks] = build_links,
    ) -> GraphPath:
        """Link all rows; deterministic, whatever the number of threads (None: all processors).

        Args:
            vectors, codes: of the same rows, which stand in cluster order.
            ties: int64[n], order of rows of equal distance.
            cluster_offsets: int64[c + 1]; cluster i is rows offsets[i]..offsets[i + 1].
            centroids: of the clusters; not used, as every path is built with the same arguments.
            seed: of the order of insertion.
            progress: called with (different rows linked, different rows).
            places: links that a row can hold.
            degree: links that a row keeps when it is pruned, less than `places`.
            beam: width of the searches of the build.
            links_of: what makes the links, by the arguments of `build_links`.

        Raises:
            InputError: `degree`, `places` or `beam` is out of range.
        """
        if not 1 <= degree < places <= MOST_PLACES or beam < 1:
            raise InputError(
                f"graph: expected 1 <= degree < places <= {MOST_PLACES} and beam >= 1, "
                f"got degree={degree}, places={places}, beam={beam}"
            )
        bounds = _bounds(cluster_offsets)
        links, entries = links_of(
            vectors.norms,
            codes,
            bounds,
            seed=seed,
            threads=threads,
            progress=progress,
            places=places,
            degree=degree,
            beam=beam,
        )
        return cls(links, entries, vectors, codes, ties, bounds)

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, Array],
        vectors: DenseVectors,
        codes: Int8Codes,
        ties: Array,
        cluster_offsets: Array,
        centroids: Array,
        bits: tuple[BitCodes, Centroids] | None = None,
    ) -> GraphPath:
        """A graph from what `arrays` gave; every row number in it is checked.

        With `bits`, codes of at least FEWEST_BITS a dimension and the clusters that they are
        relative to, walks go by these.

        Raises:
            CorruptIndexError: an array has the wrong shape or type, or a row number out of range.
        """
        links, entries = frozen(arrays["links"]), frozen(arrays["entries"])
        bounds, n = _bounds(cluster_offsets), vectors.n
        if links.dtype != np.int32 or links.ndim != 2 or links.shape[0] != n:
            raise CorruptIndexError(
                f"graph/links: expected int32[{n}, places], got {links.dtype}{links.shape}"
            )
        if not 1 < links.shape[1] <= MOST_PLACES:
            raise CorruptIndexError(f"graph/links: {links.shape[1]} places a row; rebuild")
        if entries.dtype != np.int32 or entries.shape != (len(bounds) - 1,):
            raise CorruptIndexError(
                f"graph/entries: expected int32[{len(bounds) - 1}], "
                f"got {entries.dtype}{entries.shape}"
            )
        if np.any(entries < bounds[:-1]) or np.any(entries >= bounds[1:]):
            raise CorruptIndexError("graph/entries: a row that is outside its cluster")
        wrong = int(check_links(links, n))
        if wrong >= 0:
            raise CorruptIndexError(
                f"graph/links: row {wrong} links to a row outside 0..{n - 1}; rebuild the index"
            )
        return cls(links, entries, vectors, codes, ties, bounds, bits)

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of each query that a walk finds; see `Path.search`.

        The status is APPROXIMATE; EXACT when every selected row was compared in full precision;
        EXHAUSTED when the walk limit ended the walk or fewer than min(k, matches) rows were found;
        INCOMPLETE when the budget ended it.
        """
        everything = selection.count == self._n
        return self.walk(queries, selection, k, parameters, budget, self._own, everything)

    def walk(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
        by: Links,
        everything: bool,
    ) -> Answers:
        """`search` by other links than the graph's own; these lead to every selected row.

        `everything`: all rows of their part are selected; the selection is not looked at then.
        """
        answers = no_answers(len(queries), k)
        words = _NO_WORDS if everything else selection.words()
        walk = self.settled(words, selection.count, k, parameters, budget, by, everything)
        walk(queries, answers)
        return answers

    def ready(self, selection: RowSet, k: int, parameters: GraphParameters) -> Ready | None:
        """See `Ready`; of all rows only."""
        whole = selection.count == self._n
        return self.ready_by(self._n, k, parameters, self._own) if whole else None

    def ready_by(self, count: int, k: int, parameters: GraphParameters, by: Links) -> Ready:
        """The same by other links, all rows of whose part are selected, `count` of them."""
        return self.settled(_NO_WORDS, count, k, parameters, NO_BUDGET, by, True)

    def settled(
        self,
        words: Array,
        count: int,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
        by: Links,
        everything: bool,
    ) -> Ready:
        """A walk of which all but the queries is settled."""
        mode, ef, rerank, walk_limit, gap = parameters
        n, places = self._n, by.links.shape[1]
        beam = ef if ef > k else k
        keys = beam if mode == TWO_HOP or everything else beam + n
        rows = 2 * MOST_FRESH + places + beam
        limits = (mode, beam, min(max(rerank, k), beam), gap, walk_limit, *budget)
        given: Any = (everything, words, count, *by, *self._arrays, *self._records, *limits)
        kernel: Any = search_graph_records if self._records else search_graph
        scratch = self._scratch

        def walk(queries: npt.NDArray[np.float32], answers: Answers) -> None:
            held = scratch.held
            if len(held[1]) < keys or len(held[2]) < rows:
                held = scratch.grown(2 * (n + 63 >> 6), keys, rows)
            kernel(queries, *given, *held, *answers)

        return walk

    def arrays(self) -> dict[str, npt.NDArray[np.int32]]:
        """Arrays by name, to be written down."""
        return {"links": self.links, "entries": self.entries}

    @property
    def nbytes(self) -> int:
        return int(self.links.nbytes + self.entries.nbytes)


def _bounds(offsets: Array) -> Array:
    """Bounds of the clusters that are not empty."""
    return frozen(np.unique(np.asarray(offsets, np.int64)))
