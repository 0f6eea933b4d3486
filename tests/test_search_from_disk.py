"""A search of an index on disk reads the originals that it compares, and not all of them."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import fanns
from fanns import arrayfile
from fanns.stored_segment import SegmentFiles

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks the system what it holds")


def forget(path: Path) -> None:
    """Have the system drop a file from memory."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def held(path: Path) -> float:
    """The share of a file's pages that is in memory."""
    size, page = path.stat().st_size, mmap.PAGESIZE
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as view:
        array = np.frombuffer(view, np.uint8)
        pages = np.zeros(-(-size // page), np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(array.ctypes.data)
        assert libc.mincore(address, ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data)) == 0
        del array
    return float((pages & 1).mean())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with 20 MB of vectors, in a file of their own."""
    vectors = np.random.default_rng(0).standard_normal((5_000, 1_024)).astype(np.float32)
    path = tmp_path_factory.mktemp("disk") / "index"
    columns = {"v": vectors, "n": np.arange(5_000)}
    fanns.Index.build(
        columns, path=path, metric="l2", calibration="default", bits=0, reduce="off"
    ).close()
    return path


@LINUX
def test_originals_are_read_here_and_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrayfile, "SPARSE_BYTES", 1 << 20)
    file = path / "segment-000001" / arrayfile.SPARSE
    queries = np.random.default_rng(1).standard_normal((5, 1_024)).astype(np.float32)
    forget(file)
    if held(file) > 0.1:
        pytest.skip("this file system keeps its files in memory")
    with fanns.open(path) as index:
        for query in queries:
            index.search(query, 10)
            index.search(query, 10, "n < 3000")
        assert 0 < held(file) < 0.3
        # Where all are wanted they are read ahead.
        forget(file)
        got = index.get(index.ids(), vector=True)
        assert got.num_rows == 5_000
        assert held(file) == 1.0


def test_merges_and_exports_read_ahead(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = SegmentFiles.will_need

    def tell(self: SegmentFiles, name: str) -> None:
        asked.append(name)
        real(self, name)

    monkeypatch.setattr(SegmentFiles, "will_need", tell)
    with fanns.open(path) as index:
        index.get(index.ids()[:3], vector=True)
        assert asked == []
        index.export(tmp_path / "x.parquet")
        assert asked
