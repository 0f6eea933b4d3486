"""The cells of an inverted multi-index: passing rows of the nearest of very many small cells."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.cells import Cells
from fanns.codes import Int8Codes
from fanns.kernels.jit import Array, frozen
from fanns.kernels.scan import ALL, WORDS, scan_codes
from fanns.kernels.scan_cells import search_cells
from fanns.paths import Answers, Budget, RowSet, no_answers
from fanns.vectors import DenseVectors

CELL_ROWS = 8
"""A step to the next cell costs about as much as this many codes of a scan."""

_NO_ROWS = frozen(np.empty(0, np.int32))
_NO_WORDS = frozen(np.empty(0, np.uint64))


class CellParameters(NamedTuple):
    """How much of the selection is looked at.

    `enough`: passing rows after which no further cell is taken; a selection that is not larger is
    scanned whole. `rerank`: most rows that are compared in full precision.
    """

    enough: int
    rerank: int


class CellsPath:
    """Cells in multi-sequence order, int8 codes of their passing rows, full precision for the best.

    Vectors, codes and `ties` int64[n] (which order rows of equal distance) stand in the order of
    the cells. No query takes more than about twice the time of scanning its selection: that is
    what is done when as many steps from cell to cell as it is worth have not met `enough` rows.
    """

    name = "cells"

    def __init__(self, vectors: DenseVectors, codes: Int8Codes, ties: Array, cells: Cells) -> None:
        self._n, self._cells = vectors.n, cells
        self._full = (vectors.exact, vectors.norms, vectors.metric, frozen(ties))
        self._codes = (codes.codes, codes.scale, codes.square, codes.mean, codes.limits)
        self._halves = (cells.half_a, cells.half_b, cells.offsets)

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: CellParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of the cells looked at; see `Path.search`.

        The status is EXACT when every selected row was compared and the codes prove the answer,
        else APPROXIMATE; a spent budget gives INCOMPLETE and the best rows so far.
        """
        answers = no_answers(len(queries), k)
        form, words = (ALL, _NO_WORDS) if selection.is_all else (WORDS, selection.words())
        enough, shortlist = max(parameters.enough, k), max(parameters.rerank, k)
        end = (shortlist, *budget, *answers)
        given: Any  # mypy counts no arguments of it
        if selection.count <= enough:
            given = (queries, form, _NO_ROWS, words, self._n, *self._full, *self._codes, *end)
            scan_codes(*given)
            return answers
        expected = enough * len(self._cells) / selection.count
        most = max(selection.count // CELL_ROWS, 1)
        depth = min(int(4 * math.sqrt(expected)) + 16, len(self._cells))
        sizes = (enough, most, depth)
        held = (*self._full, *self._codes, *self._halves)
        given = (queries, form, words, self._n, *held, *sizes, *end)
        search_cells(*given)
        return answers

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The half centroids and where cells begin."""
        return self._cells.arrays()

    @property
    def nbytes(self) -> int:
        return self._cells.nbytes
