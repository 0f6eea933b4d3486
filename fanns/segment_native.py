"""A segment whose vectors are computed from a compressed embedding table, which is searched as it
is.

It holds the arrays of a store (`store/...`) in place of vectors, codes and clusters. Rows stand in
the order of the table, so that no places are written down, and ids that are row numbers are not
either. With stand-ins (`graph=True`) it is besides a segment as any other, of int8 vectors that
stand for the rows, in cluster order; what their paths find is compared through the store.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.calibration import Calibration
from fanns.errors import CorruptIndexError, InputError
from fanns.identifiers import Identifiers, RowNumbers
from fanns.kernels.distance import METRICS
from fanns.kernels.jit import Array, frozen
from fanns.native_planner import choose_native
from fanns.once import once
from fanns.paths import Budget
from fanns.paths.column_path import Covering
from fanns.paths.native import (
    NO_ROWS,
    KeysPath,
    NativeParameters,
    NativePath,
    Shortlist,
    refused_keys,
    scaled,
    wider,
)
from fanns.planner import Plan
from fanns.reduction import Projected
from fanns.segment import Segment
from fanns.segment_arrays import FileArrays, Part
from fanns.selection import Selection
from fanns.stores import restored
from fanns.stores_base import NativeStore

STORE = "store"
SCALE = "scale"


class NativeSegment(Segment):
    """See the module's docstring; the parts of stand-ins are those of `Segment`."""

    native = True

    @once
    def store(self) -> NativeStore:
        """The table.

        Raises:
            CorruptIndexError: it is none of this segment's rows.
        """
        try:
            made = restored(self.meta[STORE], Part(self.arrays, STORE))
        except InputError as error:
            raise CorruptIndexError(f"store: {error}") from error
        if made.n != self.n:
            raise CorruptIndexError(f"store: {made.n} rows, the segment has {self.n}")
        return made

    @property
    def has_stand_ins(self) -> bool:
        """Whether it has clusters and, if it is large enough, a graph of stand-ins."""
        return SCALE in self.meta[STORE]

    @once
    def stand_ins(self) -> Segment | None:
        """The stand-ins as a segment of their own, over the same arrays."""
        if not self.has_stand_ins:
            return None
        made = Segment({**self.meta, STORE: None}, self.schema, self.arrays, self._stored)
        made.attributes = self.attributes  # what filters find goes by these objects
        return made

    @once
    def scale(self) -> float:
        """What stand-ins are multiplied by to be rows; 1 where no path has to know."""
        told = self.meta[STORE].get(SCALE, 1.0)
        if not isinstance(told, int | float) or not 0.0 < told < float("inf"):
            raise CorruptIndexError(f"store: its scale is {told!r}")
        return float(told) if self.metric == "l2" else 1.0

    @once
    def ids(self) -> Identifiers | RowNumbers:
        if "ids/order" not in self.arrays:
            return RowNumbers(self.n)
        return Identifiers.load(self.meta["id_kind"], Part(self.arrays, "ids"), self.n)

    @property
    def positions(self) -> Array:
        """int32[n]: the place in which each row was given, which is its row of the table."""
        if self.has_stand_ins:
            return super().positions
        return frozen(np.arange(self.n, dtype=np.int32))

    @property
    def given_order(self) -> Array:
        """int32[n]: the row that was given first, second, ..."""
        return super().given_order if self.has_stand_ins else self.positions

    @property
    def table_rows(self) -> Array:
        """int32[n]: the row of the table that each row is, as paths take it: empty where it is the
        same.
        """
        return self.positions if self.has_stand_ins else NO_ROWS

    # -- queries ------------------------------------------------------------------------------

    @property
    def reduction(self) -> None:
        """Rows are never held by coordinates."""
        return None

    def project(self, queries: np.ndarray, threads: int = 1) -> Projected | None:
        """None: queries are compared as they are. Raises as `Segment.project` does."""
        if queries.shape[1] != self.store.d:
            raise CorruptIndexError(
                f"a store of {self.store.d} dimensions in an index of {queries.shape[1]}"
            )
        return None

    @once
    def scan(self) -> NativePath:  # type: ignore[override]
        return NativePath(self.store, METRICS[self.metric], self.ids.ties, self.table_rows)

    @once
    def keys(self) -> KeysPath | None:
        """The path of product keys, where the table and the metric have them."""
        if refused_keys(self.store, METRICS[self.metric]) is not None:
            return None
        return KeysPath(self.store, METRICS[self.metric], self.ids.ties, self.table_rows)

    def path(self, name: str, column: str | None = None) -> Any:
        """The access path of this name, for the plans that `plan` gives."""
        if self.stand_ins is not None and (column is not None or name in ("clusters", "graph")):
            return Shortlist(self.stand_ins.path(name, column), self.scan, self.scale)
        return self.keys if name == "keys" else self.scan

    def plan(
        self,
        count: int,
        k: int,
        recall: float,
        *,
        far: bool = False,
        exact: bool = False,
        only: str | None = None,
        coverings: tuple[Covering, ...] = (),
    ) -> Plan:
        """The planner's choice for so many passing rows."""
        keys = self.keys
        refused = refused_keys(self.store, METRICS[self.metric])
        offered = keys.offer(count, k) if keys is not None else str(refused)
        stand_ins: Plan | str = "the segment has none (graph=True builds them)"
        if self.stand_ins is not None:
            given: Any = {"far": far, "only": only if only in ("clusters", "graph") else None}
            short = min(wider(k), count)
            stand_ins = self.stand_ins.plan(count, short, recall, coverings=coverings, **given)
        return choose_native(self.scan.offer(count), offered, stand_ins, wider(k), only, exact)

    def calibrate(self, calibration: Calibration) -> None:
        """Go by another calibration of the stand-ins from now on."""
        super().calibrate(calibration)
        if self.stand_ins is not None:
            self.stand_ins.calibrate(calibration)

    def edited(self, *given: Any, **named: Any) -> Segment:
        """As `Segment.edited`."""
        made = super().edited(*given, **named)
        made.__dict__.pop("stand_ins", None)
        return made

    @once
    def locality(self) -> Any:
        """As `Segment.locality`, for queries as they are."""
        assert self.stand_ins is not None
        return _Scaled(self.stand_ins.locality, self.scale)

    def coverings(self, selection: Selection) -> tuple[Covering, ...]:
        """As `Segment.coverings`, of the stand-ins."""
        return () if self.stand_ins is None else self.stand_ins.coverings(selection)

    def least_coverings(self, count: int) -> tuple[Covering, ...]:
        """As `Segment.least_coverings`, of the stand-ins."""
        return () if self.stand_ins is None else self.stand_ins.least_coverings(count)

    def warmup(self, queries: np.ndarray) -> None:
        """Run the scan with and without partial scores, for queries float32[m, d]."""
        for look_ups in (True, False):
            everything = Selection.all(self.n)
            self.scan.search(queries, everything, 1, NativeParameters(look_ups), Budget())

    # -- values back --------------------------------------------------------------------------

    def originals(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows (int32[m]), decoded: float32[m, d]."""
        places = rows if not self.has_stand_ins else self.positions[rows]
        return self.store.decode(places)

    @property
    def told(self) -> str:  # type: ignore[override]
        """The table in words, for `info`."""
        store, more = self.store, " and int8 stand-ins" if self.has_stand_ins else ""
        share = store.nbytes / max(1, 4 * store.n * store.d)
        return (
            f"{store.d:,} dimensions, computed from a {store.name.replace('_', ' ')} table of "
            f"{store.nbytes:,} bytes ({share:.2%} of float32){more}"
        )

    def will_need_originals(self) -> None:
        """Have the table read ahead, where it is on disk."""
        if isinstance(self.arrays, FileArrays) and "store/first" in self.arrays:
            self.arrays.files.will_need("store/first")


class _Scaled:
    """`Locality` of stand-ins for queries that are compared with rows."""

    def __init__(self, locality: Any, scale: float) -> None:
        self._locality, self._scale = locality, scale

    def lift(self, queries: np.ndarray, selection: Selection) -> np.ndarray:
        """See `Locality.lift`."""
        told: np.ndarray = self._locality.lift(scaled(queries, self._scale), selection)
        return told
