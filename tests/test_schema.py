"""Column types: from Arrow, to Arrow, to JSON, and the types that are refused."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from fanns.errors import InputError
from fanns.schema import ColumnType, schema_of

SCALARS = [
    (pa.bool_(), ColumnType("bool"), "bool"),
    (pa.int8(), ColumnType("int", bits=8), "int8"),
    (pa.uint64(), ColumnType("int", signed=False), "uint64"),
    (pa.float16(), ColumnType("float", bits=16), "float16"),
    (pa.float32(), ColumnType("float", bits=32), "float32"),
    (pa.float64(), ColumnType("float"), "float64"),
    (pa.string(), ColumnType("string"), "string"),
    (pa.date32(), ColumnType("date"), "date"),
    (pa.timestamp("us"), ColumnType("timestamp", unit="us"), "timestamp[us]"),
    (
        pa.timestamp("ns", tz="UTC"),
        ColumnType("timestamp", unit="ns", tz="UTC"),
        "timestamp[ns, UTC]",
    ),
]


@pytest.mark.parametrize(("arrow", "expected", "name"), SCALARS)
def test_scalars_and_lists_of_them(arrow: Any, expected: ColumnType, name: str) -> None:
    """Each type is recognised, named, and survives Arrow and JSON, alone and in a list."""
    assert ColumnType.from_arrow(arrow) == expected
    assert expected.to_arrow() == arrow
    assert str(expected) == name
    listed = ColumnType.from_arrow(pa.list_(arrow))
    assert listed.is_list and listed.item == expected
    assert str(listed) == f"list<{name}>"
    for column in (expected, listed):
        assert ColumnType.from_arrow(column.to_arrow()) == column
        assert ColumnType.from_json(json.loads(json.dumps(column.to_json()))) == column


@pytest.mark.parametrize(
    ("arrow", "expected"),
    [
        (pa.large_string(), ColumnType("string")),
        (pa.string_view(), ColumnType("string")),
        (pa.dictionary(pa.int32(), pa.string()), ColumnType("string")),
        (pa.date64(), ColumnType("date")),
        (pa.large_list(pa.int16()), ColumnType("int", is_list=True, bits=16)),
        (pa.list_(pa.float32(), 3), ColumnType("float", is_list=True, bits=32)),
        (
            pa.list_(pa.dictionary(pa.int8(), pa.large_string())),
            ColumnType("string", is_list=True),
        ),
    ],
)
def test_encodings_count_as_their_values(arrow: Any, expected: ColumnType) -> None:
    assert ColumnType.from_arrow(arrow) == expected


@pytest.mark.parametrize(
    "arrow",
    [
        pa.decimal128(10, 2),
        pa.binary(),
        pa.time64("us"),
        pa.null(),
        pa.struct([("a", pa.int8())]),
        pa.list_(pa.list_(pa.int8())),
        pa.map_(pa.string(), pa.int8()),
    ],
)
def test_other_types_are_refused_by_name(arrow: Any) -> None:
    with pytest.raises(InputError, match=r"column 'x'.*not supported") as caught:
        schema_of(pa.schema([("x", arrow)]))
    assert str(arrow) in str(caught.value)


def test_schema_keeps_order_and_refuses_duplicates() -> None:
    columns = schema_of(pa.schema([("b", pa.int32()), ("a", pa.string())]))
    assert list(columns) == ["b", "a"]
    with pytest.raises(InputError, match="'a' occurs twice"):
        schema_of(pa.schema([("a", pa.int32()), ("a", pa.string())]))


def test_int_range() -> None:
    assert ColumnType("int", bits=8).int_range() == (-128, 127)
    assert ColumnType("int", bits=16, signed=False).int_range() == (0, 65535)
    assert ColumnType("date").int_range() == (-(2**31), 2**31 - 1)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "decimal"},
        {"kind": "int", "bits": 7},
        {"kind": "timestamp"},
        {"kind": "timestamp", "unit": "h"},
        {"kind": "string", "bits": 8},
        {"kind": "int", "colour": 1},
        {"kind": ["int"]},
    ],
)
def test_json_is_not_trusted(data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not a column type"):
        ColumnType.from_json(data)
