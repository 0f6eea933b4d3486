"""A data set of arXiv papers, as `fanns dataset arxiv` writes it, as a corpus.

Its own query sets stay out: filters of every family are drawn anew for the same query vectors, the
paper's three among them. (`fanns bench import arxiv-fanns` takes the sets as they are, from the
original layout.)
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fanns.bench.workloads.board import Corpus, Declaration
from fanns.bench.workloads.declared import Declared, of_tables
from fanns.bench.workloads.grid import SHORT, Asked, asked, grid
from fanns.datasets.dataset import DatasetError, read_manifest
from fanns.errors import InputError

# What of the attributes gets which filters; a source may lack some of them.
EQUALITY = ("primary_category", "number_of_sub_categories", "has_comments", "license", "year")
CONTAINS = ("sub_categories", "main_categories", "authors")
RANGE = ("submitted_date", "update_date", "abstract_length")
TOPIC = "primary_category"
TEXTS = ("title", "abstract", "text")
RAREST = (
    "random-0.00001-none",
    "contains_one-0.00001-positive",
    "contains_one-0.00001-negative",
    "and3-0.00001-positive",
)


def is_one(path: Path) -> bool:
    """Whether a path is the folder of a data set."""
    return (path / "manifest.json").is_file()


def declaration(columns: Collection[str], folder: Path) -> Declaration:
    """The filters for the attributes that are there. Raises InputError without any of them."""
    found = Declaration(
        equality=tuple(name for name in EQUALITY if name in columns),
        contains=tuple(name for name in CONTAINS if name in columns),
        range=tuple(name for name in RANGE if name in columns),
        correlate_with=TOPIC if TOPIC in columns else None,
    )
    if not found.equality and not found.contains:
        raise InputError(
            f"{folder} has none of the columns {', '.join(EQUALITY + CONTAINS)}: "
            "say by --declare which columns get which filters"
        )
    return found


def cells(full: bool) -> list[Asked]:
    """Every cell, or the short list and the rarest."""
    return grid() if full else [asked(name) for name in (*SHORT, *RAREST)]


def read(folder: Path, given: Declared | None = None) -> tuple[Corpus, Declaration]:
    """Items and query vectors, and the filters: those given, or those that fit the columns.

    The first thousand queries are taken, of a data set without queries a tenth of the items, at
    most as many. Raises InputError for a folder that cannot be read so.
    """
    try:
        manifest = read_manifest(folder)
    except DatasetError as error:
        raise InputError(str(error)) from error
    items = _table(folder / "items.parquet")
    if given is None:
        filters = declaration(items.column_names, folder)
        given = Declared(filters, metric=manifest["metric"], seed=manifest["seed"] or 0)
    path = folder / "queries.parquet"
    queries = (_once(_table(path)), path) if path.name in manifest["files"] else None
    found = of_tables(items, folder / "items.parquet", given, queries)
    named = {"source": f"data set {folder.resolve().name}", "model": manifest["model"]}
    return Corpus(**{**vars(found), **named}), given.filters


def _table(path: Path) -> pa.Table:
    """A table without its texts, which no filter of ours asks for."""
    try:
        names = [name for name in pq.read_schema(path).names if name not in TEXTS]
        return pq.read_table(path, columns=names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def _once(queries: pa.Table) -> pa.Table:
    """The queries of the first set, where there are sets: the others ask the same vectors."""
    if "cell" in queries.column_names:
        raise InputError("this is a workload already: fanns bench run takes it as it is")
    if "set" not in queries.column_names or not queries.num_rows:
        return queries
    return queries.filter(pc.equal(queries["set"], queries["set"][0]))
