"""The codes of attribute columns on the device, and the bitmaps of a batch's filters from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fanns.attributes import AttributeIndex, RowContext
from fanns.attributes.evaluate import Evaluation
from fanns.attributes.lists import ListColumn
from fanns.attributes.program import Programs, ProgramWriter
from fanns.attributes.scalar import ScalarColumn
from fanns.expressions import Node
from fanns.kernels.filter_cuda import filter_rows
from fanns.kernels.filter_program import AND
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import ALIGNMENT, DeviceArray, Workspace, bytes_of
from fanns.selection import Selection, word_count

NO_ARRAY = 1
"""Places that an array without any is given: devices have none of no bytes."""


class DeviceColumns:
    """Codes int32[columns, n] of the indexed columns, and the lists of those that hold some.

    Filters of other columns, and what codes cannot say, are evaluated on the host (see `program`).
    """

    def __init__(self, attributes: AttributeIndex, context: RowContext) -> None:
        self.n = attributes.n
        self._attributes, self._context = attributes, context
        columns = [attributes.column(name, context) for name in attributes.indexed]
        self._scalars = [column for column in columns if isinstance(column, ScalarColumn)]
        self._lists = [column for column in columns if isinstance(column, ListColumn)]
        self._evaluation = Evaluation(attributes, context)
        self._writer = ProgramWriter(
            self._evaluation,
            {id(column): place for place, column in enumerate(self._scalars)},
            {id(column): place for place, column in enumerate(self._lists)},
        )
        self._held: tuple[DeviceArray, DeviceArray, DeviceArray] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        elements = sum(len(column.codes) for column in self._lists)
        return 4 * self.n * len(self._scalars) + 8 * (self.n + 1) * len(self._lists) + 4 * elements

    def move(self, cuda: Any) -> None:
        """Copy the codes to the device; `cuda` is numba's module for the host."""
        codes = np.zeros((max(len(self._scalars), NO_ARRAY), self.n), np.int32)
        for place, column in enumerate(self._scalars):
            codes[place] = column.codes
        starts = np.zeros((max(len(self._lists), NO_ARRAY), self.n + 1), np.int64)
        elements, used = [np.zeros(NO_ARRAY, np.int32)], NO_ARRAY
        for place, listed in enumerate(self._lists):
            starts[place] = listed.starts.astype(np.int64) + used
            elements.append(listed.codes)
            used += len(listed.codes)
        arrays = (codes, starts, np.concatenate(elements))
        self._held = tuple(cuda.to_device(array) for array in arrays)

    def programs(self, filters: Sequence[Node], live: Selection | None) -> Programs:
        """The program of each bound filter, for live rows."""
        programs = Programs()
        for bound in filters:
            self._writer.write(programs, bound, live)
        return programs

    def selected(self, bound: Node, live: Selection | None) -> Programs:
        """The program of one filter that is evaluated on the host: its rows, as a bitmap."""
        programs = Programs()
        programs.rows(self._evaluation.select(bound, False))
        if live is not None:
            programs.rows(live)
            programs.join(AND)
        programs.end()
        return programs

    def scratch_bytes(self, programs: Programs) -> int:
        """What `bitmaps` borrows of a workspace, the result included."""
        places = (len(programs) + len(programs.selections) + NO_ARRAY, word_count(self.n))
        small = (4 * len(programs.instructions) + len(programs) + len(programs.bounds) + 3,)
        return bytes_of((places, np.uint64), (small, np.int32)) + 5 * ALIGNMENT

    def bitmaps(self, programs: Programs, workspace: Workspace) -> DeviceArray:
        """The rows that pass each program, uint64[m, words], borrowed of the workspace."""
        if self._held is None:
            raise ValueError("the columns were not moved to the device")
        codes, list_starts, list_codes = self._held
        out = workspace.take((len(programs), word_count(self.n)), np.uint64)
        words = [selection.words() for selection in programs.selections]
        filter_rows(
            upload(_filled(programs.instructions, np.int32).reshape(-1, 4), workspace),
            upload(np.array(programs.starts, np.int32), workspace),
            upload(_filled(programs.bounds, np.int32), workspace),
            codes,
            list_starts,
            list_codes,
            upload(np.stack(words or [np.zeros(word_count(self.n), np.uint64)]), workspace),
            self.n,
            out,
            workspace,
        )
        return out


def upload(array: Array, workspace: Workspace) -> DeviceArray:
    """A copy on the device, borrowed of the workspace."""
    held = workspace.take(array.shape, array.dtype)
    workspace.sent.append(array)  # where the device reads the host's own memory, it may do so later
    held.copy_to_device(array, workspace.stream)
    return held


def _filled(values: Sequence[Any], kind: DTypeLike) -> Array:
    """The values as an array that has at least one place."""
    return np.array(values, kind) if values else np.zeros(NO_ARRAY, kind)
