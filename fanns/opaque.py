"""Leaves that carry data or code of the caller's: masks, ids, foreign expressions, predicates.

Optional packages are recognised by the names of their types, so that none is imported here.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fanns.deferred import Deferred
from fanns.errors import FilterError, FilterTypeError, InputError
from fanns.expressions import Compiled, Evaluated, Ids, Mask, Node
from fanns.leaves import column_type
from fanns.schema import Schema

_null_leaves: WeakKeyDictionary[Evaluated, Evaluated] = WeakKeyDictionary()


def recognise(value: Any) -> Node | None:
    """The leaf for a mask, ids, a Roaring bitmap or a foreign expression; None for others."""
    package = type(value).__module__.partition(".")[0]
    name = type(value).__name__
    if package == "pyarrow" and name == "Expression":
        return Evaluated(value, "pyarrow")
    if package == "polars" and name == "Expr":
        return Evaluated(value, "polars")
    if package == "pyroaring":
        return ids_leaf(value)
    array = _as_array(value)
    if array is None:
        return None
    return mask_leaf(array) if array.dtype == np.bool_ else ids_leaf(array)


def mask_leaf(values: Any) -> Mask:
    """A mask over the live rows in insertion order; InputError unless it is bool and flat."""
    array = _as_array(values)
    if array is None or array.dtype != np.bool_:
        kind = type(values).__name__ if array is None else f"{array.dtype} values"
        raise InputError(f"a mask holds booleans, got {kind}: pass bool[rows], or ids([...])")
    return Mask(_frozen(array))


def ids_leaf(values: Any) -> Ids:
    """The rows with these ids: sorted, without repetitions, int64 or strings.

    Raises InputError naming the value that is neither, or the two kinds that are mixed.
    """
    if type(values).__module__.partition(".")[0] == "pyroaring":
        return Ids(_frozen(_integers(np.array(values.to_array()))))
    if isinstance(values, set | frozenset | range):
        values = list(values)
    array = _as_array(values)
    if array is None:
        raise InputError(
            f"ids are an array or list of int64 or strings, got {type(values).__name__}"
        )
    if array.size == 0:
        return Ids(_frozen(np.empty(0, np.int64)))
    if array.dtype.kind in "iu":
        return Ids(_frozen(_integers(array)))
    if array.dtype.kind == "U":
        return Ids(tuple(sorted(set(array.tolist()))))
    if array.dtype.kind in "OT":
        texts = array.tolist()
        wrong = next((text for text in texts if not isinstance(text, str)), None)
        if wrong is None and None not in texts:
            return Ids(tuple(sorted(set(map(str, texts)))))
        raise InputError(f"ids hold {wrong!r} ({type(wrong).__name__}): expected all strings")
    raise InputError(f"ids have dtype {array.dtype}: expected integers or strings")


def _integers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise InputError(f"id {int(array.max())} is beyond int64")
    found = array.astype(np.int64)
    ascending = bool((found[1:] > found[:-1]).all())
    return found if ascending else np.unique(found)


def _as_array(value: Any) -> np.ndarray[Any, Any] | None:
    """A flat numpy array of what is one, of a list, or of an Arrow, pandas or polars column."""
    if isinstance(value, list | tuple):
        value = _of_list(value)
    elif type(value).__module__.partition(".")[0] in ("pyarrow", "pandas", "polars"):
        value = _of_column(value)
    if not isinstance(value, np.ndarray):
        return None
    if value.ndim != 1:
        raise InputError(f"masks and ids are one-dimensional, got an array of shape {value.shape}")
    return value


def _of_list(values: list[Any] | tuple[Any, ...]) -> np.ndarray[Any, Any] | None:
    kinds = {type(value) for value in values}
    if not kinds:
        return np.empty(0, np.int64)
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return np.array(values, np.bool_)
    if all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        try:
            return np.array(values, np.int64)
        except OverflowError:
            wrong = next(value for value in values if not -(2**63) <= value < 2**63)
            raise InputError(f"id {wrong} is beyond int64") from None
    if all(issubclass(kind, str) for kind in kinds):
        return np.array(values, object)
    if any(issubclass(kind, str | int | np.integer | np.bool_) for kind in kinds):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InputError(f"a list of {names} is neither ids nor a mask: give one kind")
    return None


def _of_column(value: Any) -> Any:
    nulls = getattr(value, "null_count", None)
    if callable(nulls):
        nulls = nulls()
    if nulls:
        raise InputError(f"masks and ids must not hold nulls, got {nulls}")
    if hasattr(value, "chunks") or hasattr(value, "to_pylist"):  # Arrow
        return (
            value.to_numpy() if hasattr(value, "chunks") else value.to_numpy(zero_copy_only=False)
        )
    if hasattr(value, "to_numpy") and hasattr(value, "dtype"):
        return value.to_numpy()
    return None


def _frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A private read-only copy: a later change by the caller must not reach a cached selection."""
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def check_opaque(leaf: Node, schema: Schema) -> None:
    """The columns of a predicate or polars expression exist; a predicate's are numbers."""
    if isinstance(leaf, Evaluated) and leaf.engine == "polars":
        for name in leaf.expression.meta.root_names():
            column_type(schema, name)
    if isinstance(leaf, Compiled):
        for name in leaf.columns:
            column = column_type(schema, name)
            if column.is_list or column.kind == "string":
                raise FilterTypeError(
                    f"column {name!r} is {column}: predicates work on columns of numbers, "
                    "booleans, dates and timestamps"
                )


def null_leaf(leaf: Evaluated) -> Evaluated:
    """The test for the rows for which a foreign expression is null; the same leaf each time."""
    found = _null_leaves.get(leaf)
    if found is None:
        found = Evaluated(leaf.expression.is_null(), leaf.engine)
        _null_leaves[leaf] = found
    return found


def check_literal(value: Any, what: str) -> Any:
    """A value that `col()` or a dict may compare with; FilterError with the remedy otherwise."""
    if isinstance(value, Deferred | str | bool | int | float):
        return value
    if isinstance(value, Node) or hasattr(value, "node"):
        raise FilterError(
            f"{what} is compared with another expression: two columns cannot be compared, "
            "use @fanns.predicate for that"
        )
    if isinstance(value, np.ndarray | list | tuple | set | frozenset | dict | range):
        raise FilterError(
            f"{what} is compared with a {type(value).__name__}: use .is_in([...]), "
            ".has_any([...]) or .has_all([...])"
        )
    try:
        hash(value)
    except TypeError:
        raise FilterError(f"{what} is compared with a {type(value).__name__}") from None
    return value
