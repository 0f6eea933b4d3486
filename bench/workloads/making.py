"""A workload from a corpus: filters drawn, measured, kept if they are what was asked, answered."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.workloads import truth, typed_params, workload
from fanns.bench.workloads.board import RANDOM, Board, Corpus, Declaration, with_random
from fanns.bench.workloads.drafts import FAMILIES
from fanns.bench.workloads.drawing import Draft, Impossible, Undeclared, Wish
from fanns.bench.workloads.grid import Asked
from fanns.bench.workloads.masks import Masks, Table
from fanns.datasets.dataset import truth_table
from fanns.datasets.exact import Truth
from fanns.errors import InputError

EDITION = "fanns.bench filters, edition 2"
TUNE_SHARE = 0.2
OFF = 2.0  # a cell whose selectivity is off by more than this factor is dropped
LEAN = 0.05  # the least affinity of "positive"
LEVEL = 0.2  # the most of "none", beside what chance explains
Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """A cell that was drawn: selectivity and affinity as in `workload.Cell`; reason is why it is
    not what was asked for, None if it is.
    """

    asked: Asked
    draft: Draft
    selectivity: float
    affinity: float
    reason: str | None


def plan(
    corpus: Corpus,
    declaration: Declaration,
    cells: Sequence[Asked],
    say: Say,
    report: truth.Report | None = None,
) -> tuple[Corpus, list[Measured]]:
    """Draw and measure the cells, and tell by `say` of each that the data cannot give.

    Returns the corpus with the columns that were added to it, and the cells that are as asked.
    Raises InputError when the column of random numbers cannot be added.
    """
    if declaration.random:
        if RANDOM in corpus.attributes.column_names:
            raise InputError(f"there is a column {RANDOM!r} already: rename it, or random = false")
        attributes = with_random(corpus.attributes, corpus.seed)
        corpus = Corpus(**{**vars(corpus), "attributes": attributes})
    board = Board(corpus, declaration)
    table = Table(corpus.attributes)
    kept: list[Measured] = []
    undeclared: set[str] = set()
    for done, cell in enumerate(cells):
        if cell.family not in undeclared:
            try:
                found = _measure(board, table, cell, _draw(board, cell))
                if found.reason is not None:
                    raise Impossible(found.reason)
                kept.append(found)
            except Undeclared as error:
                undeclared.add(cell.family)
                say(f"all cells of {cell.family} are left out: {error}")
            except Impossible as error:
                say(f"cell {cell.name} is left out: {error}")
        if report is not None:
            report("filters", done + 1, len(cells))
    return corpus, kept


def make(
    path: Path,
    corpus: Corpus,
    cells: Sequence[Measured],
    name: str,
    depth: int = truth.DEPTH,
    report: truth.Report | None = None,
    origin: str | None = None,
) -> Path:
    """Answer the queries of planned cells exactly and write the workload. Items get row numbers as
    ids. origin: what tells the corpus from others, for the manifest. Raises InputError when there
    is no cell.
    """
    if not cells:
        raise InputError("no cell is left: the data gives none of the filters that were asked for")
    m = len(corpus.queries)
    params = [one for cell in cells for one in cell.draft.params]
    wheres = [cell.draft.where for cell in cells for _ in range(m)]
    queries = np.tile(corpus.queries, (len(cells), 1))
    answers = truth.solve(
        corpus.vectors, corpus.attributes, queries, wheres, params, corpus.metric, depth, report
    )
    table = pa.table(
        {
            "embedding": _vectors(queries),
            "where": pa.array(wheres, pa.string()),
            "params": pa.array([typed_params.to_json(one) for one in params], pa.string()),
            "cell": _repeated([cell.asked.name for cell in cells], m),
            "family": _repeated([cell.asked.family for cell in cells], m),
            "target": pa.array(np.repeat([_target(cell) for cell in cells], m), from_pandas=True),
            "correlation": _repeated([cell.asked.correlation for cell in cells], m),
            "role": pa.array(np.tile(roles(m, corpus.seed), len(cells))),
            "matches": pa.array(answers.matches),
            "near": pa.array(answers.near),
        }
    )
    items = corpus.attributes.add_column(0, "id", pa.array(np.arange(len(corpus.vectors))))
    items = items.append_column("embedding", _vectors(corpus.vectors))
    found = Truth(answers.rows, answers.rows, answers.distances, answers.offsets)
    return workload.write(
        path,
        items,
        table,
        truth_table(found),
        corpus.metric,
        depth=depth,
        name=name,
        source=corpus.source,
        model=corpus.model,
        seed=corpus.seed,
        transforms=[EDITION] if origin is None else [EDITION, origin],
    )


def roles(queries: int, seed: int) -> NDArray[np.str_]:
    """The role of each query vector, the same in every cell: a fifth of them tune."""
    found = np.full(queries, "measure")
    tune = max(1, round(TUNE_SHARE * queries)) if queries > 1 else 0
    found[np.random.default_rng([seed, 8]).permutation(queries)[:tune]] = "tune"
    return found


def _draw(board: Board, cell: Asked) -> Draft:
    rng = np.random.default_rng([board.corpus.seed, zlib.crc32(cell.name.encode())])
    return FAMILIES[cell.family](board, Wish(cell.target or math.nan, cell.correlation, rng))


def _measure(board: Board, table: Table, cell: Asked, draft: Draft) -> Measured:
    masks = Masks(table, draft.where)
    shares, near = np.empty(board.queries), np.empty(board.queries)
    for query, params in enumerate(draft.params):
        mask = masks(params)
        shares[query] = np.count_nonzero(mask) / max(1, board.rows)
        near[query] = mask[board.near[query]].mean()
    share, found = float(shares.mean()), workload.affinity(near, shares)
    # A filter that most rows pass cannot lean far; what it leaves out can, the other way.
    lean = found if share <= 0.5 else -workload.affinity(1.0 - near, 1.0 - shares)
    # Three standard deviations of the affinity of a filter that is independent of the queries,
    # from the number of rows that it is expected to tell apart near them.
    expected = min(share, 1.0 - share) * board.near.size
    chance = 1.5 / math.sqrt(expected) if expected > 0.0 else 1.0
    return Measured(cell, draft, share, found, _reason(cell, share, lean, chance))


def _reason(cell: Asked, share: float, lean: float, chance: float) -> str | None:
    """Why a cell is not what was asked for; None if it is.

    lean: its affinity, or that of what it leaves out; chance: how far it may be from 0 by chance.
    """
    target = cell.target
    if target is not None and not target / OFF <= share <= target * OFF:
        return f"{share:.3g} of the rows pass, not about {target:g}"
    low, high = {
        "positive": (LEAN, 1.0),
        "none": (-LEVEL - chance, LEVEL + chance),
        "negative": (-1.0, -LEAN),
    }.get(cell.correlation, (-1.0, 1.0))
    if not low <= lean <= high:
        return f"it leans to its queries by {lean:+.2f}, which is not {cell.correlation}"
    return None


def _target(cell: Measured) -> float:
    return math.nan if cell.asked.target is None else cell.asked.target


def _repeated(texts: Sequence[str], times: int) -> pa.Array:
    return pa.array([text for text in texts for _ in range(times)], pa.string())


def _vectors(array: NDArray[np.float32]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(array, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
