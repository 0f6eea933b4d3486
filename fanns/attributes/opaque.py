"""Filters that carry code: pyarrow and polars expressions, and numba-compiled predicates.

Each gives two selections: the rows where it is true, and those where it is not null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fanns.attributes.dictionary import NumberDictionary
from fanns.attributes.scalar import ScalarColumn
from fanns.errors import FilterError, FilterTypeError, MissingDependencyError, UnknownColumnError
from fanns.expressions import Compiled, Evaluated
from fanns.selection import Selection

ColumnReader = Callable[[str], pa.Array]
TrueAndPresent = tuple[Selection, Selection]


def evaluate_expression(
    node: Evaluated, n: int, names: Sequence[str], read: ColumnReader
) -> TrueAndPresent:
    """A pyarrow or polars expression over the columns that it names.

    Raises UnknownColumnError, or FilterTypeError when it does not give one boolean per row.
    """
    if node.engine == "pyarrow":
        passing = _pyarrow(node.expression, n, names, read)
    else:
        passing = _polars(node.expression, n, names, read)
    true = pc.fill_null(passing, False).to_numpy(zero_copy_only=False)
    present = passing.is_valid().to_numpy(zero_copy_only=False)
    return Selection.from_mask(true), Selection.from_mask(present)


def _pyarrow(expression: Any, n: int, names: Sequence[str], read: ColumnReader) -> pa.Array:
    import pyarrow.acero as acero

    # An expression does not list its fields, but its text holds each of their names.
    text = str(expression)
    used = [name for name in names if name in text or "FieldPath(" in text]
    table = _table(used, read, n)
    try:
        project = acero.ProjectNodeOptions([expression], ["passing"])
        source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
        plan = acero.Declaration.from_sequence([source, acero.Declaration("project", project)])
        passing = plan.to_table(use_threads=False)["passing"]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        if "No match for FieldRef" in str(error):
            problem = f"the expression {text} names a column that the index does not have"
            raise UnknownColumnError(f"{problem}: it has {', '.join(names)}") from error
        raise FilterTypeError(f"the expression {text} cannot be evaluated: {error}") from error
    return _one_boolean_per_row(passing.combine_chunks(), n, text)


def _polars(expression: Any, n: int, names: Sequence[str], read: ColumnReader) -> pa.Array:
    try:
        import polars
    except ImportError as error:
        raise MissingDependencyError(
            "filters given as polars expressions need polars: pip install polars"
        ) from error
    used = expression.meta.root_names()
    if expression.meta.has_multiple_outputs():  # selectors and regular expressions
        used = names
    unknown = [name for name in used if name not in names]
    if unknown:
        raise UnknownColumnError(
            f"the expression names column {unknown[0]!r}, but the index has {', '.join(names)}"
        )
    frame = polars.DataFrame(_table(dict.fromkeys(used), read, n))
    try:
        result = frame.select(expression)
    except polars.exceptions.PolarsError as error:
        raise FilterTypeError(
            f"the expression {expression} cannot be evaluated: {error}"
        ) from error
    if result.width != 1:
        raise FilterTypeError(f"the expression {expression} gives {result.width} columns, not one")
    return _one_boolean_per_row(result.to_series().to_arrow(), n, str(expression))


def _table(names: Iterable[str], read: ColumnReader, n: int) -> pa.Table:
    columns = {name: read(name) for name in names}
    # Without a column a table would forget its number of rows.
    return pa.table(columns or {"": pa.nulls(n, pa.bool_())})


def _one_boolean_per_row(result: pa.Array | pa.ChunkedArray, n: int, text: str) -> pa.Array:
    if isinstance(result, pa.ChunkedArray):
        result = pa.concat_arrays(result.chunks) if result.num_chunks else pa.array([], result.type)
    if pa.types.is_null(result.type):
        result = result.cast(pa.bool_())
    if not pa.types.is_boolean(result.type):
        raise FilterTypeError(f"the expression {text} gives {result.type}, not a boolean")
    if len(result) == 1 != n:
        result = pa.repeat(result[0], n)  # a literal
    if len(result) != n:
        raise FilterError(f"the expression {text} gives {len(result)} values for {n} rows")
    return result


def evaluate_predicate(node: Compiled, n: int, column: Callable[[str], Any]) -> TrueAndPresent:
    """A Python predicate, compiled by numba with a loop around it that holds no GIL.

    It gets one value of each column: bool, int64 (also days and timestamps), uint64 or float64.
    Raises FilterTypeError for other columns, and for code that numba cannot compile.
    """
    columns = [column(name) for name in node.columns]
    present = np.ones(n, np.bool_)
    values = []
    for name, source in zip(node.columns, columns, strict=True):
        if not isinstance(source, ScalarColumn) or not isinstance(
            source.dictionary, NumberDictionary
        ):
            raise FilterTypeError(
                f"a compiled predicate takes bools, numbers, dates and timestamps, but column "
                f"{name!r} is {source.kind}"
            )
        present &= source.codes >= 0
        values.append(source.dictionary.values(source.codes))
    passing = np.zeros(n, np.bool_)
    try:
        _loop(node.function, len(values))(present, passing, *values)
    except NumbaError as error:
        name = getattr(node.function, "__name__", "predicate")
        raise FilterTypeError(
            f"numba cannot compile {name}({', '.join(node.columns)}): {error}"
        ) from error
    return Selection.from_mask(passing), Selection.from_mask(present)


@lru_cache(maxsize=64)
def _loop(function: Any, arity: int) -> Any:
    """A compiled loop that calls the function for each row without nulls."""
    compiled = function if isinstance(function, Dispatcher) else numba.njit(nogil=True)(function)
    names = [f"c{i}" for i in range(arity)]
    source = f"""
def loop({", ".join(["present", "passing", *names])}):
    for i in range(present.shape[0]):
        if present[i] and predicate({", ".join(f"{name}[i]" for name in names)}):
            passing[i] = True
"""
    scope: dict[str, Any] = {"predicate": compiled}
    exec(source, scope)
    return numba.njit(nogil=True)(scope["loop"])
