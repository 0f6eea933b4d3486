"""The scan: every selected row is looked at, by its code or in full precision."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids
from fanns.codes import Int8Codes
from fanns.kernels.jit import Array, frozen
from fanns.kernels.lists import WORDS as LINE_WORDS
from fanns.kernels.lists import list_codes, list_exact, many_lists
from fanns.kernels.scan import scan_codes, scan_exact
from fanns.kernels.scan_bits import scan_bits
from fanns.paths import APPROXIMATE, EXACT, INCOMPLETE, Answers, Budget, RowSet, form_of, no_answers
from fanns.vectors import DenseVectors


class ScanParameters(NamedTuple):
    """How deep a scan looks.

    `rerank`: most rows of the int8 scan that are compared in full precision; 0 = all rows, without
    codes. `prove`: queries whose answer the codes cannot prove are scanned in full precision, so
    that the status is always EXACT, mostly at the price of the codes. `bits`: above 0, the int8
    scan sees not all selected rows, but the best this many by the estimates of `BitCodes`.
    """

    rerank: int
    prove: bool = False
    bits: int = 0


class ScanPath:
    """Scan of a segment: exact, or int8 codes with a shortlist in full precision.

    `ties` int64[n] orders rows of equal distance (the id, or the rank of a string id). Codes of
    few bits come with the clusters that they are relative to.
    """

    name = "scan"

    def __init__(
        self,
        vectors: DenseVectors,
        codes: Int8Codes,
        ties: Array,
        bits: tuple[BitCodes, Centroids] | None = None,
    ) -> None:
        self._n, self._metric = vectors.n, vectors.metric
        self._ties = frozen(ties)
        self._full = (vectors.exact, vectors.norms, vectors.metric, self._ties)
        self._codes = (codes.codes, codes.scale, codes.square, codes.mean, codes.limits)
        self._bits: tuple[BitCodes, tuple[Array, Array, Array, Array]] | None = None
        if bits is not None:
            bounds, centres, scale, square, *_ = bits[1].arrays
            self._bits = (bits[0], (bounds, centres, scale, square))

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: ScanParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of each query; see `Path.search`.

        A shortlist of the bits is reranked by int8 codes until none of the rest of it can matter.
        The status is EXACT for full-precision scans, for selections no larger than the shortlist,
        and when the bound on the codes' error proves it; else APPROXIMATE. A spent budget gives
        INCOMPLETE and the best rows so far.
        """
        answers = no_answers(len(queries), k)
        form, rows, words = form_of(selection)
        max_work, deadline = budget
        shortlist = parameters.rerank
        if parameters.bits and selection.count > max(parameters.bits, k):
            if self._bits is None:
                raise ValueError("this segment has no codes of few bits")
            held, centres = self._bits
            scan_bits(
                queries,
                form,
                rows,
                words,
                self._n,
                *self._full,
                held.records,
                held.factors,
                held.signs,
                held.bits,
                *centres,
                *self._codes,
                max(parameters.bits, k),
                max_work,
                deadline,
                *answers,
            )
            return answers
        if shortlist == 0 or selection.count <= max(shortlist, k):
            scan_exact(
                queries, form, rows, words, self._n, *self._full, max_work, deadline, *answers
            )
        else:
            given: Any = (queries, form, rows, words, self._n, *self._full)
            rest: Any = (*self._codes, max(shortlist, k), max_work, deadline, *answers)
            scan_codes(*given, *rest)
            if parameters.prove:
                self._prove(given, budget, answers)
        return answers

    def search_list(self, query: Array, rows: Array, limit: int, k: int, line: Array) -> int:
        """One query, float32[d], over a list of rows, int32[>= k]; see `kernels/lists`.

        `limit`: rows in full precision after the codes of all (at least k), 0: all, without codes.
        Answers as `search` does with `rerank=limit`, into a line of numbers.
        """
        if limit == 0:
            return list_exact(query, rows, *self._full, k, line)
        return list_codes(query, rows, limit, *self._full, *self._codes, k, line)

    def search_lists(
        self,
        queries: Array,
        lists: tuple[Array, Array, Array],
        limits: Array,
        first: int,
        last: int,
        lines: Array,
        told: Array,
    ) -> None:
        """Queries `first` to `last` - 1 over a list each (starts, stops, rows); see `many_lists`.

        The answers of `search_list` with limits int64[m].
        """
        width = (lines.shape[1] - LINE_WORDS) // 3
        held = (*self._full, *self._codes)
        given: Any = (queries, *lists, limits, first, last, *held, width, lines, told)
        many_lists(*given)

    def warmup_lists(self, queries: npt.NDArray[np.float32]) -> None:
        """Compile or load the kernels of lists, for queries float32[m, d]."""
        rows, line = frozen(np.zeros(2, np.int32)), np.empty((1, 3 + LINE_WORDS), np.int64)
        for limit in (0, 1):
            self.search_list(queries[0], rows, limit, 1, line[0])
        nothing = np.zeros(1, np.int64)
        lists = (nothing, nothing, rows)
        self.search_lists(queries, lists, nothing, 0, 1, line, np.empty(1, np.int64))

    def _prove(self, given: Any, budget: Budget, answers: Answers) -> None:
        """Scan in full precision for the queries whose answers are not proved.

        A budget that ends that scan leaves the answers of the codes, which are the better ones.
        """
        for number in np.flatnonzero(answers.status == APPROXIMATE):
            part = slice(number, number + 1)
            left = budget.max_work - int(answers.work[number].sum()) if budget.max_work else 0
            status, work = INCOMPLETE, np.zeros(4, np.int64)
            if not budget.max_work or left > 0:
                copies: Any = [array[part].copy() for array in answers]
                found = Answers(*copies)
                rest: Any = (*given[1:], left, budget.deadline_ns, *found)
                scan_exact(given[0][part], *rest)
                status, work = found.status[0], found.work[0]
                if status == EXACT:
                    answers.rows[part], answers.distances[part] = found.rows, found.distances
            answers.status[number] = status
            answers.work[number] += work

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing: vectors, codes and ties belong to the segment."""
        return {}

    @property
    def nbytes(self) -> int:
        return 0
