"""What a data card says of the attribute columns: counts, values, histograms, correlations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from . import card_figures as figures
from .card_text import number, percent, table
from .parquet_files import streamed

SHOWN = 20  # values of a column that are listed
# Texts, of which the length is told: these, and strings that are long and mostly different.
TEXTS = ("id", "title", "abstract", "comments", "doi", "journal_ref")
LONG = 40  # characters
EPOCH_DAYS = "days since 1970-01-01"


@dataclass(frozen=True)
class Column:
    """One column of a data set.

    Attributes:
        kind: "flag", "number", "day", "value", "values" (a list) or "text".
        nulls: rows without a value. distinct: different values, None for texts.
        counts: values and how many rows have them, most first; empty for texts.
        numbers: float64 of the rows with one: numbers, days, lengths of texts.
    """

    name: str
    type: str
    kind: str
    rows: int
    nulls: int
    distinct: int | None
    counts: list[tuple[Any, int]]
    numbers: NDArray[np.float64]


def read(path: Path) -> list[Column]:
    """All columns but vectors, read one by one."""
    with streamed(path) as file:
        fields = [f for f in file.schema_arrow if not pa.types.is_fixed_size_list(f.type)]
        return [_column(file, field) for field in fields]


def overview(columns: list[Column]) -> str:
    """A line for each column."""
    lines = [
        (c.name, c.type, percent(c.nulls / c.rows) if c.rows else "", c.distinct, _example(c))
        for c in columns
    ]
    return table(("column", "type", "null", "distinct values", "about"), lines)


def details(columns: list[Column], folder: Path, place: str) -> str:
    """A figure for each column, and the values of those that have few; figures go to `folder`,
    which the card calls `place`.
    """
    parts = []
    for column in columns:
        if column.rows == column.nulls:
            continue
        _draw(column, folder / f"{column.name}.png")
        text = f"### {column.name}\n\n![{column.name}]({place}/{column.name}.png)\n"
        if column.kind in ("value", "values", "flag"):
            text += f"\n{_values(column)}\n"
            if column.kind != "flag" and (column.distinct or 0) > SHOWN:
                text += f"\n{_rare(column)}\n"
        parts.append(text)
    return "\n".join(parts)


def correlations(columns: list[Column], folder: Path, place: str) -> str:
    """Spearman's rank correlations of the numbers, days and flags, as a picture and a table."""
    known = [c for c in columns if c.kind in ("number", "day", "flag") and c.nulls == 0]
    known = [c for c in known if len(c.numbers) and c.numbers.min() < c.numbers.max()]
    if len(known) < 2:
        return "Fewer than two columns of numbers without nulls.\n"
    values = np.atleast_2d(np.corrcoef([_ranks(c.numbers) for c in known]))
    names = [c.name for c in known]
    figures.heat(folder / "correlation.png", names, values, "Spearman's rank correlation")
    lines = [
        (names[a], names[b], float(values[a, b]))
        for a in range(len(names))
        for b in range(a + 1, len(names))
    ]
    strongest = sorted(lines, key=lambda line: -abs(line[2]))[:SHOWN]
    return (
        f"![correlation]({place}/correlation.png)\n\n"
        f"{table(('column', 'and', 'rank correlation'), strongest)}\n"
    )


def _column(file: pq.ParquetFile, field: pa.Field) -> Column:
    rows, name, kind = file.metadata.num_rows, field.name, field.type
    strings = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if strings and (name in TEXTS or _is_prose(file, name)):
        lengths = _lengths(file, name)
        return Column(name, "text", "text", rows, rows - len(lengths), None, [], lengths)
    column = file.read(columns=[name])[name]
    told = str(kind).replace("element: ", "")
    nulls = column.null_count
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        counts = _counts(pc.list_flatten(column))
        sizes = _floats(pc.list_value_length(column))
        return Column(name, told, "values", rows, nulls, len(counts), counts, sizes)
    counts = _counts(column)
    numbers, group = np.empty(0), "value"
    if pa.types.is_boolean(kind):
        group, numbers = "flag", _floats(column.cast(pa.int8()))
    elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        group, numbers = "day", _floats(column.cast(pa.date32()).cast(pa.int32()))
    elif pa.types.is_integer(kind) and name.endswith("_date"):
        group, numbers, told = "day", _floats(column), f"{told}, {EPOCH_DAYS}"
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        group, numbers = "number", _floats(column)
    return Column(name, told, group, rows, nulls, len(counts), counts, numbers)


def _is_prose(file: pq.ParquetFile, name: str) -> bool:
    """Whether the first strings are long and mostly different."""
    batch = next(file.iter_batches(batch_size=8192, columns=[name]), None)
    known = [] if batch is None else pc.drop_null(batch.column(0))
    if len(known) < 2:
        return False
    return _floats(pc.utf8_length(known)).mean() > LONG and 2 * len(pc.unique(known)) > len(known)


def _lengths(file: pq.ParquetFile, name: str) -> NDArray[np.float64]:
    """Characters of the strings that are not null, batch by batch."""
    parts = [
        _floats(pc.utf8_length(batch.column(0)))
        for batch in file.iter_batches(batch_size=16_384, columns=[name])
    ]
    return np.concatenate([np.empty(0), *parts])


def _floats(values: Any) -> NDArray[np.float64]:
    return np.asarray(pc.drop_null(values).cast(pa.float64()))


def _counts(values: Any) -> list[tuple[Any, int]]:
    found = pc.value_counts(values).to_pylist()
    known = [(one["values"], one["counts"]) for one in found if one["values"] is not None]
    return sorted(known, key=lambda pair: (-pair[1], str(pair[0])))


def _example(column: Column) -> str:
    """In few words what the column holds."""
    if column.rows == column.nulls:
        return "nothing but nulls"
    at = np.percentile(column.numbers, [0, 50, 100]) if len(column.numbers) else np.zeros(3)
    if column.kind == "day":
        low, middle, high = at.astype("datetime64[D]")
        return f"{low} to {high}, median {middle}"
    if column.kind == "number":
        mean = number(float(column.numbers.mean()))
        return f"{number(at[0])} to {number(at[2])}, median {number(at[1])}, mean {mean}"
    if column.kind == "text":
        return f"{number(at[0])} to {number(at[2])} characters, median {number(at[1])}"
    if column.kind == "flag":
        return f"true for {percent(float(column.numbers.mean()))}"
    top = ", ".join(str(value) for value, _ in column.counts[:3])
    listed = f"{number(column.numbers.mean())} a row; " if column.kind == "values" else ""
    return f"{listed}most: {top}"


def _values(column: Column) -> str:
    filled = column.rows - column.nulls
    lines = [(value, count, percent(count / filled)) for value, count in column.counts[:SHOWN]]
    left = len(column.counts) - len(lines)
    rest = f"\n\nand {left:,} more values.\n" if left else ""
    return table(("value", "rows", "share"), lines) + rest


def _rare(column: Column) -> str:
    """How many values have few rows (the paper draws it as an inverse histogram)."""
    sizes = np.array([count for _, count in column.counts])
    edges = [1, 2, 3, 6, 11, 101, 1001, 10**12]
    names = ["1", "2", "3-5", "6-10", "11-100", "101-1,000", "more"]
    lines = [
        (name, int(((sizes >= low) & (sizes < high)).sum()))
        for name, low, high in zip(names, edges, edges[1:], strict=False)
    ]
    return table(("rows of a value", "values"), lines)


def _draw(column: Column, path: Path) -> None:
    if column.kind in ("value", "values", "flag") and (column.distinct or 0) <= 60:
        top = column.counts[:40]
        figures.bars(path, [str(v) for v, _ in top], [n for _, n in top], column.name, "rows")
    elif column.kind in ("value", "values"):
        sizes = [count for _, count in column.counts]
        curve = {column.name: (np.arange(1, len(sizes) + 1), sizes)}
        figures.lines(path, curve, column.name, ("value, by its rank", "rows"), log="xy")
    elif column.kind == "day":
        years = column.numbers.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)
        counted = Counter((years + 1970).tolist())
        span = np.arange(min(counted), max(counted) + 1)
        rows = np.array([counted[int(year)] for year in span])
        figures.columns(path, span, rows, column.name, "year")
    else:
        axis = "characters" if column.kind == "text" else column.name
        _histogram(path, column, axis)


def _histogram(path: Path, column: Column, axis: str) -> None:
    """Whole numbers one by one where they are few; else forty bins up to the 99.5th percentile."""
    numbers = column.numbers
    top = float(np.percentile(numbers, 99.5))
    within, beyond = numbers[numbers <= top], int((numbers > top).sum())
    title = column.name + (f" ({beyond:,} beyond the right edge)" if beyond else "")
    if np.all(within == np.floor(within)) and within.max() - within.min() <= 40:
        places, rows = np.unique(within, return_counts=True)
        figures.columns(path, places, rows, title, axis)
    else:
        rows, edges = np.histogram(within, bins=40)
        figures.columns(path, edges, rows, title, axis)


def _ranks(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, the mean of them where numbers are equal."""
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[place])
