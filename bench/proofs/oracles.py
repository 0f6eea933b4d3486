"""`fanns bench oracles`: a filtered index against unfiltered ones of just the rows that pass.

An oracle knows the filter beforehand: it is a fanns index over the passing rows and nothing else,
calibrated on the same sample queries. How much slower the index of all rows is under the filter
says what filtering costs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import fanns
from fanns.bench.proofs.asking import Asking, Taken, nearest, recalls
from fanns.bench.proofs.oracle_cells import Cell
from fanns.bench.proofs.rows import Rows, build
from fanns.bench.running.schedule import shuffled
from fanns.bench.workloads import truth
from fanns.bench.workloads.masks import Masks, Table

K, RECALL = 10, 0.95


@dataclass(frozen=True)
class Measured:
    """A cell, measured. matches: rows that pass. filtered: the index of all rows under the
    filter; oracle: that of the passing rows.
    """

    cell: Cell
    matches: int
    filtered: Taken
    oracle: Taken


def measure(
    index: fanns.Index,
    rows: Rows,
    cells: Sequence[Cell],
    rounds: int,
    report: truth.Report | None = None,
) -> Iterator[Measured]:
    """The cells one after another, without those that no row passes. index: over all rows."""
    index.warmup()
    best = _truth(rows, cells, report)
    table = Table(_attributes(rows))
    for number, cell in enumerate(cells):
        if report is not None:
            report("oracles", number, len(cells))
        passing = np.flatnonzero(Masks(table, cell.where)(cell.params))
        if len(passing):
            yield _cell(index, rows, cell, passing, best[number], rounds)


def _cell(
    index: fanns.Index,
    rows: Rows,
    cell: Cell,
    passing: NDArray[np.int64],
    best: Sequence[NDArray[np.float64]],
    rounds: int,
) -> Measured:
    every = [(cell.where, cell.params)] * len(rows.queries)
    with tempfile.TemporaryDirectory(prefix="fanns-proof-") as scratch:
        place = Path(scratch) / "oracle"
        build(replace(rows, vectors=rows.vectors[passing]), place)
        with fanns.open(place) as oracle:
            asking = {
                "filtered": Asking(index, rows.queries, every, K, RECALL),
                "oracle": Asking(oracle, rows.queries, [(None, None)] * len(every), K, RECALL),
            }
            sides: dict[str, Taken] = {}
            for name, one in asking.items():
                told = one.answered()
                ids = told.ids if name == "filtered" else [passing[own] for own in told.ids]
                found = recalls(rows.vectors, rows.queries, ids, best, rows.metric)
                sides[name] = Taken(found, told.paths)
            for turn in range(rounds):
                for name in shuffled(list(asking), f"{cell.where} {cell.params}", turn):
                    sides[name].seconds.append(asking[name].timed())
    return Measured(cell, len(passing), **sides)


def _truth(
    rows: Rows, cells: Sequence[Cell], report: truth.Report | None
) -> list[list[NDArray[np.float64]]]:
    """Distances of the true nearest passing rows: of every cell, of every query."""
    m = len(rows.queries)
    asked = [cell for cell in cells for _ in range(m)]
    solved = truth.solve(
        rows.vectors, _attributes(rows), np.tile(rows.queries, (len(cells), 1)),
        [cell.where for cell in asked], [cell.params for cell in asked],
        rows.metric, K, report,
    )  # fmt: skip
    flat = nearest(solved)
    return [flat[at : at + m] for at in range(0, len(flat), max(1, m))]


def _attributes(rows: Rows) -> pa.Table:
    if rows.attributes is None:
        raise ValueError("rows without attributes have no filters")
    return rows.attributes
