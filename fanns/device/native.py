"""A segment whose rows are computed from an embedding table, on the device.

The table lies there as it is, and every row that passes is decoded and compared: answers are exact
whatever was asked for, as they are on the CPU without stand-ins.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from fanns.attributes import RowContext
from fanns.device.lanes import Lane
from fanns.device.planning import DevicePlan
from fanns.device.rows import no_selections
from fanns.device.segment import DeviceSegment, Passing
from fanns.kernels.jit_cuda import DeviceArray, Workspace
from fanns.kernels.native_cuda import scan_native, scan_native_bytes
from fanns.kernels.scan import WORDS
from fanns.kernels.stores_cuda import Store
from fanns.paths import Answers
from fanns.segment import Segment
from fanns.segment_native import NativeSegment


class NativeDeviceSegment(DeviceSegment):
    """As `DeviceSegment`; there are no originals, and no plan but the scan of all that passes."""

    def __init__(self, segment: Segment, context: RowContext) -> None:
        super().__init__(segment, context)
        self._native = cast(NativeSegment, segment)
        self._store: Store | None = None

    def needed(self) -> dict[str, int]:
        """Bytes that must be on the device, by part."""
        table = sum(array.nbytes for array in self._native.store.held)
        own = self._native.ids.ties.nbytes + self._native.table_rows.nbytes
        return {"columns": self.columns.nbytes, "table": table, "ids and places": own}

    def wanted(self) -> dict[str, int]:
        """Nothing more."""
        return {}

    @property
    def originals(self) -> int:
        """None: rows are not written out."""
        return 0

    @property
    def dimensions(self) -> int:
        return self._native.store.d

    @property
    def has_bits(self) -> bool:
        return False

    def move(self, cuda: Any, with_originals: bool, with_bits: bool) -> None:
        """Copy columns and the table."""
        self.columns.move(cuda)
        store = self._native.store
        arrays = (cuda.to_device(np.ascontiguousarray(array)) for array in store.held)
        self._store = Store(store.kind, *arrays)
        places = (self._native.table_rows, self._native.ids.ties)
        self._places: list[DeviceArray] = [
            cuda.to_device(np.ascontiguousarray(array)) for array in places
        ]
        self._nothing = no_selections(cuda)

    def multiplies(self, plan: DevicePlan, k: int, workspace: Workspace) -> bool:
        return False

    def _borrowed(self, k: int, plan: DevicePlan, workspace: Workspace) -> int:
        return scan_native_bytes(1, k, self.segment.n, False, workspace)

    def _run(
        self, queries: Any, rows: Passing, plan: DevicePlan, answers: Answers, lane: Lane
    ) -> None:
        """Put the scan of the rows that pass on the stream."""
        if self._store is None:
            raise ValueError("the segment was not moved to the device")
        order, ties = self._places
        lists = (self._nothing.rows, self._nothing.offsets)
        given: Any = (queries, WORDS, *lists, rows.words, self.segment.n)
        rest: Any = (order, self._store, self._metric, ties, *answers, lane.workspace)
        scan_native(*given, *rest)
