"""What the planner knows of a segment's paths: constants of time, and work by recall target.

A `Curve` belongs to one kind of walk: at each calibrated selectivity it holds, for each recall
target, the gap that reached the target (see `GraphParameters`) and the work of the walk, codes
compared and lists of links read. A `ClusterModel` says how many passing rows the clusters nearest
to a query must hold. Both know queries that the filter avoids apart from the rest, as these need
several times as much. Plain values, kept as JSON with the segment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from fanns.calibration.block_model import DEFAULT_BLOCKS, BlockModel
from fanns.calibration.needs import TARGETS, Needs, column_of
from fanns.calibration.validity import check
from fanns.errors import CorruptIndexError
from fanns.paths.clusters import DENSE_SHARE, ClusterParameters

# Pass-rates for which clusters are told how many rows are enough: 1, 1/2, 1/4, ...
RATES = 12
ONE_HOP, TWO_HOP = 0, 1
WIDEST = 640
"""Rows that a walk keeps at most, for answers of the calibrated k."""

WIDENED = (1.4, 1.1)
"""Gap and codes of walks on the graph of a column, as multiples of those on the graph of all rows:
where none was measured. On 100,000 abstracts they are 0.8 to 1.7 and 0.4 to 1.7."""

MODE_NAMES = ("one-hop", "two-hop")


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds: per search, per code compared, per full-precision distance."""

    fixed_ns: float
    code_ns: float
    exact_ns: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Gap and work of one kind of walk by selectivity (falling) and target (as TARGETS).

    `codes` counts lists of links as well. `gaps[i][j]` and `codes[i][j]` belong to
    `selectivities[i]` and `TARGETS[j]`; 0 means that no gap reached the target there. `far`: for
    queries that the filter avoids. `fixed_ns`, `code_ns`: time of such walks by their codes.
    """

    mode: int
    far: bool
    fixed_ns: float
    code_ns: float
    selectivities: tuple[float, ...]
    gaps: tuple[tuple[float, ...], ...]
    codes: tuple[tuple[float, ...], ...]

    @property
    def name(self) -> str:
        return MODE_NAMES[self.mode] + (" far" if self.far else "")

    def widened(self, gap: float, work: float) -> Curve:
        """The first point of this curve for every selectivity of a column's graph, gaps and codes
        multiplied.
        """
        gaps = tuple(gap * one for one in self.gaps[0])
        codes = tuple(work * one for one in self.codes[0])
        return replace(self, mode=TWO_HOP, selectivities=(1.0,), gaps=(gaps,), codes=(codes,))

    def at(self, selectivity: float, target: float) -> tuple[float, float] | None:
        """Gap and codes for a target at a selectivity, log-log between calibrated points.

        None below the last calibrated selectivity, above the highest target, or where a
        neighbouring point did not reach the target.
        """
        column = column_of(target)
        if column is None or selectivity < self.selectivities[-1]:
            return None
        place = 0
        while place + 1 < len(self.selectivities) and self.selectivities[place + 1] >= selectivity:
            place += 1
        after = min(place + 1, len(self.selectivities) - 1)
        ends = [(self.gaps[i][column], self.codes[i][column]) for i in (place, after)]
        if any(gap == 0 for gap, _ in ends):
            return None
        high, low = self.selectivities[place], self.selectivities[after]
        share = 0.0 if high <= low else math.log(high / selectivity) / math.log(high / low)
        share = min(max(share, 0.0), 1.0)
        gap, codes = (
            math.exp(math.log(a) * (1 - share) + math.log(b) * share)
            for a, b in zip(ends[0], ends[1], strict=True)
        )
        return gap, codes


@dataclass(frozen=True, slots=True)
class ClusterTimes:
    """Nanoseconds of a scan of clusters: per search, per cluster, per passing row, per row at all
    where so many pass that 64 neighbours are estimated at once, and per row of the shortlist.
    """

    fixed_ns: float
    visit_ns: float
    row_ns: float
    dense_ns: float
    kept_ns: float


@dataclass(frozen=True, slots=True)
class ClusterModel:
    """Work and time of the scan of clusters.

    `clusters`: their number. `slacks[t]`: see `ClusterParameters`, for
    `TARGETS[t]`, negative where no estimate is good enough. `near`, `far`: see `Needs`; the shares
    of `near` are also rates at which the rows near the query pass. `exact_share`: share of the
    passing rows that a bound does not rule out for exact answers.
    """

    clusters: int
    slacks: tuple[float, ...]
    near: Needs
    far: Needs
    times: ClusterTimes
    exact_share: float = 1.0

    def slack(self, target: float) -> float | None:
        """Standard errors for a recall target; None where estimates miss it."""
        column = column_of(target)
        if column is None or self.slacks[column] < 0:
            return None
        return self.slacks[column]

    def parameters(
        self, share: float, k: int, target: float, rerank: int
    ) -> ClusterParameters | None:
        """How to search where a share of the rows passes; None where estimates miss the target."""
        slack = self.slack(target)
        if slack is None:
            return None
        near = tuple(self.near.at(2.0**-i, k, target) for i in range(RATES))
        # Few rows may pass near a query by chance: it must not get less than it had otherwise.
        far = max(self.far.at(share, k, target), self.near.at(share, k, target))
        return ClusterParameters(near, far, rerank, slack)

    def cost(self, rows: float, share: float, n: int, rerank: int) -> float:
        """Nanoseconds for so many passing rows where a share of n rows passes, and a shortlist."""
        times = self.times
        visits = min(rows * self.clusters / max(share * n, 1.0), self.clusters)
        spent = times.fixed_ns + visits * times.visit_ns + rerank * times.kept_ns
        if share >= DENSE_SHARE:  # the rows between are estimated as well
            return spent + rows / share * times.dense_ns
        return spent + rows * times.row_ns


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the planner knows of one segment's paths.

    `depths[j]` is the shortlist, as a multiple of k, that the int8 scan needs for `TARGETS[j]`;
    `bit_depths[j]` the same for the estimates of codes of few bits, 0 where none was enough. The
    `exact_ns` of `bits` is that of a row of the shortlist. `clusters` is None where there are none.
    `lift_ns`: what a look at the pass-rate near a query costs, which precedes a filtered walk.
    `columns`: the walks on the graphs of columns, by their titles, by the share of all rows that
    they walk through. `blocks`: the scans of the blocks of columns, by their titles.
    """

    source: str
    k: int
    scan: Costs
    depths: tuple[float, ...]
    curves: tuple[Curve, ...] = field(default=())
    bits: Costs | None = None
    bit_depths: tuple[float, ...] = ()
    clusters: ClusterModel | None = None
    lift_ns: float = 0.0
    columns: tuple[tuple[str, Curve], ...] = ()
    blocks: tuple[tuple[str, BlockModel], ...] = ()

    def walk_at(self, selectivity: float, target: float) -> tuple[float, float] | None:
        """Gap and codes of a walk over all rows, the cheapest kind; None where it may miss."""
        points = [curve.at(selectivity, target) for curve in self.curves if not curve.far]
        return min((one for one in points if one), key=lambda point: point[1], default=None)

    def column_curve(self, graph: str) -> Curve | None:
        """The curve of a column's graph: as measured, or from that of all rows."""
        measured = dict(self.columns).get(graph)
        plain = next((one for one in self.curves if one.mode == ONE_HOP and not one.far), None)
        return plain.widened(*WIDENED) if measured is None and plain is not None else measured

    def block_model(self, path: str) -> BlockModel:
        """The model of a column's blocks: as measured, or what is told of none."""
        return dict(self.blocks).get(path, DEFAULT_BLOCKS)

    def shortlist(self, k: int, target: float) -> int:
        """Codes to rerank in full precision for k results at a recall target."""
        column = column_of(target)
        column = len(TARGETS) - 1 if column is None else column
        return max(k + 8, math.ceil(self.depths[column] * k))

    def bit_shortlist(self, k: int, target: float) -> int | None:
        """Estimates to compare by int8 codes for k results; None where no number was enough."""
        column = column_of(target)
        if self.bits is None or column is None or self.bit_depths[column] == 0:
            return None
        return max(k + 30, math.ceil(self.bit_depths[column] * k))

    def to_json(self) -> str:
        return _json(self)

    @staticmethod
    def from_json(text: str) -> Calibration:
        """The inverse of `to_json`.

        Raises:
            CorruptIndexError: the text is not a calibration.
        """
        return _from_json(text)

    @classmethod
    def _parsed(cls, text: str) -> Calibration:
        try:
            raw = json.loads(text)
            check(raw, len(TARGETS))
            return cls(
                str(raw["source"]),
                int(raw["k"]),
                Costs(**raw["scan"]),
                tuple(raw["depths"]),
                tuple(_curve(curve) for curve in raw["curves"]),
                None if raw["bits"] is None else Costs(**raw["bits"]),
                tuple(raw["bit_depths"]),
                None if raw["clusters"] is None else _cluster_model(raw["clusters"]),
                float(raw["lift_ns"]),
                tuple((str(name), _curve(curve)) for name, curve in raw["columns"]),
                tuple((str(name), _block_model(one)) for name, one in raw["blocks"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CorruptIndexError(f"calibration: not readable ({error}); rebuild") from error


@lru_cache(maxsize=64)
def _json(calibration: Calibration) -> str:
    """Every small segment has the same one, and taking it apart takes a millisecond."""
    return json.dumps(asdict(calibration))


@lru_cache(maxsize=64)
def _from_json(text: str) -> Calibration:
    """As for `_json`."""
    return Calibration._parsed(text)


def _curve(raw: Mapping[str, Any]) -> Curve:
    return Curve(
        int(raw["mode"]),
        bool(raw["far"]),
        float(raw["fixed_ns"]),
        float(raw["code_ns"]),
        tuple(raw["selectivities"]),
        tuple(tuple(row) for row in raw["gaps"]),
        tuple(tuple(row) for row in raw["codes"]),
    )


def _needs(raw: Mapping[str, Any]) -> Needs:
    rows = tuple(tuple(tuple(row) for row in by_k) for by_k in raw["rows"])
    return Needs(tuple(raw["shares"]), tuple(raw["ks"]), rows)


def _block_model(raw: Mapping[str, Any]) -> BlockModel:
    times = (float(raw[name]) for name in ("fixed_ns", "centre_ns", "block_ns"))
    return BlockModel(_needs(raw["needs"]), *times)


def _cluster_model(raw: Mapping[str, Any]) -> ClusterModel:
    near, far = (_needs(part) for part in (raw["near"], raw["far"]))
    times = ClusterTimes(**{name: float(value) for name, value in raw["times"].items()})
    slacks, share = tuple(raw["slacks"]), float(raw["exact_share"])
    return ClusterModel(int(raw["clusters"]), slacks, near, far, times, share)


# Rounded from measurements on 100,000 abstracts x 384 (cosine, one core), gaps towards the wider;
# used where measuring is switched off and for segments too small to measure.
DEFAULT = Calibration(
    source="default",
    k=10,
    scan=Costs(8_000, 30, 90),
    depths=(1.5, 2.0, 2.0, 3.0, 3.0, 5.0),
    bits=Costs(12_000, 11, 120),
    bit_depths=(4.0, 4.0, 6.0, 12.0, 12.0, 32.0),
    curves=(
        Curve(
            ONE_HOP,
            False,
            15_000,
            150,
            (1.0, 0.5),
            ((0.02, 0.05, 0.1, 0.17, 0.22, 0.4), (0.02, 0.05, 0.1, 0.17, 0.22, 0.4)),
            ((550, 900, 1_500, 3_200, 4_200, 9_000), (850, 1_300, 1_700, 2_700, 3_500, 9_500)),
        ),
        Curve(
            TWO_HOP,
            False,
            15_000,
            180,
            (0.5, 0.2, 0.1, 0.05),
            (((0.05, 0.08, 0.13, 0.17, 0.22, 0.4),) * 4),
            (
                (1_000, 1_500, 2_800, 4_500, 6_000, 14_000),
                (1_000, 1_500, 2_800, 4_500, 6_000, 14_000),
                (1_000, 1_500, 2_800, 4_500, 6_000, 14_000),
                (900, 1_300, 2_000, 3_000, 4_000, 8_000),
            ),
        ),
    ),
    lift_ns=15_000.0,
)
