"""Parameters of filters on disk: JSON text, in which dates and times have their ISO form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from fanns.deferred import Cast
from fanns.errors import InputError
from fanns.expressions import Compare, In, Length, ListHas, Node, Parameter
from fanns.filters import parse_filter, walk
from fanns.schema import Schema, schema_of


def to_json(params: Mapping[str, Any]) -> str:
    """One query's parameters as JSON text."""
    return json.dumps(params, default=_iso, ensure_ascii=False, allow_nan=True)


def read(wheres: pa.ChunkedArray, texts: pa.ChunkedArray, schema: pa.Schema) -> list[Any]:
    """The parameters of each query, typed by the columns that its filter compares them with.

    Args:
        wheres, texts: strings, null where there is no filter or no parameter.
        schema: of the attributes.

    Raises InputError naming a query whose parameters cannot be read.
    """
    kinds = schema_of(schema)
    known: dict[str | None, dict[str, Callable[[Any], Any]]] = {}
    found = []
    for query, (where, text) in enumerate(zip(wheres.to_pylist(), texts.to_pylist(), strict=True)):
        if where not in known:
            known[where] = converters(parse_filter(where), kinds)
        try:
            params = json.loads(text) if text else {}
            for name, convert in known[where].items():
                if name in params:
                    params[name] = convert(params[name])
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"the parameters of query {query}, {text!r}: {error}") from error
        found.append(params)
    return found


def converters(tree: Node, kinds: Schema) -> dict[str, Callable[[Any], Any]]:
    """How to type those parameters of a filter that JSON has no type for."""
    found: dict[str, Callable[[Any], Any]] = {}
    for node in walk(tree):
        if isinstance(node, Compare | In):
            if isinstance(node.term, Length):
                continue
            name = node.term.name
        elif isinstance(node, ListHas):
            name = node.column
        else:
            continue
        kind = kinds[name].kind if name in kinds else None
        if kind not in ("date", "timestamp"):
            continue
        values = (node.value,) if isinstance(node, Compare) else node.values
        for value in (values,) if isinstance(values, Parameter) else values:
            parameter = value.parameter if isinstance(value, Cast) else value
            if isinstance(parameter, Parameter):
                found[parameter.name] = _date if kind == "date" else _moment
    return found


def _date(value: Any) -> Any:
    """ISO text as a date, or as a datetime where it has a time of day; lists likewise."""
    if isinstance(value, list):
        return [_date(one) for one in value]
    if not isinstance(value, str):
        return value
    return date.fromisoformat(value) if len(value) <= 10 else datetime.fromisoformat(value)


def _moment(value: Any) -> Any:
    if isinstance(value, list):
        return [_moment(one) for one in value]
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _iso(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} ({type(value).__name__}) has no form in JSON")
