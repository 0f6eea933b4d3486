"""Rows of an embedding table as it is: scanned by partial scores, or walked by product keys.

Both give the exact nearest of the decoded rows, which are never held.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array, frozen
from fanns.kernels.native import compare_native, scan_native
from fanns.kernels.native_keys import walk_native
from fanns.kernels.scan import ALL
from fanns.kernels.stores import (
    BLOCK_HEAD,
    BLOCK_NUMBERS,
    CODED,
    COLUMN_HEAD,
    COLUMN_NUMBERS,
    CONCAT,
    HASHED,
    MIXED,
    MULT,
    QUOTIENT,
    SIGNED,
)
from fanns.paths import (
    APPROXIMATE,
    EXACT,
    NO_BUDGET,
    Answers,
    Budget,
    Ready,
    RowSet,
    form_of,
    no_answers,
)
from fanns.stores_base import NativeStore

NO_ROWS: Array = frozen(np.empty(0, np.int32))
NO_WORDS: Array = frozen(np.empty(0, np.uint64))
NO_TIES: Array = frozen(np.empty(0, np.int64))

# Nanoseconds on one thread, measured at 64 dimensions (bench/NOTES.md); which of two exact ways is
# taken depends on their ratios alone.
FIXED_NS = 3_000.0
ENTRY_NS, PRODUCT_NS = 5.0, 0.12  # a partial score, and each of its products
ROW_NS = 1.5
DECODE_NS, VALUE_NS = 10.0, 1.2  # a decoded row, and each of its values
BLOCK_NS = 6.0
CODE_NS, HASH_NS = 1.6, 2.5
PAIR_NS, SORT_NS = 90.0, 15.0  # a pair taken in order, a half key sorted
MORE_PAIRS = 3.0
"""A walk may take this multiple of the pairs that are expected, and as many as cost a scan."""


class Offer(NamedTuple):
    """What a path would take for a selection: its parameters, nanoseconds, keys to be formed."""

    parameters: Any
    predicted_ns: float
    keys: float


class NativeParameters(NamedTuple):
    """`look_ups`: partial scores of all entries first, where rows share them; else gathered."""

    look_ups: bool


class KeysParameters(NamedTuple):
    """Half keys sorted at first, and most pairs before a query is given up."""

    depth: int
    most: int


class NativePath:
    """Scan of the selected rows of a store.

    `ties` int64[n] orders rows of equal distance, empty where the row numbers do. Row r is row
    `order[r]` of the store, int32[n]; empty where it is row r.
    """

    name = "native"

    def __init__(
        self, store: NativeStore, metric: int, ties: Array = NO_TIES, order: Array = NO_ROWS
    ) -> None:
        self._store, self._metric = store, metric
        self._ties, self._order = frozen(ties), frozen(order)
        self._costs = _costs(store, metric)

    def offer(self, count: int) -> Offer:
        """What it takes to scan so many rows."""
        gathered, looked_up, entries, products = self._costs
        scored = entries * ENTRY_NS + products * PRODUCT_NS
        look_ups = looked_up is not None and scored + count * looked_up < count * gathered
        if looked_up is not None and look_ups:
            return Offer(NativeParameters(True), FIXED_NS + scored + count * looked_up, count)
        return Offer(NativeParameters(False), FIXED_NS + count * gathered, count)

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: NativeParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of each query, exactly; see `Path.search`."""
        answers = no_answers(len(queries), k)
        self._into(queries, selection, parameters, budget, answers)
        return answers

    def ready(self, selection: RowSet, k: int, parameters: NativeParameters) -> Ready:
        """This search again, for other queries; see `Ready`."""
        return lambda queries, answers: self._into(
            queries, selection, parameters, NO_BUDGET, answers
        )

    def _into(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        parameters: NativeParameters,
        budget: Budget,
        answers: Answers,
    ) -> None:
        store = self._store
        keyed = is_keyed(store, self._metric, parameters.look_ups)
        size = prepared_size(store, self._metric) if keyed and parameters.look_ups else 0
        if store.kind == CODED and not parameters.look_ups:
            size = 0
        given: Any = (queries, *form_of(selection), store.n, self._order, store.kind, *store.held)
        rest: Any = (keyed, size, store.reach, store.rounds, self._metric, self._ties, *budget)
        everything: Any = (*given, *rest, *answers)
        scan_native(*everything)

    def compare(self, queries: npt.NDArray[np.float32], shortlist: Answers, k: int) -> Answers:
        """The k nearest of the rows that another path has found for each query."""
        answers = no_answers(len(queries), k)
        answers.status[:], answers.work[:] = shortlist.status, shortlist.work
        store = self._store
        found: Any = (frozen(shortlist.rows), frozen(shortlist.found))
        given: Any = (queries, *found, self._order, store.kind, *store.held)
        out: Any = (answers.rows, answers.distances, answers.found, answers.work)
        everything: Any = (*given, self._metric, self._ties, *out)
        compare_native(*everything)
        return answers

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing: the store and ties belong to the segment."""
        return {}

    @property
    def nbytes(self) -> int:
        return 0


class KeysPath:
    """Product keys of a quotient-remainder store; arguments as for `NativePath`."""

    name = "keys"

    def __init__(
        self, store: NativeStore, metric: int, ties: Array = NO_TIES, order: Array = NO_ROWS
    ) -> None:
        self._store, self._metric = store, metric
        self._ties, self._order = frozen(ties), frozen(order)
        inverse = np.empty(len(order), np.int32)
        inverse[order] = np.arange(len(order), dtype=np.int32)
        self._inverse = frozen(inverse)
        numbers, _, second, *_ = store.held
        self._halves = (int(numbers[1]), len(second) // int(numbers[3]))
        self._dimensions = int(numbers[1] * numbers[2]) + len(second)

    def offer(self, count: int, k: int) -> Offer:
        """What a walk takes where rows pass without regard to the query."""
        m, c = self._halves
        pairs = (k + 2.0) * m * c / max(count, 1)
        depth = min(int(4 * math.sqrt(pairs)) + 16, max(m, c))
        scored = (m + c) * ENTRY_NS + self._dimensions * PRODUCT_NS
        sort = SORT_NS * (min(depth, m) + min(depth, c))
        masked = 0.0 if count == self._store.n else self._store.n / 64 * 2.5
        predicted = FIXED_NS + scored + sort + pairs * PAIR_NS + k * VALUE_NS * self._store.d
        scan = count * ROW_NS + scored
        most = math.ceil(max(MORE_PAIRS * pairs, scan / PAIR_NS))
        return Offer(KeysParameters(depth, most), predicted + masked, pairs)

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: KeysParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of each query; see `Path.search`.

        The status is EXACT, INCOMPLETE for a spent budget, or EXHAUSTED where the walk took more
        pairs than it may.
        """
        answers = no_answers(len(queries), k)
        self._into(queries, selection, parameters, budget, answers)
        return answers

    def ready(self, selection: RowSet, k: int, parameters: KeysParameters) -> Ready:
        """This search again, for other queries; see `Ready`."""
        return lambda queries, answers: self._into(
            queries, selection, parameters, NO_BUDGET, answers
        )

    def _into(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        parameters: KeysParameters,
        budget: Budget,
        answers: Answers,
    ) -> None:
        store = self._store
        numbers, first, second, codes, words = store.held
        form, mask = (ALL, NO_WORDS) if selection.is_all else (ALL + 1, selection.words())
        given: Any = (queries, form, mask, store.n, self._order, self._inverse)
        rest: Any = (store.reach, store.rounds, self._metric, self._ties, *parameters, *budget)
        everything: Any = (*given, numbers, first, second, codes, words, *rest, *answers)
        walk_native(*everything)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing: the store and ties belong to the segment."""
        return {}

    @property
    def nbytes(self) -> int:
        return int(self._inverse.nbytes)


class Shortlist:
    """Another path over stand-ins for the rows, whose longer answers are compared natively.

    `scale`: what stand-ins are multiplied by to be rows, which l2 has to know.
    """

    def __init__(self, path: Any, native: NativePath, scale: float) -> None:
        self.name = path.name
        self._path, self._native, self._scale = path, native, scale

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: Any,
        budget: Budget,
    ) -> Answers:
        """The k nearest of `wider(k)` rows that the path finds; APPROXIMATE but where it is all."""
        wanted = min(wider(k), selection.count)
        found = self._path.search(
            scaled(queries, self._scale), selection, wanted, parameters, budget
        )
        if wanted < selection.count:
            found.status[found.status == EXACT] = APPROXIMATE
        return self._native.compare(queries, found, k)

    def ready(self, selection: RowSet, k: int, parameters: Any) -> None:
        """None: a shortlist is compared by a call of its own."""
        return None


def wider(k: int) -> int:
    """Rows of a shortlist of stand-ins: those that rounding to 8 bits moved are among them."""
    return 2 * k + 16


def scaled(queries: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.float32]:
    """Queries as stand-ins are compared with them."""
    return queries if scale == 1.0 else np.ascontiguousarray(queries / np.float32(scale))


def refused_keys(store: NativeStore, metric: int) -> str | None:
    """Why a store has no product keys under a metric; None where it has."""
    if store.kind != QUOTIENT:
        return f"a {store.name.replace('_', ' ')} table is no sum of two halves"
    op = int(store.held[0][0])
    if op == MULT:
        return "products of two halves are no sums"
    if metric == COSINE:
        return "cosine divides by lengths, which are no sums of halves"
    if metric == L2 and op != CONCAT:
        return "squared distances to sums of two rows are no sums of halves"
    return None


def is_keyed(store: NativeStore, metric: int, look_ups: bool) -> bool:
    """Whether rows have keys by which they are compared without being decoded."""
    if store.kind == QUOTIENT:
        op = int(store.held[0][0])
        return look_ups and (op == CONCAT or (op != MULT and metric == IP))
    if store.kind == MIXED:
        return look_ups and metric == IP
    if store.kind == CODED:
        return metric == IP or not store.rounds
    return True


def prepared_size(store: NativeStore, metric: int) -> int:
    """Numbers that a query is prepared to, 0 for none; see `kernels/native.py`."""
    numbers, _, second, *_ = store.held
    twice = 2 if metric == COSINE else 1
    if store.kind == QUOTIENT:
        return twice * (int(numbers[1]) + len(second) // int(numbers[3]))
    if store.kind == MIXED:
        return int(numbers[0] * numbers[BLOCK_HEAD + 2 :: BLOCK_NUMBERS].max())
    if store.kind == CODED:
        columns = int(numbers[1] * numbers[2])
        end = COLUMN_HEAD + COLUMN_NUMBERS * columns
        return twice * columns * int(numbers[COLUMN_HEAD + 2 : end : COLUMN_NUMBERS].max())
    return 0


def _costs(store: NativeStore, metric: int) -> tuple[float, float | None, float, float]:
    """Nanoseconds of a row that is gathered or decoded, of one by partial scores (None: there are
    none), how many scores there are, and of how many products.
    """
    numbers, first, second, _, _ = store.held
    decoded = DECODE_NS + VALUE_NS * store.d
    if store.kind == QUOTIENT:
        entries = prepared_size(store, IP)
        row = ROW_NS if metric != COSINE else 4 * ROW_NS
        keyed = is_keyed(store, metric, True)
        return decoded, row if keyed else None, entries, len(first) + len(second)
    if store.kind == MIXED:
        widths = numbers[BLOCK_HEAD + 2 :: BLOCK_NUMBERS]
        mean = len(first) / max(store.n, 1)
        if metric == IP:
            row = BLOCK_NS + PRODUCT_NS * mean
            return decoded * (1 + mean / 8), row, float(widths.sum()), float(len(second))
        return decoded * (1 + mean / 8), None, 0, 0
    if store.kind == CODED:
        columns = int(numbers[1] * numbers[2])
        code = CODE_NS + (HASH_NS if int(numbers[0]) in (HASHED, SIGNED) else 0.0)
        row = ROW_NS + columns * (code + VALUE_NS * int(numbers[3]))
        if not is_keyed(store, metric, False):
            return row + decoded, None, 0, 0
        entries = prepared_size(store, IP)
        by_tables = ROW_NS + columns * (code + 1.0)
        return row, by_tables, entries, float(entries * int(numbers[3]))
    values = len(first) / max(store.n, 1)
    return BLOCK_NS + 1.5 * values, None, 0, 0
