"""What a data card says of a data set beside another one that it should look like.

Eigenvalues, similarities of neighbours, the correlation of filters with neighbourhoods, and which
of three faiss indexes is faster at equal recall. The last is measured by the clock: this part of a
card is not the same every time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError

from . import arxiv_attributes, arxiv_records, dataset, faiss_order, own_values, spectrum
from . import card_figures as figures
from .card_text import number, percent, table
from .parquet_files import streamed, take

ROWS = 20_000  # of both sides at most; how near neighbours are depends on the number of rows
FEWEST = 100  # rows of both: fewer have no clusters
QUERIES = 1000
PLACES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 300, 500, 1000)
RANKS = (1, 10, 100, 1000)
ATTRIBUTES = (
    "main_categories",
    "sub_categories",
    "number_of_sub_categories",
    "has_comments",
    "number_of_authors",
    "update_date",
)
NOTHING = 0.01  # a correlation that is as good as none
Floats = NDArray[np.float32]


class Side(NamedTuple):
    """A sample of one data set: vectors float32[n, d] of unit length, attributes of the same rows,
    queries float32[m, d], and how the columns of the tables call it.
    """

    name: str
    vectors: Floats
    attributes: pa.Table
    queries: Floats


def check(reference: Path) -> None:
    """Raises InputError when a reference cannot be read or has no vectors, MissingDependencyError
    without faiss.
    """
    faiss_order.loaded()
    with _opened(_files(reference)[0]) as file:
        schema = file.schema_arrow
    kind = schema.field("embedding").type if "embedding" in schema.names else None
    if kind is None or not pa.types.is_fixed_size_list(kind):
        raise InputError(f"{reference} has no column `embedding` of vectors to compare")


def section(folder: Path, reference: Path, pictures: Path, place: str) -> str:
    """Tables and figures; `check` said that they can be made."""
    rows = min(ROWS, _rows(folder), _rows(reference))
    if rows < FEWEST:
        return f"Data sets of fewer than {FEWEST} rows are not compared.\n"
    sides = (side("this one", folder, rows), side("the other", reference, rows))
    found = [own_values.neighbours(side.vectors) for side in sides]
    curves = [faiss_order.curves(side.vectors, side.queries) for side in sides]
    _draw_speeds(curves, sides, pictures / "speeds.png")
    return "\n\n".join(
        [
            f"{rows:,} rows of each. The other: {reference.resolve().name}.",
            f"### Eigenvalues\n\n{_spectra(sides, pictures, place)}",
            f"### Neighbours\n\nMedian cosine of the nearest rows:\n\n{_similarities(found)}",
            "### Filters by a row's own values\n\nOf the 50 nearest rows so many times as many "
            f"pass as of all; correlation as above.\n\n{_filters(sides, found)}",
            "### Order of indexes\n\nQueries a second of three faiss indexes on one thread, at "
            f"equal recall@10.\n\n{_orders(curves)}\n\n![speeds]({place}/speeds.png)\n",
        ]
    )


def _files(folder: Path) -> list[Path]:
    items = folder / "items.parquet"
    files = [items] if items.exists() else sorted(folder.glob("papers-*.parquet"))
    if not files:
        raise InputError(f"{folder} has neither items.parquet nor papers-*.parquet")
    return files


def _rows(folder: Path) -> int:
    with _opened(_files(folder)[0]) as file:
        return spectrum.most_rows(file, "embedding")


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return streamed(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file} cannot be read as Parquet: {error}") from error


def side(name: str, folder: Path, rows: int) -> Side:
    """A seeded sample of a data set of ours, or of the first file of records with vectors."""
    file = _files(folder)[0]
    with streamed(file) as opened:
        total, names = opened.metadata.num_rows, opened.schema_arrow.names
        chosen = spectrum.sample_rows(total, rows, 0)
        raw = not set(ATTRIBUTES) & set(names)
        kept = [
            name
            for name in names
            if name in ATTRIBUTES or (raw and name not in ("embedding", "abstract"))
        ]
        columns = take(opened, kept, chosen)
    vectors = _unit(spectrum.sample(file, rows=rows))
    if raw:
        columns = attributes_of(columns)
    known = [column for column in ATTRIBUTES if column in columns.column_names]
    return Side(name, vectors, columns.select(known), _queries(folder, vectors))


def attributes_of(columns: pa.Table) -> pa.Table:
    """The attributes of raw records, whose abstract nothing here needs."""
    records = [
        arxiv_records.record({**fields, "abstract": "-"}).values for fields in columns.to_pylist()
    ]
    told = arxiv_records.columns_of([*columns.column_names, "abstract"])
    names = [name for name in arxiv_records.RECORD.names if name in told]
    return arxiv_attributes.attributes(arxiv_records.table(records).select(names))


def _queries(folder: Path, vectors: Floats) -> Floats:
    """Those of the data set, each once; without any, perturbed rows."""
    path = folder / "queries.parquet"
    if path.exists():
        found = pq.read_table(path)
        if "set" in found.column_names and found.num_rows:
            first = found["set"][0].as_py()
            found = found.slice(0, found["set"].to_pylist().count(first))
        return _unit(dataset.vectors(found.slice(0, QUERIES)))
    rng = np.random.default_rng(14)
    rows = vectors[rng.choice(len(vectors), min(QUERIES, len(vectors)), replace=False)]
    noise = rng.standard_normal(rows.shape, np.float32) * np.float32(0.5 / rows.shape[1] ** 0.5)
    return _unit(rows + noise)


def _unit(vectors: NDArray[Any]) -> Floats:
    wide = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.ascontiguousarray(wide / np.where(lengths > 0, lengths, 1.0), np.float32)


def _spectra(sides: tuple[Side, Side], pictures: Path, place: str) -> str:
    found = [spectrum.measure(side.vectors) for side in sides]
    curves = {}
    for side, one in zip(sides, found, strict=True):
        positive = one.shares > 1e-9
        curves[side.name] = (np.flatnonzero(positive) + 1, one.shares[positive])
    figures.lines(
        pictures / "spectra.png",
        curves,
        "eigenvalues of the covariance",
        ("rank", "share of the variance"),
        log="xy",
    )
    width = max(one.dimensions for one in found)
    here, there = (np.pad(one.shares, (0, width - one.dimensions)) for one in found)
    lines: list[tuple[Any, ...]] = [
        (f"eigenvalue {at}", float(here[at - 1]), float(there[at - 1]))
        for at in PLACES
        if at <= width
    ]
    told: dict[str, list[float]] = {
        "dimensions": [one.dimensions for one in found],
        "numerical rank": [one.rank for one in found],
        "effective rank": [one.effective_rank for one in found],
        "participation ratio": [one.participation for one in found],
        "length of the mean": [one.mean for one in found],
    }
    lines += [(name, *values) for name, values in told.items()]
    apart = float(np.abs(np.cumsum(here) - np.cumsum(there)).max())
    return (
        f"{table(('', *(side.name for side in sides)), lines)}\n\n"
        f"The sums of the first eigenvalues are {percent(apart)} of the variance apart at most.\n\n"
        f"![spectra]({place}/spectra.png)"
    )


def _similarities(found: list[own_values.Neighbours]) -> str:
    lines = []
    for rank in RANKS:
        if rank < found[0].similarity.shape[1]:
            medians = [
                float(np.median(-np.partition(-one.similarity, rank - 1, axis=1)[:, rank - 1]))
                for one in found
            ]
            lines.append((f"neighbour {rank}", *medians))
    return table(("", "this one", "the other"), lines)


def _filters(sides: tuple[Side, Side], found: list[own_values.Neighbours]) -> str:
    here, there = (
        own_values.of_table(side.attributes, one, side.vectors)
        for side, one in zip(sides, found, strict=True)
    )
    lines = []
    for name in (name for name in here if name in there):
        a, b = here[name], there[name]
        same = _sign(a.correlation) == _sign(b.correlation)
        both = f"{a.correlation:+.2f}", f"{b.correlation:+.2f}"
        lines.append((name, *_times(a), *_times(b), *both, "same" if same else "differs"))
    heads = ("filter", "passes", "times", "other passes", "times", "correlation", "other", "sign")
    return table(heads, lines)


def _times(one: own_values.Own) -> tuple[str, str]:
    return percent(one.share), number(one.near / one.share) if one.share else ""


def _sign(value: float) -> int:
    return 0 if abs(value) < NOTHING else (1 if value > 0 else -1)


def _orders(curves: list[list[faiss_order.Curve]]) -> str:
    lines: list[tuple[Any, ...]] = []
    for target in faiss_order.TARGETS:
        for own, other in zip(*curves, strict=True):
            speeds = [own.at(target), other.at(target)]
            whole = [None if speed is None else round(speed) for speed in speeds]
            lines.append((f"{target}", own.name, *whole))
        here, there = (faiss_order.order(one, target) for one in curves)
        lines.append(
            (f"{target}", "the same order" if here == there else "another order", None, None)
        )
    return table(("recall", "index", "this one", "the other"), lines)


def _draw_speeds(
    curves: list[list[faiss_order.Curve]], sides: tuple[Side, Side], path: Path
) -> None:
    drawn = {
        f"{curve.name}, {side.name}": (curve.recall, curve.speed)
        for side, group in zip(sides, curves, strict=True)
        for curve in group
    }
    figures.lines(
        path, drawn, "faiss, one thread", ("recall@10", "queries a second"), log="y", marker="o"
    )
