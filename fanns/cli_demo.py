"""`fanns demo`: one query of each kind of filter, on data that needs no download."""

from __future__ import annotations

import datetime as dt
import shlex
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from fanns.cli_options import progress, quiet_option, say, threads_option
from fanns.cli_output import cell, render
from fanns.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from fanns import Hits, Index

K = 10
QUERIES = 50  # that recall and time are measured on
SAMPLES = 100  # other queries, that the recall target is calibrated on
INDEX_NAME, DATA_NAME, QUERY_NAME = "papers.fanns", "papers.parquet", "q.npy"


class Case(NamedTuple):
    """One kind of filter: its SQL, and the same condition by pyarrow, for the exact answers."""

    kind: str
    where: str | None
    mask: Callable[[pa.Table], Any]


@click.command()
@click.option("--rows", type=click.IntRange(min=1000), default=20_000, show_default=True)
@click.option("--dimensions", type=click.IntRange(min=8), default=256, show_default=True)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("fanns-demo"),
    show_default=True,
    help="Where the data, the index and a query vector are left.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the data and the build.")
@threads_option(None, "Threads of the build. Default: all cores.")
@quiet_option
def demo(
    rows: int, dimensions: int, folder: Path, seed: int, threads: int | None, quiet: bool
) -> None:
    """Make an arXiv-like data set, build an index, and query it with every kind of filter.

    The records look like arXiv's and come from a seed; their vectors are simulated.
    """
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"Making {rows:,} arXiv-like papers with simulated vectors (seed {seed}) ...", quiet)
    items, queries, samples, phrase = _make(rows, dimensions, seed)
    np.save(folder / QUERY_NAME, queries[0])
    index = _build(items, samples, folder, seed, threads, quiet)
    click.echo(
        f"{len(index):,} papers, {dimensions} dimensions, cosine. The vectors are SIMULATED: they "
        "follow\neach paper's categories, not its text, so titles need not resemble each other.\n"
    )
    say("Searching; kernels are compiled on first use, once per machine ...", quiet)
    index.warmup()
    cases = _cases()
    reports = [_run(index, items, queries, case) for case in cases]
    heads = ("filter", "matches", "status", f"recall@{K}", "time", "plan")
    click.echo(render(heads, [report.line for report in reports]))
    click.echo(
        f"\nMeans over {QUERIES} queries; recall is against exact answers computed with numpy in "
        "float64.\ntime is the median of one search from Python on one thread.\n"
    )
    click.echo(f"The nearest three of the first query, {phrase}:\n")
    for case, report in zip(cases, reports, strict=True):
        _print_hits(case, report.hits)
    chosen = next(case.where for case in cases if case.kind == "equality")
    click.echo(f"EXPLAIN  {chosen}\n{index.explain(queries[0], K, chosen)}\n")
    nearest = reports[0].hits.ids[0]
    index.close()
    click.echo(_next_steps(folder, nearest))


class Report(NamedTuple):
    """What one case gave: its line in the table, and the hits of the first query."""

    line: tuple[str, ...]
    hits: Hits


def _cases() -> list[Case]:
    import pyarrow as pa
    import pyarrow.compute as pc

    def has(table: pa.Table, name: str) -> Any:
        lists = table["categories"].combine_chunks()
        rows = pc.list_parent_indices(lists).filter(pc.equal(pc.list_flatten(lists), name))
        mask = np.zeros(table.num_rows, bool)
        mask[np.asarray(rows)] = True
        return mask

    day = pa.scalar(dt.date(2020, 1, 1))
    return [
        Case("none", None, lambda t: np.ones(t.num_rows, bool)),
        Case(
            "equality",
            "primary_category = 'cs.LG'",
            lambda t: pc.equal(t["primary_category"], "cs.LG"),
        ),
        Case(
            "IN",
            "primary_category IN ('hep-th', 'hep-ph', 'gr-qc')",
            lambda t: pc.is_in(t["primary_category"], pa.array(["hep-th", "hep-ph", "gr-qc"])),
        ),
        Case(
            "date range",
            "submitted_date >= '2020-01-01'",
            lambda t: pc.greater_equal(t["submitted_date"], day),
        ),
        Case(
            "list, any of",
            "list_has_any(categories, ['stat.ML', 'cs.CV'])",
            lambda t: has(t, "stat.ML") | has(t, "cs.CV"),
        ),
        Case(
            "list, all of",
            "list_has_all(categories, ['cs.LG', 'stat.ML'])",
            lambda t: has(t, "cs.LG") & has(t, "stat.ML"),
        ),
        Case(
            "AND, OR, NOT",
            "(primary_category = 'quant-ph' OR versions > 3) AND NOT submitted_date < '2020-01-01'",
            lambda t: pc.and_(
                pc.or_(pc.equal(t["primary_category"], "quant-ph"), pc.greater(t["versions"], 3)),
                pc.greater_equal(t["submitted_date"], day),
            ),
        ),
        Case("IS NULL", "comments IS NULL", lambda t: pc.is_null(t["comments"])),
        Case("LIKE", "title LIKE 'Towards%'", lambda t: pc.starts_with(t["title"], "Towards")),
    ]


def _make(rows: int, dimensions: int, seed: int) -> tuple[pa.Table, Any, Any, str]:
    """The items, the queries [QUERIES, d], sample queries [SAMPLES, d], and the first in words."""
    from fanns.datasets import arxiv_like, dataset

    queries = arxiv_like.queries(QUERIES + SAMPLES, dimensions, seed)
    vectors, first = dataset.vectors(queries), queries.slice(0, 1).to_pylist()[0]
    phrase = f'"{first["text"]}" ({first["primary_category"]})'
    items = arxiv_like.items(rows, dimensions, seed)
    return items, vectors[:QUERIES], vectors[QUERIES:], phrase


def _build(
    items: pa.Table, samples: Any, folder: Path, seed: int, threads: int | None, quiet: bool
) -> Index:
    import pyarrow.parquet as pq

    from fanns import Index

    pq.write_table(items, folder / DATA_NAME)
    started = time.perf_counter()
    with progress(quiet) as report:
        index = Index.build(
            items,
            path=folder / INDEX_NAME,
            overwrite=True,
            queries=samples,
            seed=seed,
            threads=threads,
            progress=report,
        )
    say(f"Built {folder / INDEX_NAME} in {time.perf_counter() - started:.1f} s.", quiet)
    return index


def _run(index: Index, items: pa.Table, queries: Any, case: Case) -> Report:
    """Search every query under one filter, and compare with the exact answers."""
    import pyarrow.compute as pc

    from fanns.datasets import dataset, exact

    vectors = dataset.vectors(items)
    mask = np.asarray(pc.fill_null(_column(case.mask(items)), False))
    truth = exact.nearest(vectors, queries, K, mask=mask)
    known = {key: row for row, key in enumerate(items["id"].to_pylist())}
    recalls, times, found = [], [], []
    for number, query in enumerate(queries):
        started = time.perf_counter()
        hits = index.search(query, K, case.where)
        times.append(time.perf_counter() - started)
        rows = np.array([known[key] for key in hits.ids], np.int64)
        if not mask[rows].all():
            raise RuntimeError(f"a hit does not pass the filter {case.where!r}: please report this")
        true = truth.of(number)[1]
        recalls.append(exact.recall(hits.ids, exact.distances(vectors[rows], query), true))
        found.append(hits)
    first, statuses = found[0], Counter(hits.status for hits in found)
    plan = first.explain().to_dict()["segments"][0]["path"]
    line = (
        case.kind,
        f"{first.matches:,}",
        _told(statuses),
        f"{statistics.fmean(recalls):.3f}",
        f"{statistics.median(times) * 1e3:.2f} ms",
        plan,
    )
    return Report(line, first)


def _told(statuses: Counter[str]) -> str:
    """One status, or how many queries had each."""
    if len(statuses) == 1:
        return next(iter(statuses))
    return ", ".join(f"{count} {status}" for status, count in statuses.most_common())


def _column(mask: Any) -> Any:
    import pyarrow as pa

    return pa.array(mask) if isinstance(mask, np.ndarray) else mask


def _print_hits(case: Case, hits: Hits) -> None:
    """The three nearest titles under a filter."""
    click.echo(f"WHERE {case.where}" if case.where else "no filter")
    for row in hits.to_arrow(columns=["title", "primary_category"]).slice(0, 3).to_pylist():
        values = [row["id"], f"{row['distance']:.4f}", row["primary_category"], row["title"]]
        click.echo(f"  {values[0]}  {values[1]}  {values[2]:<18} {cell(values[3])}")
    click.echo()


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else, and no demo before this one."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and INDEX_NAME not in names and not {DATA_NAME, QUERY_NAME} <= names:
        raise InputError(f"{folder} holds other files: give another folder with --dir")


def _next_steps(folder: Path, nearest: str) -> str:
    """Commands that work as printed."""
    index, data, again, query = (
        shlex.quote(str(folder / name))
        for name in (INDEX_NAME, DATA_NAME, "again.fanns", QUERY_NAME)
    )
    steps = (
        f"query {index} --vector-file {query} -k 5 --columns title,submitted_date",
        f"query {index} --vector-file {query} "
        '--where "submitted_date >= :since" -p since=2020-01-01 --explain',
        f"query {index} --like {nearest} "
        "--where \"list_contains(categories, 'cs.LG')\" --format json",
        f"info {index}",
        f"check {index} --where \"primary_category = 'cs.LG'\" --min-recall 0.9",
        f"build {data} -o {again} --attributes primary_category,submitted_date --store title",
    )
    return "\n".join(["Try next:", *(f"  fanns {step}" for step in steps)])
