"""Filters whose rows an oracle gets an index of: intervals, values, and both together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from fanns.bench.reporting.wording import percent
from fanns.bench.workloads.candidates import of_column
from fanns.bench.workloads.drawing import quoted
from fanns.bench.workloads.windows import Ordered, window
from fanns.errors import InputError
from fanns.schema import ColumnType

Kind = Literal["range", "label", "both"]
WIDTHS = (0.001, 0.01, 0.1, 0.5)
SIZES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
CONJOINED = (0.1, 0.3)  # sizes of the values that are joined with intervals of 10 % and 50 %
JOINED_WIDTHS = (0.1, 0.5)
_CLOSE = np.log(1.5)  # how far from a size a value's share may be and still stand for it
Params = dict[str, Any]


class Cell(NamedTuple):
    """One filter. group: the share of all rows that was wanted of the interval, of the value, or
    of each, in words. size: that share; of both, their product.
    """

    kind: Kind
    group: str
    size: float
    where: str
    params: Params


class Intervals:
    """Intervals of an ordered column, drawn by chance."""

    def __init__(self, attributes: pa.Table, name: str) -> None:
        """Raises InputError when there is no such column, or it has no order."""
        check(attributes, [name])
        try:
            self._ordered = Ordered(attributes[name])
        except ValueError as error:
            raise InputError(f"column {name!r}: {error}") from error
        if not len(self._ordered.sorted):
            raise InputError(f"column {name!r} holds no value")
        self.rows, self.where = attributes.num_rows, f"{quoted(name)} BETWEEN :low AND :high"

    def draw(self, share: float, count: int) -> list[Params]:
        """The ends, both inside, of `count` intervals with about this share of all rows."""
        rng = np.random.default_rng([self.rows, round(share * 1e6)])
        want = max(1, round(share * self.rows))
        drawn = (window(self._ordered.sorted, want, rng) for _ in range(count))
        python = self._ordered.python
        return [{"low": python(low), "high": python(high)} for low, high in drawn]


def check(attributes: pa.Table, columns: Sequence[str]) -> None:
    """Raises InputError for a column that there is not."""
    for name in columns:
        if name not in attributes.column_names:
            known = ", ".join(attributes.column_names) or "none"
            raise InputError(f"no column {name!r} among the attributes: {known}")


def cells(
    attributes: pa.Table,
    ranged: str,
    labelled: Sequence[str],
    intervals: int,
    widths: Sequence[float] = WIDTHS,
    sizes: Sequence[float] = SIZES,
) -> list[Cell]:
    """`intervals` of each width, of each size the value of each column that comes nearest to it,
    and a quarter as many intervals of 10 % and 50 % (of those among `widths`) under each value of
    about 10 % and 30 % (of those among `sizes`).
    """
    drawn = Intervals(attributes, ranged)
    check(attributes, labelled)
    labels = [cell for name in labelled for cell in _labels(attributes, name, sizes)]
    made = [
        Cell("range", percent(share), share, drawn.where, ends)
        for share in widths
        for ends in drawn.draw(share, intervals)
    ]
    made += sorted(labels, key=lambda cell: cell.size)
    few = max(1, intervals // 4)
    for share in JOINED_WIDTHS:
        for label in labels if share in widths else []:
            if label.size in CONJOINED:
                group = f"{percent(share)} and {label.group}"
                where = f"{drawn.where} AND {label.where}"
                made += [
                    Cell("both", group, share * label.size, where, {**ends, **label.params})
                    for ends in drawn.draw(share, few)
                ]
    return made


def _labels(attributes: pa.Table, name: str, sizes: Sequence[float]) -> Iterator[Cell]:
    """The value of a column that comes nearest to each size; none where none is near."""
    found = of_column(attributes[name])
    if not len(found) or not sizes:
        return
    is_list = ColumnType.from_arrow(attributes.schema.field(name).type).is_list
    where = f"list_contains({quoted(name)}, :value)" if is_list else f"{quoted(name)} = :value"
    shares = np.log(found.sizes / attributes.num_rows)
    off = np.abs(shares[:, None] - np.log(np.array(sizes)))
    own = off.argmin(axis=1)  # a value stands for one size at most
    for place, size in enumerate(sizes):
        far = np.where(own == place, off[:, place], np.inf)
        best = int(far.argmin())
        if far[best] <= _CLOSE:
            yield Cell("label", percent(size), size, where, {"value": found.values[best]})
