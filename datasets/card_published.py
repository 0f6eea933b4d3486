"""What a data card says of the data beside the published arxiv-for-fanns: do the marginals agree?

The published numbers are those of "Benchmarking Filtered Approximate Nearest Neighbor Search
Algorithms on Transformer-based Embedding Vectors" (Iff et al., 2025) and of its medium set.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .arxiv_habits import CATEGORY_COUNTS, COMMENTS_SHARE
from .card_text import percent, table

LARGE_ROWS = 2_735_264  # on which the share of comments was counted
FIRST_UPDATE, LAST_UPDATE = 13_655, 20_216  # days since 1970
SIGMAS = 3.0  # of both samples' errors, beyond which shares differ
ALONE_SINCE, ALONE_ROWS = 2008, 20  # a category of so many papers since then, none in it alone
COLUMNS = ("number_of_sub_categories", "has_comments", "update_date", "primary_category", "year")
Mask = NDArray[np.bool_]


def section(items: Path) -> str:
    """Shares beside the published ones; what may explain differences: years, missing papers."""
    names = [name for name in COLUMNS if name in pq.read_schema(items).names]
    columns = pq.read_table(items, columns=names)
    if not {"number_of_sub_categories", "has_comments"} & set(names) or not columns.num_rows:
        return "None of the published attributes is here.\n"
    every = np.ones(columns.num_rows, np.bool_)
    parts = [
        table(("share of papers", "here", "published", "off by", "verdict"), _lines(columns, every))
    ]
    if "update_date" in names:
        parts.append(_dates(columns["update_date"]))
    if "year" in names:
        parts.append("By year of submission:\n\n" + _by_year(columns))
    if set(names) >= {"number_of_sub_categories", "primary_category", "year"}:
        parts.append(_alone(columns))
    return "\n\n".join(part for part in parts if part) + "\n"


def _lines(columns: pa.Table, rows: Mask) -> list[tuple[Any, ...]]:
    """Each published share, of the chosen rows."""
    lines = []
    if "number_of_sub_categories" in columns.column_names:
        found = np.asarray(columns["number_of_sub_categories"].drop_null())
        if len(found) == len(rows):
            found = found[rows]
        total = int(CATEGORY_COUNTS.sum())
        for number, count in enumerate(CATEGORY_COUNTS[:7].tolist(), start=1):
            name = f"in {number} sub-categor{'y' if number == 1 else 'ies'}"
            lines.append(
                _line(name, int((found == number).sum()), len(found), count / total, total)
            )
    if "has_comments" in columns.column_names:
        known = np.asarray(pc.fill_null(columns["has_comments"], False))[rows]
        lines.append(
            _line("with comments", int(known.sum()), len(known), COMMENTS_SHARE, LARGE_ROWS)
        )
    return lines


def _line(name: str, found: int, rows: int, share: float, of: int) -> tuple[Any, ...]:
    """Within sampling error or not: both shares are of samples, if independent ones."""
    error = math.sqrt(share * (1.0 - share) * (1.0 / max(rows, 1) + 1.0 / of))
    off = (found / max(rows, 1) - share) / error
    verdict = "agrees" if abs(off) <= SIGMAS else "differs"
    return name, percent(found / max(rows, 1)), percent(share), f"{off:+.1f} sigma", verdict


def _dates(column: pa.ChunkedArray) -> str:
    days = column.cast(pa.int32()) if pa.types.is_date(column.type) else column
    known = np.asarray(days.drop_null()).astype(np.int64)
    if not len(known):
        return ""
    low, high, first, last = (
        np.datetime64(int(day), "D")
        for day in (known.min(), known.max(), FIRST_UPDATE, LAST_UPDATE)
    )
    early = float((known < FIRST_UPDATE).mean())
    told = f"update_date runs from {low} to {high}; published: {first} to {last}."
    if early:
        told += (
            f" {percent(early)} lie before the published range: where arXiv's own date of update "
            "is unknown, that of the last version or of the submission stands for it."
        )
    return told


def _by_year(columns: pa.Table) -> str:
    """Whether shares move with time, as a sample of other years would then differ."""
    years = columns["year"].to_numpy(zero_copy_only=False).astype(np.float64)
    lines = []
    for first in range(1990, 2030, 5):
        rows = (years >= first) & (years < first + 5)
        if rows.sum() < 100:
            continue
        shares: list[Any] = [f"{first} to {first + 4}", int(rows.sum())]
        for name, value in (("number_of_sub_categories", 1), ("has_comments", True)):
            if name in columns.column_names:
                shares.append(percent(float(_equal(columns[name], value)[rows].mean())))
        lines.append(shares)
    heads = ["years", "papers"]
    heads += ["in 1 sub-category"] if "number_of_sub_categories" in columns.column_names else []
    heads += ["with comments"] if "has_comments" in columns.column_names else []
    return table(heads, lines)


def _alone(columns: pa.Table) -> str:
    """Categories without any paper of their own alone: their papers came by cross-lists only."""
    alone = _equal(columns["number_of_sub_categories"], 1)
    recent = np.asarray(pc.fill_null(columns["year"], 0)) >= ALONE_SINCE
    codes = columns["primary_category"].combine_chunks().dictionary_encode()
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.combine_chunks()
    place = np.asarray(codes.indices)
    papers = np.bincount(place[recent], minlength=len(codes.dictionary))
    single = np.bincount(place[recent & alone], minlength=len(papers))
    never = (papers >= ALONE_ROWS) & (single == 0)
    if not never.any():
        return ""
    whole = (single > 0)[place] & recent
    lines = [line for line in _lines(columns, whole) if "sub-" in line[0]]
    return (
        f"Of {int((papers >= ALONE_ROWS).sum())} primary categories with {ALONE_ROWS} papers since "
        f"{ALONE_SINCE}, {int(never.sum())} have none in that category alone: the source did not "
        "hold these categories, only papers of theirs that are cross-listed to others, and so has "
        "more papers in several. Papers since then of the other primary categories:\n\n"
        + table(("share of papers", "here", "published", "off by", "verdict"), lines)
    )


def _equal(column: pa.ChunkedArray, value: Any) -> Mask:
    return np.asarray(pc.fill_null(pc.equal(column, value), False))
