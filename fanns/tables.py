"""Anything that holds a table, as an Arrow table: Arrow, pandas, polars, arrays, Parquet files."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.errors import InputError

EXPECTED = (
    "an Arrow table, batch or reader, a pandas or polars data frame, a dict of arrays, "
    "or the path of a Parquet file"
)


def read_table(data: Any) -> pa.Table:
    """The Arrow table in `data`, without a copy where its kind allows.

    Accepts a pyarrow Table, RecordBatch or RecordBatchReader; a pandas DataFrame (NaN counts as
    missing; a named index becomes a column); a polars DataFrame or LazyFrame; anything with
    `__arrow_c_stream__`; a dict of columns (1-d arrays or lists, 2-d numpy arrays become vector
    columns); the path of a Parquet file, of a folder of them, a glob pattern, or a list of paths.

    Raises InputError naming what cannot be read.
    """
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if isinstance(data, (str, os.PathLike)):
        return _read_parquet(parquet_files(data))
    if isinstance(data, Mapping):
        return _from_columns(data)
    if isinstance(data, Sequence) and data and all(isinstance(p, (str, os.PathLike)) for p in data):
        return _read_parquet([path for part in data for path in parquet_files(part)])
    module = type(data).__module__.partition(".")[0]
    if module == "pandas" and hasattr(data, "columns"):
        return _from_pandas(data)
    if module == "polars" and hasattr(data, "collect"):
        data = data.collect()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise InputError(f"cannot read a table from {type(data).__name__}: expected {EXPECTED}")


def parquet_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files that a path, a folder or a glob pattern stands for, sorted."""
    found = Path(path)
    if found.is_dir():
        files = sorted(found.glob("*.parquet"))
        if not files:
            raise InputError(f"the folder {found} holds no .parquet file")
        return files
    if found.exists():
        return [found]
    files = [Path(name) for name in sorted(glob.glob(os.fspath(path)))]
    if not files:
        raise InputError(f"no such file: {found}")
    return files


def _read_parquet(paths: list[Path]) -> pa.Table:
    """The rows of all files in the given order; their schemas must agree."""
    import pyarrow.parquet as pq

    tables: list[pa.Table] = []
    for path in paths:
        try:
            file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
            table = file.read()
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as Parquet: {error}") from error
        if tables:
            check_same_columns(tables[0].schema, table.schema, paths[0], path)
        tables.append(table)
    return pa.concat_tables(tables)


def check_same_columns(first: pa.Schema, other: pa.Schema, at: Path, path: Path) -> None:
    """Raises InputError unless the file `path` has the columns of the file `at`."""
    for name in [*first.names, *other.names]:
        types = [s.field(name).type if name in s.names else None for s in (first, other)]
        if types[0] != types[1]:
            here, there = (str(t) if t is not None else "missing" for t in (types[1], types[0]))
            raise InputError(f"{path}: column {name!r} is {here}, but in {at} it is {there}")
    if first.names != other.names:
        raise InputError(f"{path}: its columns are ordered otherwise than those of {at}")


def _from_pandas(frame: Any) -> pa.Table:
    named = [name for name in frame.index.names if name is not None]
    if named:
        frame = frame.reset_index()
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"the pandas data frame cannot become an Arrow table: {error}") from error
    return table.replace_schema_metadata(None)


def _from_columns(columns: Mapping[Any, Any]) -> pa.Table:
    arrays = {str(name): _array(str(name), values) for name, values in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise InputError(f"columns of unequal length: {told}")
    return pa.table(arrays)


def _array(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    try:
        if isinstance(values, np.ndarray) and values.ndim == 2:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            if values.shape[1] == 0:
                raise InputError(f"column {name!r}: an array of shape {values.shape} has no values")
            return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        if isinstance(values, np.ndarray) and values.ndim != 1:
            raise InputError(f"column {name!r}: expected 1 or 2 dimensions, got {values.ndim}")
        if hasattr(values, "to_arrow"):  # a polars Series
            values = values.to_arrow()
            return values
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise InputError(f"column {name!r} cannot become an Arrow array: {error}") from error
