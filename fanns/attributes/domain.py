"""Arrow values as int64 keys that sort as the values do, and back.

Bools, ints, dates and timestamps are their own keys; uint64 is shifted to int64's range; floats
are widened to float64 and their bits mapped so that keys sort by value, NaN above all, with one key
for all NaNs and one for both zeros.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.schema import ColumnType

Keys = NDArray[np.int64]

LOW_63_BITS = np.int64(0x7FFF_FFFF_FFFF_FFFF)
UINT64_SHIFT = 1 << 63
MAX_ARROW_BYTES = 2**31 - 1  # what the 32-bit offsets of Arrow's string and list types reach


def key_of(value: Any, kind: ColumnType) -> int:
    """The key of one value of a column's domain, as binding gives it."""
    if kind.kind == "float":
        if value != value:
            value = float("nan")
        bits: int = struct.unpack("<q", struct.pack("<d", value + 0.0))[0]
        return bits if bits >= 0 else bits ^ int(LOW_63_BITS)
    if kind.kind == "int" and not kind.signed and kind.bits == 64:
        return int(value) - UINT64_SHIFT
    return int(value)


def utf8(text: str) -> bytes:
    """The bytes of a string; a lone surrogate has some as well, which no valid column holds."""
    return text.encode("utf-8", "surrogatepass")


def keys_of(values: NDArray[Any], kind: ColumnType) -> Keys:
    """The keys of an array in the column's storage type; dates and timestamps as integers."""
    if kind.kind == "float":
        with np.errstate(invalid="ignore"):  # signalling NaNs are NaNs
            wide = values.astype(np.float64) + 0.0  # -0.0 + 0.0 is 0.0
        wide[np.isnan(wide)] = np.nan
        bits: Keys = wide.view(np.int64)
        return bits ^ ((bits >> 63) & LOW_63_BITS)
    if values.dtype == np.uint64:
        shifted: Keys = (values ^ np.uint64(UINT64_SHIFT)).view(np.int64)
        return shifted
    return values.astype(np.int64)


def values_of(keys: Keys, kind: ColumnType) -> NDArray[Any]:
    """The values of keys: bool_, int64 (dates as days, timestamps in their unit), uint64, float64.

    uint64 is for columns of that type alone.
    """
    if kind.kind == "float":
        return (keys ^ ((keys >> 63) & LOW_63_BITS)).view(np.float64)
    if kind.kind == "int" and not kind.signed and kind.bits == 64:
        return keys.view(np.uint64) ^ np.uint64(UINT64_SHIFT)
    return keys.astype(np.bool_) if kind.kind == "bool" else keys


def are_keys(keys: Keys, kind: ColumnType) -> bool:
    """Sorted int64 are keys of values that the column's storage type holds."""
    if kind.kind == "float":
        with np.errstate(over="ignore", invalid="ignore"):
            stored = values_of(keys, kind).astype(f"f{kind.bits // 8}")
        return bool((keys_of(stored, kind) == keys).all())
    low, high = (0, 1) if kind.kind == "bool" else kind.int_range()
    return not len(keys) or bool(
        key_of(low, kind) <= int(keys[0]) and int(keys[-1]) <= key_of(high, kind)
    )


def arrow_of(values: NDArray[Any], null: NDArray[np.bool_], kind: ColumnType) -> pa.Array:
    """An Arrow array of the column's type from `values_of` its keys; entries under null are any."""
    mask = null if null.any() else None
    if kind.kind in ("date", "timestamp"):
        storage = np.int32 if kind.kind == "date" else np.int64
        return pa.array(values.astype(storage), mask=mask).view(kind.to_arrow())
    if kind.kind == "float":
        return pa.array(values.astype(f"f{kind.bits // 8}"), kind.to_arrow(), mask=mask)
    return pa.array(values, mask=mask).cast(kind.to_arrow())


def plain(column: pa.ChunkedArray | pa.Array, kind: ColumnType) -> pa.Array:
    """A scalar column as one array of its plain type; large_string where string cannot hold it.

    Dictionary, run-end and view encodings are decoded, chunks joined.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    target = kind.to_arrow()
    if kind.kind == "string" and sum(chunk.nbytes for chunk in chunks) > MAX_ARROW_BYTES:
        target = pa.large_string()
    decoded = [_decoded(chunk).cast(target, safe=False) for chunk in chunks if len(chunk)]
    if len(decoded) == 1:
        return decoded[0]  # concat_arrays would copy it
    return pa.concat_arrays(decoded) if decoded else pa.array([], target)


def _decoded(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        return pc.run_end_decode(array)
    return array


def plain_list(
    column: pa.ChunkedArray | pa.Array, kind: ColumnType
) -> tuple[NDArray[np.int32], NDArray[np.bool_], pa.Array]:
    """A list column as starts int32[n + 1] into its elements, null bool[n], and the elements.

    Raises InputError when the elements are more than a segment can hold.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    chunks = [_decoded(chunk) for chunk in chunks if len(chunk)]
    # These two functions take every kind of list, honour slices, and skip what lies under a null.
    lengths = [pc.list_value_length(chunk) for chunk in chunks]
    elements = (
        plain(pa.chunked_array([pc.list_flatten(chunk) for chunk in chunks]), kind.item)
        if chunks
        else plain(pa.array([], kind.item.to_arrow()), kind.item)
    )
    if len(elements) > MAX_ARROW_BYTES:
        raise InputError(
            f"a list column holds {len(elements)} elements, more than 2^31 - 1: split the data "
            "into several batches"
        )
    length = [x.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) for x in lengths]
    starts = np.zeros(sum(map(len, length)) + 1, np.int32)
    np.cumsum(np.concatenate([np.zeros(0, np.int64), *length]), out=starts[1:])
    null = [x.is_null().to_numpy(zero_copy_only=False) for x in lengths]
    return starts, np.concatenate([np.zeros(0, np.bool_), *null]), elements


def storage_of(array: pa.Array, kind: ColumnType) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The stored numbers of a plain scalar array, and where it is null (any number stands there).

    bool_, the width of the ints and floats, int32 days, int64 timestamps.
    """
    null = array.is_null().to_numpy(zero_copy_only=False)
    if kind.kind == "bool":
        return array.cast(pa.uint8()).fill_null(0).to_numpy().astype(np.bool_), null
    data = array.buffers()[1]
    sizes = {"date": "i4", "timestamp": "i8", "float": f"f{kind.bits // 8}"}
    dtype = sizes.get(kind.kind, f"{'i' if kind.signed else 'u'}{kind.bits // 8}")
    if data is None or not len(array):
        return np.zeros(len(array), dtype), null
    return np.frombuffer(data, dtype)[array.offset : array.offset + len(array)], null
