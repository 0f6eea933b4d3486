"""The types of the columns that filters speak of: what binding and the attribute index agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import pyarrow as pa

from fanns.errors import InputError

Kind = Literal["bool", "int", "float", "string", "date", "timestamp"]
Unit = Literal["s", "ms", "us", "ns"]

_RANGES = {
    (signed, bits): (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    for signed in (True, False)
    for bits in (8, 16, 32, 64)
}
SUPPORTED = "bool, int8..uint64, float16/32/64, string, date, timestamp, or a list of one of them"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of one column; every column may hold nulls.

    `bits` and `signed` describe ints, `bits` floats, `unit` and `tz` timestamps; other kinds keep
    the defaults, so that equal types compare equal. For a list they describe its elements.
    """

    kind: Kind
    is_list: bool = False
    bits: int = 64
    signed: bool = True
    unit: Unit | None = None
    tz: str | None = None

    @classmethod
    def from_arrow(cls, t: pa.DataType) -> ColumnType:
        """The column type of an Arrow type; dictionary and view encodings count as their values.

        Raises InputError naming the Arrow type when filters cannot speak of it.
        """
        plain = _decoded(t)
        if _is_list(plain):
            item = _scalar(_decoded(plain.value_type))
            if item is not None:
                return cls(**{**asdict(item), "is_list": True})
        else:
            scalar = _scalar(plain)
            if scalar is not None:
                return scalar
        raise InputError(f"columns of type {t} are not supported: expected {SUPPORTED}")

    def to_arrow(self) -> pa.DataType:
        """The plain Arrow type of this column (string, date32, list<item>)."""
        item = self._item_to_arrow()
        return pa.list_(item) if self.is_list else item

    def _item_to_arrow(self) -> pa.DataType:
        if self.kind == "int":
            return pa.type_for_alias(f"{'' if self.signed else 'u'}int{self.bits}")
        if self.kind == "float":
            return pa.type_for_alias(f"float{self.bits}")
        if self.kind == "timestamp":
            return pa.timestamp(self.unit, tz=self.tz)
        return {"bool": pa.bool_(), "string": pa.string(), "date": pa.date32()}[self.kind]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnType:
        """The type that `to_json` wrote.

        Raises InputError when the fields do not describe a column type: the data is not trusted.
        """
        try:
            read = cls(**data)
            if read != cls.from_arrow(read.to_arrow()):
                raise ValueError("fields contradict each other")
        except (TypeError, ValueError, KeyError, NotImplementedError, pa.ArrowException) as error:
            raise InputError(f"not a column type: {dict(data)!r} ({error})") from error
        return read

    @property
    def item(self) -> ColumnType:
        """The type of the elements of a list, or the type itself."""
        if not self.is_list:
            return self
        return ColumnType(self.kind, False, self.bits, self.signed, self.unit, self.tz)

    def int_range(self) -> tuple[int, int]:
        """The smallest and the largest value that the storage of an int kind holds."""
        return _RANGES[self.signed, self.bits if self.kind != "date" else 32]

    def __str__(self) -> str:
        """The name that messages use: `int32`, `timestamp[us, UTC]`, `list<string>`."""
        name: str = self.kind
        if self.kind in ("int", "float"):
            name = f"{'' if self.signed else 'u'}{self.kind}{self.bits}"
        elif self.kind == "timestamp":
            name = f"timestamp[{self.unit}, {self.tz}]" if self.tz else f"timestamp[{self.unit}]"
        return f"list<{name}>" if self.is_list else name


Schema = Mapping[str, ColumnType]


def schema_of(schema: pa.Schema) -> dict[str, ColumnType]:
    """The column types of an Arrow schema, in its order.

    Raises InputError naming the column whose type is not supported, or which occurs twice.
    """
    columns: dict[str, ColumnType] = {}
    for field in schema:
        if field.name in columns:
            raise InputError(f"column {field.name!r} occurs twice: rename one of them")
        try:
            columns[field.name] = ColumnType.from_arrow(field.type)
        except InputError as error:
            raise InputError(f"column {field.name!r}: {error}") from None
    return columns


def _decoded(t: Any) -> Any:
    """The type of the values behind dictionary and run-end encodings."""
    while pa.types.is_dictionary(t) or pa.types.is_run_end_encoded(t):
        t = t.value_type
    return t


def _is_list(t: Any) -> bool:
    views = (pa.types.is_list_view, pa.types.is_large_list_view)
    plain = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(t) for test in plain + views)


def _scalar(t: Any) -> ColumnType | None:
    """The type of a column of single values, or None when it is not supported."""
    if pa.types.is_boolean(t):
        return ColumnType("bool")
    if pa.types.is_integer(t):
        return ColumnType("int", bits=t.bit_width, signed=pa.types.is_signed_integer(t))
    if pa.types.is_floating(t):
        return ColumnType("float", bits=t.bit_width)
    if pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t):
        return ColumnType("string")
    if pa.types.is_date(t):
        return ColumnType("date")
    if pa.types.is_timestamp(t):
        return ColumnType("timestamp", unit=cast(Unit, t.unit), tz=t.tz)
    return None
