"""The base set of an arXiv data set: attributes of the records, without the papers held out.

Every shard of records gives a shard of attributes and one of held-out papers, of which search
phrases are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import run_files
from .arxiv_attributes import attributes
from .arxiv_queries import held_out, search_phrases
from .arxiv_reading import Reading

STAGE, HELD_OUT = "attributes", "held-out"
DEFAULT_QUERIES = 1000
# What is embedded of a paper. Iff et al. (2025) embed abstracts alone.
TEXTS = ("title-abstract", "abstract", "title")
Report = Callable[[str, int, int], None]


class Base(NamedTuple):
    """shards of attributes in order, none of them empty; their rows; the papers held out."""

    shards: list[Path]
    rows: int
    held_out: pa.Table


def records_for(limit: int | None, queries: int | None) -> int | None:
    """How many records `limit` items and their queries take; None for all."""
    if limit is None:
        return None
    return limit + (max(1, min(DEFAULT_QUERIES, limit // 10)) if queries is None else queries)


def queries_of(rows: int, queries: int | None) -> int:
    """How many of so many papers are held out: as asked, else an eleventh, 1,000 at most."""
    return max(1, min(DEFAULT_QUERIES, rows // 11)) if queries is None else queries


def split(
    reading: Reading, folder: Path, queries: int, seed: int, report: Report | None = None
) -> Base:
    """Attributes of all papers but `queries` that are drawn, which are held out.

    Raises InputError when there are not more papers than that.
    """
    away = held_out(reading.rows, queries, seed)
    columns = [name for name in pq.read_schema(reading.shards[0]).names if name in reading.columns]
    first, shards, apart = 0, [], []
    for number, path in enumerate(reading.shards):
        kept = run_files.shard(folder, STAGE, number)
        held = run_files.shard(folder, HELD_OUT, number)
        rows = pq.read_metadata(path).num_rows
        if not (kept.exists() and held.exists()):
            found = attributes(pq.read_table(path, columns=columns))
            mask = pa.array(away[first : first + rows])
            run_files.write_table(held, found.filter(mask).select(["id", "title", "abstract"]))
            run_files.write_table(kept, found.filter(pc.invert(mask)))
        first += rows
        shards.append(kept)
        apart.append(held)
        if report is not None:
            report(STAGE, first, reading.rows)
    shards = [path for path in shards if rows_of([path])]
    return Base(shards, rows_of(shards), pa.concat_tables([pq.read_table(p) for p in apart]))


def rows_of(shards: Sequence[Path]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in shards)


def phrases(held: pa.Table, count: int, seed: int) -> pa.Table:
    """Search phrases of held-out papers: text, kind, paper (its id). Raises InputError."""
    found = search_phrases(held, count, seed)
    papers = held["id"].combine_chunks().take(found["row"].combine_chunks())
    return found.drop_columns(["row"]).append_column("paper", papers)


def texts_of(papers: pa.Table, text: str) -> list[str]:
    """What is embedded of each paper, one of TEXTS."""
    if text != "title-abstract":
        return list(papers[text].to_pylist())
    pairs = zip(papers["title"].to_pylist(), papers["abstract"].to_pylist(), strict=True)
    return [f"{title}. {abstract}" for title, abstract in pairs]
