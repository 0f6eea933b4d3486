"""Values of parameters: given by name, one for all queries of a batch or one for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from fanns.deferred import Affixed, Cast, Deferred, escaped
from fanns.errors import FilterTypeError, ParameterError
from fanns.expressions import Parameter
from fanns.values import is_null, nanoseconds, parse_instant, plain


class Each:
    """Values of a parameter that differ per query of a batch: `params={"y": each(years)}`."""

    __slots__ = ("values",)

    def __init__(self, values: Iterable[Any]) -> None:
        self.values: Sequence[Any] = _sequence(values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"each({len(self)} values)"


def each(values: Iterable[Any]) -> Each:
    """Mark a sequence as one value per query: value i belongs to query i."""
    return Each(values)


def split_params(params: Mapping[str, Any] | None, m: int) -> list[dict[str, Any]] | None:
    """The parameters of each of m queries; None when no value differs per query.

    Raises ParameterError naming the parameter whose number of values is not m.
    """
    if not params or not any(isinstance(value, Each) for value in params.values()):
        return None
    for name, value in params.items():
        if isinstance(value, Each) and len(value) != m:
            raise ParameterError(
                f"parameter :{name} has each() of {len(value)} values for {m} queries: "
                "give one value per query"
            )
    return [
        {
            name: value.values[i] if isinstance(value, Each) else value
            for name, value in params.items()
        }
        for i in range(m)
    ]


def check_params(given: Mapping[str, Any], wanted: Collection[str]) -> None:
    """ParameterError naming the parameters without a value, or the values without a parameter."""
    missing = sorted(set(wanted) - set(given))
    if missing:
        names = ", ".join(f":{name}" for name in missing)
        raise ParameterError(f"no value for {names}: pass params={{{missing[0]!r}: ...}}")
    unused = sorted(map(str, set(given) - set(wanted)))
    if unused:
        known = ", ".join(f":{name}" for name in sorted(wanted)) or "none"
        raise ParameterError(
            f"params has {', '.join(map(repr, unused))}, which the filter does not use "
            f"(its parameters: {known})"
        )


def resolve(value: Any, params: Mapping[str, Any]) -> Any:
    """A value of an unbound tree with its parameter replaced."""
    if type(value) is Parameter:
        return _single(value, params)
    if isinstance(value, Cast):
        return _cast(value, _single(value.parameter, params))
    if isinstance(value, Affixed):
        text = plain(_single(value.parameter, params))
        if is_null(text) or not isinstance(text, str):
            return text
        return value.before + escaped(text) + value.after
    return value


def _single(parameter: Parameter, params: Mapping[str, Any]) -> Any:
    value = params[parameter.name]
    if isinstance(value, Each):
        raise ParameterError(
            f"parameter :{parameter.name} is {value!r}: each() belongs to a batch of queries"
        )
    return value


def resolve_list(parameter: Parameter, params: Mapping[str, Any]) -> list[Any] | None:
    """The values of a parameter that stands for a whole list; None when it is null."""
    value = _single(parameter, params)
    if is_null(value):
        return None
    name = parameter.name
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ParameterError(
            f"parameter :{name} stands for a list and got {value!r} ({type(value).__name__}): "
            "pass a list of values"
        )
    found = _sequence(value)
    if isinstance(found, np.ndarray):
        raise ParameterError(
            f"parameter :{name} is an array of shape {found.shape}: pass a one-dimensional one"
        )
    return list(found)


def _sequence(values: Iterable[Any]) -> Sequence[Any]:
    """A list; arrays of numbers or strings become Python values, times keep their unit."""
    to_pylist = getattr(values, "to_pylist", None)  # Arrow
    if to_pylist is not None:
        return list(to_pylist())
    to_numpy = getattr(values, "to_numpy", None)  # pandas, polars
    if to_numpy is not None:
        values = to_numpy()
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            return values  # type: ignore[return-value]
        return list(values) if values.dtype.kind in "mM" else list(values.tolist())
    return list(values)


def _cast(cast: Cast, value: Any) -> Any:
    """A parameter's value as CAST makes it: a date loses its time, a timestamp gains midnight."""
    value = plain(value)
    if is_null(value):
        return None
    found = parse_instant(value) if isinstance(value, str) else value
    instant = None if isinstance(found, Deferred) else nanoseconds(found)
    if instant is None:
        raise FilterTypeError(
            f"parameter :{cast.parameter.name} is {value!r} ({type(value).__name__}), "
            f"which is not a {cast.kind}: pass ISO 8601 text, a date or a datetime"
        )
    if cast.kind == "date":
        return np.datetime64(instant // (86_400 * 10**9), "D")
    if isinstance(found, datetime | np.datetime64):
        return found
    assert isinstance(found, date)
    return datetime(found.year, found.month, found.day)
