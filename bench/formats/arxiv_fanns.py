"""The layout of the arxiv-for-fanns benchmark, and any data of ours that fits it.

    database_vectors.fvecs   database_attributes.jsonl   query_vectors.fvecs
    ground_truth.ivecs       the nearest items without a filter
    <set>_query_attributes.jsonl and ground_truth_<set>.ivecs, for the sets
        em    {"label": 2}                 number_of_sub_categories = label
        r     {"range_start": 15000, "range_end": 16000}   update_date within, both ends included
        emis  {"label": "math"}            main_categories contains label

update_date counts days since 1970-01-01; here it is a date. All sets ask the same query vectors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from fanns.bench.formats import vecs
from fanns.bench.formats.cells import (
    answers_of,
    asked_equal,
    asked_one,
    asked_range,
    file_name,
    queries_of,
)
from fanns.bench.formats.exchange import Foreign, QuerySet
from fanns.bench.formats.hostile import FormatError, size_of
from fanns.bench.workloads.workload import Cell, Workload
from fanns.datasets import vecs as writing
from fanns.datasets.arxiv_layout import json_line, write_lines
from fanns.errors import InputError

_EPOCH = date(1970, 1, 1)
DATES = ("update_date",)
ATTRIBUTES = pa.schema(
    [
        ("submitter", pa.string()),
        ("has_comments", pa.bool_()),
        ("number_of_main_categories", pa.int64()),
        ("main_categories", pa.list_(pa.string())),
        ("number_of_sub_categories", pa.int64()),
        ("sub_categories", pa.list_(pa.string())),
        ("license", pa.string()),
        ("number_of_versions", pa.int64()),
        ("update_date", pa.int64()),
        ("number_of_authors", pa.int64()),
        ("authors", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class _Set:
    """A query set of the layout: its filter, and the names of its parameters in files."""

    name: str
    where: str
    schema: pa.Schema


SETS = (
    _Set("em", "number_of_sub_categories = :label", pa.schema([("label", pa.int64())])),
    _Set(
        "r",
        "update_date BETWEEN :range_start AND :range_end",
        pa.schema([("range_start", pa.int64()), ("range_end", pa.int64())]),
    ),
    _Set("emis", "list_contains(main_categories, :label)", pa.schema([("label", pa.string())])),
)


def read(folder: Path, metric: str = "l2") -> Foreign:
    """What a folder holds; sets whose files are missing are left out. Raises FormatError.

    The layout's own metric is l2, which for its unit vectors orders as cosine does.
    """
    vectors = vecs.read_fvecs(folder / "database_vectors.fvecs")
    asked = vecs.read_fvecs(folder / "query_vectors.fvecs")
    file = folder / "database_attributes.jsonl"
    attributes = _dated(file, _lines(file, ATTRIBUTES))
    sets = [_query_set(folder, "none", "none", None, asked, [{}] * len(asked))]
    for one in SETS:
        file = folder / f"{one.name}_query_attributes.jsonl"
        if not file.exists():
            continue
        params = _lines(file, one.schema, only=True).to_pylist()
        if one.name == "r":
            params = [{name: _date(file, day) for name, day in each.items()} for each in params]
        sets.append(_query_set(folder, one.name, one.name, one.where, asked, params))
    return Foreign(str(folder), metric, vectors, attributes, sets)


def write(workload: Workload, names: Sequence[str], folder: Path) -> list[str]:
    """Writes items, query vectors and every cell that the layout can hold; what was done.

    Cells fit that compare a column with `=`, ask for a range of it or for one value of a list, and
    whose query vectors are those of the first cell. Dates become days since 1970-01-01. Raises
    InputError for a workload whose order is not that of Euclidean distances.
    """
    if workload.metric == "ip":
        raise InputError(f"{workload.name} has the metric ip; this layout is for l2 and cosine")
    chosen = [cell for cell in workload.cells if cell.name in names]
    if not chosen:
        return []
    vectors = workload.queries[queries_of(chosen[0])]
    lines = workload.attributes.to_batches(1 << 14)
    said = [
        str(writing.write_fvecs(folder / "database_vectors.fvecs", workload.vectors)),
        str(writing.write_fvecs(folder / "query_vectors.fvecs", vectors)),
        str(write_lines(folder / "database_attributes.jsonl", lines)),
    ]
    for cell in chosen:
        numbers = queries_of(cell)
        if not np.array_equal(workload.queries[numbers], vectors):
            said.append(f"left out {cell.name}: its query vectors are not those of the others")
            continue
        title = _title(cell, chosen)
        if cell.where is not None:
            renamed = _renamed(cell)
            if renamed is None:
                said.append(f"left out {cell.name}: this layout cannot hold {cell.where}")
                continue
            params = [
                json_line({new: workload.params[i][old] for old, new in renamed.items()})
                for i in numbers
            ]
            file = folder / f"{title}_query_attributes.jsonl"
            file.write_text("".join(params), encoding="utf-8")
            said.append(str(file))
        found = answers_of(workload, numbers)
        lists = writing.Lists(found.rows.astype(np.int32), found.offsets)
        answers = folder / ("_".join(filter(None, ["ground_truth", title])) + ".ivecs")
        said.append(str(writing.write_ivecs(answers, lists)))
    return said


def _query_set(
    folder: Path, name: str, family: str, where: str | None, asked: Any, params: Any
) -> QuerySet:
    """A set with its answers, if their file is there."""
    file = folder / ("ground_truth.ivecs" if where is None else f"ground_truth_{name}.ivecs")
    if not file.exists():
        return QuerySet(name, family, where, asked, params)
    found = vecs.read_ivecs(file)
    return QuerySet(name, family, where, asked, params, file, found.values, found.offsets)


def _lines(path: Path, schema: pa.Schema, only: bool = False) -> pa.Table:
    """A file of JSON objects, one a line; columns that the schema does not name are inferred.

    With `only`, every line has the columns of the schema, none of them null, and no others.
    """
    if size_of(path) == 0:
        return schema.empty_table()
    reading = pa.json.ReadOptions(block_size=1 << 24)  # a line must fit
    parsing = pa.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="error" if only else "infer"
    )
    try:
        table = pa.json.read_json(path, reading, parsing)
    except pa.ArrowException as error:
        raise FormatError(f"{path}: {_first_bad_line(path, schema, only) or error}") from error
    if only and any(column.null_count for column in table.columns):
        raise FormatError(f"{path}: {_first_bad_line(path, schema, only)}")
    return table


def _first_bad_line(path: Path, schema: pa.Schema, only: bool) -> str:
    """What is wrong, and in which line, for a file that was refused as a whole."""
    names = set(schema.names)
    with path.open("rb") as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            where = f"line {number:,} (at byte {offset}): "
            offset += len(line)
            try:
                found = json.loads(line)
                if not isinstance(found, dict):
                    return where + f"expected a JSON object, found {str(found)[:60]}"
                if only and (set(found) != names or None in found.values()):
                    return where + f"expected {', '.join(schema.names)}, found {str(found)[:60]}"
                pa.Table.from_pylist([found], schema=schema)
            except ValueError as error:  # of json, of Unicode and of Arrow
                return where + str(error)
            except pa.ArrowException as error:
                return where + str(error)
    return ""


def _dated(path: Path, table: pa.Table) -> pa.Table:
    """The table with day numbers as dates."""
    for name in DATES:
        at = table.schema.get_field_index(name)
        days = table.column(at)
        if len(days) and days.null_count < len(days):
            bounds = pc.min_max(days).as_py()
            _date(path, bounds["min"])
            _date(path, bounds["max"])
        table = table.set_column(at, name, days.cast(pa.int32()).cast(pa.date32()))
    return table


def _date(path: Path, day: int) -> date:
    try:
        return date.fromordinal(_EPOCH.toordinal() + day)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{path}: {day} is no day since 1970-01-01: {error}") from error


def _title(cell: Cell, chosen: Sequence[Cell]) -> str:
    """What the files of a cell are named after: the layout's own word where it has one."""
    if cell.where is None:
        return ""
    own = [one.name for one in SETS if one.name == cell.family]
    alone = sum(other.family == cell.family for other in chosen) == 1
    return own[0] if own and alone else file_name(cell.name)


def _renamed(cell: Cell) -> dict[str, str] | None:
    """The names in files of a cell's parameters; None for a filter of another shape."""
    assert cell.where is not None
    if found := asked_equal(cell.where) or asked_one(cell.where):
        return {found[1]: "label"}
    if between := asked_range(cell.where):
        return {between[1]: "range_start", between[2]: "range_end"}
    return None
