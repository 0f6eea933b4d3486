"""Blocks of a column: the rows of an interval or of a value in blocks of 64 near ones.

A filter on the column is answered from the blocks nearest to the query, whose rows stand side by
side as those of an index that holds just these rows: see `kernels/scan_blocks.py`. Parts of the
column's order have blocks of their own: for intervals it is cut every so many ranks, for values
each frequent one is a part.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.codes import ALIGNMENT, Int8Codes
from fanns.errors import CorruptIndexError
from fanns.kernels.distance import L2
from fanns.kernels.fastscan import GROUP_BYTES, ROWS, groups_of
from fanns.kernels.jit import Array, frozen
from fanns.kernels.scan_blocks import FIELDS, scan_blocks
from fanns.paths import NO_BUDGET, Answers, Budget, Ready, RowSet, no_answers
from fanns.paths.clusters import probed, product_arrays
from fanns.paths.column_path import (
    BLOCKS_LEAST,
    BLOCKS_MOST,
    FOLDERS,
    RANGE,
    Covering,
    PostingLists,
    codes_of,
    narrowest,
    title_of,
    united,
)
from fanns.paths.locality import FAR
from fanns.pq_codes import PQCodes
from fanns.selection import Selection
from fanns.vectors import DenseVectors

Runs = list[tuple[int, int, int, int]]
"""First block, the one behind the last, first rank and the one behind the last, of each run."""

NO_WORDS = frozen(np.empty(0, np.uint64))

EXAMPLES = 4
"""Values of about a size to calibrate on."""


PART = 4_096
"""Ranks of a part of an ordered column: an interval of 1,000 rows lies in one or two, and one of
20,000 is spread over five. On abstracts, parts of 8,192 need a quarter fewer blocks for 10,000 rows
and twice as many for 1,000."""


class BlockParameters(NamedTuple):
    """As `ClusterParameters` has them, rates being those among the
    rows that the column's part of the filter leaves.
    """

    near: tuple[float, ...]
    far: float
    rerank: int
    slack: float


class Quantized(NamedTuple):
    """A segment's rows with their int8 codes, and product codes, whose quantizer blocks share."""

    vectors: DenseVectors
    codes: Int8Codes
    products: PQCodes


class ColumnBlocks:
    """Parts of a column's order and their blocks.

    - `parts` int64[p, 3]: the first rank, the one behind the last, and the first block of each;
      they rise and do not overlap
    - `ranks` int32[blocks, 64]: where each block's rows stand in the column's order, -1 for none
    - `codes` uint8[blocks, w], `fields` float32[blocks, 128]: as in `PQCodes`, around the centres
    - `centres` uint8[blocks, w], `scale` float32, `square` and `length2` float64[blocks]: as in
      `Centroids`
    """

    def __init__(
        self,
        folder: str,
        column: str,
        rows: Quantized,
        ties: Array,
        postings: PostingLists,
        arrays: Mapping[str, Array],
    ) -> None:
        self.title, self.postings = title_of(folder, column), postings
        self.is_ranged = FOLDERS[folder] == RANGE
        self.parts = frozen(arrays["parts"])
        self.ranks = frozen(arrays["ranks"])
        self._starts, self._stops = self.parts[:, 0].tolist(), self.parts[:, 1].tolist()
        self._last: tuple[list[int], tuple[Covering, Runs] | None] = ([], None)
        self._near: tuple[tuple[float, ...], Array] = ((), np.empty(0))
        self._first = [*self.parts[:, 2].tolist(), len(self.ranks)]
        names = ("codes", "fields", "centres", "scale", "square", "length2")
        _, _, *quantizer = product_arrays(rows.products)
        vectors, codes = rows.vectors, rows.codes
        self._ties, self._metric, self._mean = frozen(ties), vectors.metric, codes.mean
        self._codes, self._scale = frozen(arrays["centres"]), frozen(arrays["scale"])
        self._length2 = frozen(arrays["length2"])
        self._held: Any = (
            frozen(postings.rows),
            self.ranks,
            *(frozen(arrays[name]) for name in names),
            *quantizer,
            *(codes.codes, codes.scale, codes.square, codes.mean, codes.limits),
            *(vectors.exact, vectors.norms, vectors.metric, self._ties),
        )

    @classmethod
    def load(
        cls,
        folder: str,
        column: str,
        rows: Quantized,
        ties: Array,
        postings: PostingLists,
        arrays: Mapping[str, Array],
    ) -> ColumnBlocks:
        """Raises CorruptIndexError when a scan could not trust the arrays."""
        ranks, parts, blocks = arrays["ranks"], arrays["parts"], len(arrays["ranks"])
        width = groups_of(rows.products.subspaces) * GROUP_BYTES
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "parts": ((len(parts), 3), np.int64),
            "ranks": ((blocks, ROWS), np.int32),
            "codes": ((blocks, width), np.uint8),
            "fields": ((blocks, 2 * ROWS), np.float32),
            "centres": ((blocks, rows.codes.width), np.uint8),
            "scale": ((blocks,), np.float32),
            "square": ((blocks,), np.float64),
            "length2": ((blocks,), np.float64),
        }
        for name, (shape, kind) in shapes.items():
            array = arrays[name]
            if array.shape != shape or array.dtype != kind:
                told = f"{array.dtype}{array.shape}, expected {np.dtype(kind)}{shape}"
                raise CorruptIndexError(f"{name}: {told}")
        last = len(postings.rows)
        if (ranks < -1).any() or (ranks >= last).any():
            raise CorruptIndexError(f"ranks: places outside 0..{last - 1}")
        ends = parts[:, :2].ravel()
        sizes = -(-(parts[:, 1] - parts[:, 0]) // ROWS)
        rising = (np.diff(ends) >= 0).all() and (sizes > 0).all()
        inside = len(ends) == 0 or (ends[0] >= 0 and ends[-1] <= last)
        if (
            not rising
            or not inside
            or np.diff(parts[:, 2], append=blocks).tolist() != sizes.tolist()
        ):
            raise CorruptIndexError("parts: not parts of the column's order")
        if len(parts) and parts[0, 2] != 0:
            raise CorruptIndexError("parts: the first does not begin with the first block")
        return cls(folder, column, rows, ties, postings, arrays)

    def covering(self, bounds: list[int]) -> Covering | None:
        """See `ColumnPath`; an interval, or a few values, of BLOCKS_LEAST to BLOCKS_MOST rows."""
        found = self._found(bounds)
        return None if found is None else found[0]

    def _found(self, bounds: list[int]) -> tuple[Covering, Runs] | None:
        """The covering of bounds and its runs of blocks; the last one is remembered."""
        asked, found = self._last
        if asked is not bounds:
            found = self._find(bounds)
            self._last = bounds, found
        return found

    def _find(self, bounds: list[int]) -> tuple[Covering, Runs] | None:
        walks = 1
        if self.is_ranged:
            if len(bounds) != 2:
                return None
        else:
            codes = codes_of(bounds)
            if codes is None:
                return None
            walks = 1 if self.postings.single else len(codes)
        runs = self._runs(bounds)
        rows = sum([high - low for _, _, low, high in runs])
        if not BLOCKS_LEAST <= rows <= BLOCKS_MOST:
            return None
        blocks = sum([last - first for first, last, _, _ in runs])
        return Covering(self.title, rows, walks, blocks), runs

    def _runs(self, bounds: list[int]) -> Runs:
        """The blocks and ranks of each run of codes; none where parts do not cover them all."""
        at, starts, stops = self.postings.offsets.item, self._starts, self._stops
        found: Runs = []
        for i in range(0, len(bounds), 2):
            low, high = at(bounds[i] + 1), at(bounds[i + 1] + 1)
            if low == high:
                continue
            first, last = bisect_right(stops, low), bisect_left(starts, high)
            if first >= last or starts[first] > low or stops[last - 1] < high:
                return []
            if stops[first : last - 1] != starts[first + 1 : last]:
                return []
            found.append((self._first[first], self._first[last], low, high))
        return found

    def example(self, rows: int, rng: np.random.Generator) -> list[int]:
        """See `ColumnPath`; whole values around a random interval, or one of about this size."""
        offsets = self.postings.offsets
        if not self.is_ranged:
            sizes = self.parts[:, 1] - self.parts[:, 0]
            near = np.argsort(np.abs(np.log(sizes / rows)), kind="stable")[:EXAMPLES]
            start = self.parts[rng.choice(near), 0]
            code = int(np.searchsorted(offsets, start, "right")) - 2
            return [code, code + 1]
        first = int(rng.integers(0, self._stops[-1] - rows + 1))
        low = int(np.searchsorted(offsets, first, "right")) - 1
        high = max(int(np.searchsorted(offsets, first + rows)), low + 1)
        return [low - 1, high - 1]

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: Selection,
        k: int,
        parameters: BlockParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of the blocks looked at; EXACT where these are all."""
        bounds = narrowest(self, selection.spans)
        covering, runs = self._found(bounds) or (None, [])
        if covering is None or covering.walks == 1:
            return self._scan(queries, selection, runs, k, parameters, budget)
        if budget.max_work:
            budget = budget._replace(max_work=max(1, budget.max_work // covering.walks))
        found = []
        for code in codes_of(bounds) or []:  # a row may have several of them
            own = selection & self.postings.slot(code)
            if own.count:
                few, part = min(k, own.count), self._runs([code, code + 1])
                found.append(self._scan(queries, own, part, few, parameters, budget))
        return united(found, self._ties, k, selection.count)

    def _scan(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        runs: Runs,
        k: int,
        parameters: BlockParameters,
        budget: Budget,
    ) -> Answers:
        rows = sum([high - low for _, _, low, high in runs])
        everything = selection.count == rows
        words = NO_WORDS if everything else selection.words()
        answers = no_answers(len(queries), k)
        self._settled(words, everything, selection.count, runs, k, parameters, budget)(
            queries, answers
        )
        return answers

    def ready(self, selection: Selection, k: int, parameters: BlockParameters) -> Ready | None:
        """See `Ready`; of a single interval or value."""
        covering, runs = self._found(narrowest(self, selection.spans)) or (None, [])
        if covering is None or covering.walks > 1 or covering.rows != selection.count:
            return None
        return self._settled(NO_WORDS, True, selection.count, runs, k, parameters, NO_BUDGET)

    def _settled(
        self,
        words: Array,
        everything: bool,
        count: int,
        runs: Runs,
        k: int,
        parameters: BlockParameters,
        budget: Budget,
    ) -> Ready:
        """The scan of runs of blocks, of whose rows `count` are selected."""
        near, far, rerank, slack = parameters
        rows = sum([high - low for _, _, low, high in runs])
        taken = frozen(np.array(runs, np.int64).reshape(-1, FIELDS))
        kept = self._near
        if kept[0] is not near:
            kept = self._near = near, np.array(near)
        given: Any = (everything, words, taken, *self._held, kept[1])
        probe = probed(sum([last - first for first, last, _, _ in runs]))
        limits: Any = (far, FAR * count / max(rows, 1), probe, max(rerank, k), slack)
        settled: Any = (*given, *limits, *budget)
        kernel: Any = scan_blocks
        return lambda queries, answers: kernel(queries, *settled, *answers)

    def passing_before(
        self, queries: npt.NDArray[np.float32], bounds: list[int], rows: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64]:
        """Rows within bounds in blocks nearer to each query than those of its rows, int64[m, k].

        rows int32[m, k], within the bounds; a negative one counts as the first.
        """
        ((_, _, low, high),) = self._runs(bounds)
        place = np.zeros(self.postings.n, np.int64)
        place[self.postings.rows[low:high]] = np.arange(low, high)
        counted = np.asarray((self.ranks >= low) & (self.ranks < high))
        block_of = np.zeros(len(self.postings.rows), np.int64)
        block_of[self.ranks[counted]] = np.nonzero(counted)[0]
        counts = counted.sum(axis=1)
        order = np.argsort(self._keys(queries), axis=1, kind="stable")
        sizes = counts[order]
        nearer = np.empty_like(sizes)
        np.put_along_axis(nearer, order, np.cumsum(sizes, axis=1) - sizes, axis=1)
        return np.take_along_axis(nearer, block_of[place[np.maximum(rows, 0)]], axis=1)

    def _keys(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What blocks are ranked by for each query, float64[m, blocks]."""
        wide = queries.astype(np.float64)
        products = wide @ self._centres().T
        return self._length2 - 2.0 * products if self._metric == L2 else -products

    def _centres(self) -> npt.NDArray[np.float64]:
        """The centres that the codes stand for, float64[blocks, d]."""
        steps = self._codes[:, : len(self._mean)].astype(np.float64) - 128.0
        return np.asarray(steps * self._scale[:, None] + self._mean)


def block_bytes(rows: int, d: int) -> int:
    """Bytes of the blocks of a part of so many rows of d dimensions."""
    codes = groups_of(-(-d // 4)) * GROUP_BYTES
    centre = -(-d // ALIGNMENT) * ALIGNMENT + 20
    return -(-rows // ROWS) * (codes + 2 * ROWS * 4 + ROWS * 4 + centre)


def blocks_for(rows: int, is_ranged: bool) -> int:
    """About how many blocks an interval, or a value, of so many rows is in."""
    return -(-rows // ROWS) + (PART // ROWS if is_ranged else 0)
