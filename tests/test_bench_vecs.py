"""fvecs, ivecs, xbin, spmat and answers against files made and read by numpy and scipy alone."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fanns.bench.formats import spmat, vecs, xbin
from fanns.bench.formats.hostile import FormatError
from fanns.datasets import vecs as writing

quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
shapes = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7)
rows_of_ids = st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=8)


def flat(rows: list[list[int]]) -> tuple[Any, Any]:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return np.array([value for row in rows for value in row], np.int32), offsets


def numpy_vecs(raw: bytes) -> list[list[int]]:
    """Rows of an ivecs file, read word by word."""
    rows, at = [], 0
    while at < len(raw):
        (count,) = struct.unpack_from("<i", raw, at)
        rows.append(list(struct.unpack_from(f"<{count}i", raw, at + 4)))
        at += 4 * (count + 1)
    return rows


@quick
@given(shape=shapes, data=st.data())
def test_fvecs(tmp_path: Path, shape: tuple[int, int], data: st.DataObject) -> None:
    values = data.draw(arrays(np.float32, shape, elements=st.floats(-9, 9, width=32)))
    path = writing.write_fvecs(tmp_path / "a.fvecs", values)
    raw = np.fromfile(path, "<i4").reshape(-1, shape[1] + 1)  # as others read it
    assert (raw[:, 0] == shape[1]).all()
    np.testing.assert_array_equal(raw[:, 1:].copy().view("<f4"), values)
    back = vecs.read_fvecs(path)
    np.testing.assert_array_equal(back, values if len(values) else np.empty((0, 0)))


@quick
@given(rows=rows_of_ids, padding=st.integers(0, 3))
def test_ivecs_of_variable_rows(tmp_path: Path, rows: list[list[int]], padding: int) -> None:
    values, offsets = flat(rows)
    path = writing.write_ivecs(tmp_path / "a.ivecs", writing.Lists(values, offsets))
    assert numpy_vecs(path.read_bytes()) == rows
    for padded in ([row + [-1] * padding for row in rows], rows):
        words = [word for row in padded for word in (len(row), *row)]
        np.array(words, "<i4").tofile(path)
        back = vecs.read_ivecs(path)
        np.testing.assert_array_equal(back.values, values)
        np.testing.assert_array_equal(back.offsets, offsets)


def test_a_misaligned_ivecs_file_is_still_read_row_by_row(tmp_path: Path) -> None:
    """Rows of 2 and 5 values: a reader of fixed rows would see three rows of two."""
    rows = [[1, 2], [3, 4, 5, 6, 2]]
    words = [word for row in rows for word in (len(row), *row)]
    np.array(words, "<i4").tofile(tmp_path / "a.ivecs")
    back = vecs.read_ivecs(tmp_path / "a.ivecs")
    assert np.diff(back.offsets).tolist() == [2, 5]


@quick
@given(shape=shapes, suffix=st.sampled_from(sorted(xbin.TYPES)), data=st.data())
def test_xbin(tmp_path: Path, shape: tuple[int, int], suffix: str, data: st.DataObject) -> None:
    dtype = np.dtype(xbin.TYPES[suffix])
    bits = np.dtype(f"u{dtype.itemsize}")
    values = np.nan_to_num(data.draw(arrays(bits, shape)).view(dtype))
    path = xbin.write(tmp_path / f"a{suffix}", values)
    assert np.fromfile(path, "<u4", 2).tolist() == list(shape)
    there = np.fromfile(path, dtype, offset=8).reshape(shape)
    np.testing.assert_array_equal(there, values)
    if shape[0] and not shape[1]:
        with pytest.raises(FormatError, match="at least one column"):
            xbin.read(path)
    else:
        np.testing.assert_array_equal(xbin.read(path), values)


@quick
@given(rows=rows_of_ids, k=st.integers(0, 7))
def test_answers(tmp_path: Path, rows: list[list[int]], k: int) -> None:
    ids, offsets = flat(rows)
    distances = np.arange(len(ids), dtype=np.float32)
    found = xbin.Answers(ids, distances, offsets)
    path = xbin.write_nearest(tmp_path / "nearest", found, k)
    m = len(rows)
    table = np.fromfile(path, "<i4", m * k, offset=8).reshape(m, k)
    for row, wanted in zip(table.tolist(), rows, strict=True):
        assert row == wanted[:k] + [-1] * (k - len(wanted))
    if m and k and xbin.form(path) == "nearest":
        back = xbin.read_answers(path)
        cut, ends = flat([row[:k] for row in rows])
        np.testing.assert_array_equal(back.ids, cut)
        np.testing.assert_array_equal(back.offsets, ends)
    path = xbin.write_range(tmp_path / "range", found)
    assert np.fromfile(path, "<i4", m, offset=8).tolist() == [len(row) for row in rows]
    if xbin.form(path) == "range":
        back = xbin.read_answers(path)
        np.testing.assert_array_equal(back.ids, ids)
        np.testing.assert_array_equal(back.distances, distances)
        np.testing.assert_array_equal(back.offsets, offsets)


@quick
@given(rows=rows_of_ids)
def test_spmat_against_scipy(tmp_path: Path, rows: list[list[int]]) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = [sorted(set(row)) for row in rows]
    values, offsets = flat(rows)
    matrix = sparse.csr_matrix((np.ones(len(values)), values, offsets), shape=(len(rows), 100))
    with (tmp_path / "a.spmat").open("wb") as file:
        np.array([*matrix.shape, matrix.nnz], "<i8").tofile(file)
        matrix.indptr.astype("<i8").tofile(file)
        matrix.indices.astype("<i4").tofile(file)
        matrix.data.astype("<f4").tofile(file)
    back = spmat.read(tmp_path / "a.spmat")
    assert back.columns == 100
    np.testing.assert_array_equal(back.values, values)
    np.testing.assert_array_equal(back.offsets, offsets)
    again = spmat.write(tmp_path / "b.spmat", back)
    assert again.read_bytes() == (tmp_path / "a.spmat").read_bytes()


def words(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


HOSTILE = [
    ("a.fvecs", b"\x01", "at byte 0: expected a header of 4 bytes"),
    ("a.fvecs", words(-3, 0, 0, 0), "at byte 0: expected a count of 0 or more, found -3"),
    ("a.fvecs", words(2, 0, 0, 2, 0), "at byte 12: expected rows of 12 bytes"),
    ("a.fvecs", words(2, 0, 0, 3, 0, 0), "at byte 12: expected a row of length 2, found 3"),
    ("a.fvecs", words(2**31 - 1, 0), "at byte 0: expected rows of 8,589,934,592 bytes"),
    ("a.ivecs", b"12345", "at byte 4: expected a multiple of 4 bytes"),
    ("a.ivecs", words(1, 7, 2**31 - 1), "at byte 8: expected a row of 0 to 0 values"),
    ("a.ivecs", words(1, 7, -2, 0), "at byte 8: expected a row of 0 to 1 values"),
    ("a.ivecs", words(3, 7, -1, 8), "at byte 12: expected padding up to the end of the row"),
    ("a.fbin", words(1), "at byte 0: expected a header of 8 bytes"),
    ("a.fbin", words(-1, -1), "expected a file of 73,786,976,260,478,468,108 bytes"),
    ("a.fbin", words(-1, 0), "at byte 4: expected at least one column in 4,294,967,295 rows"),
    ("a.u8bin", words(2, 2) + b"123", "at byte 11: expected a file of 12 bytes"),
    ("a.i8bin", words(2, 1) + b"123", "at byte 10: expected a file of 10 bytes"),
    ("a.spmat", words(1, 0, 1, 0, 1), "at byte 0: expected a header of 24 bytes"),
    ("a.spmat", np.array([2**62, 1, 1], "<i8").tobytes(), "at byte 24: expected a file of"),
]


@pytest.mark.parametrize(("name", "raw", "message"), HOSTILE)
def test_hostile_files(tmp_path: Path, name: str, raw: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    readers: dict[str, Any] = {
        ".fvecs": vecs.read_fvecs,
        ".ivecs": vecs.read_ivecs,
        ".spmat": spmat.read,
    }
    with pytest.raises(FormatError, match="^" + str(path)) as caught:
        readers.get(path.suffix, xbin.read)(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (24, 1, "at byte 24: expected a first offset of 0, found 1"),
        (32, 9, "at byte 40: expected offsets that do not fall, found 3 after 9"),
        (40, 2, "at byte 40: expected a last offset of 3, found 2"),
        (48, 5, "at byte 48: expected a column from 0 to 4, found 5"),
    ],
)
def test_hostile_spmat(tmp_path: Path, at: int, value: int, message: str) -> None:
    tags = spmat.Tags(np.array([0, 4, 1], np.int32), np.array([0, 2, 3]), 5)
    path = spmat.write(tmp_path / "a.spmat", tags)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<q" if at < 48 else "<i", raw, at, value)
    path.write_bytes(raw)
    with pytest.raises(FormatError) as caught:
        spmat.read(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (words(3, 5), "at byte 0: expected answers of 3 queries: 128 bytes for k = 5 each"),
        (words(-1, 0), "at byte 4: expected at least one column"),
        (words(2, 3, -1, 4, 0, 0, 0, 0, 0, 0), "at byte 8: expected a count of 0 or more"),
        (words(2, 3, 1, 1, 0, 0, 0, 0, 0, 0), "at byte 8: expected counts that sum up to 3"),
        (words(2, 3, 1, 2, 0, -4, 0, 0, 0, 0), "at byte 20: expected an id of 0 or more"),
        (words(1, 3, 7, -1, 8, 0, 0, 0), "at byte 16: expected padding"),
    ],
)
def test_hostile_answers(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "GT").write_bytes(raw)
    with pytest.raises(FormatError) as caught:
        xbin.read_answers(tmp_path / "GT")
    assert message in str(caught.value)


@quick
@given(data=st.data())
def test_no_file_cut_short_is_taken(tmp_path: Path, data: st.DataObject) -> None:
    """Any truncation is refused, or is itself a shorter file of whole rows."""
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    tags = spmat.Tags(np.array([0, 4, 1], np.int32), np.array([0, 2, 3]), 5)
    files: list[tuple[Path, Any]] = [
        (xbin.write(tmp_path / "a.fbin", values), xbin.read),
        (writing.write_fvecs(tmp_path / "a.fvecs", values), vecs.read_fvecs),
        (spmat.write(tmp_path / "a.spmat", tags), spmat.read),
    ]
    path, read = data.draw(st.sampled_from(files))
    raw = path.read_bytes()
    kept = data.draw(st.integers(0, len(raw) - 1))
    path.write_bytes(raw[:kept])
    if path.suffix == ".fvecs" and kept % 16 == 0:
        assert len(read(path)) == kept // 16
    else:
        with pytest.raises(FormatError):
            read(path)


def test_big_files_are_mapped(tmp_path: Path) -> None:
    values = np.zeros((4, 3), np.float32)
    assert isinstance(xbin.read(xbin.write(tmp_path / "a.fbin", values)), np.memmap)
    view = vecs.read_fvecs(writing.write_fvecs(tmp_path / "a.fvecs", values))
    assert not view.flags.owndata and not view.flags.writeable
