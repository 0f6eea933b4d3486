"""Parquet files that are read piece by piece: no more memory than a piece takes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.datasets import parquet_files

ROWS, LENGTH = 40_000, 800


@pytest.fixture(scope="module")
def one_group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 MB of texts in one row group."""
    path = tmp_path_factory.mktemp("streamed") / "one.parquet"
    letters = np.random.default_rng(0).integers(97, 123, ROWS * LENGTH, np.uint8).tobytes()
    offsets = pa.array(np.arange(0, ROWS * LENGTH + 1, LENGTH, dtype=np.int32))
    texts = pa.StringArray.from_buffers(ROWS, offsets.buffers()[1], pa.py_buffer(letters))
    table = pa.table({"row": np.arange(ROWS), "text": texts})
    pq.write_table(table, path, row_group_size=ROWS, use_dictionary=False)
    return path


def peak(file: pq.ParquetFile) -> int:
    """Bytes that are held at most while its batches pass."""
    held = pa.total_allocated_bytes()
    most = 0
    for batch in file.iter_batches(1000, columns=["text"]):
        assert batch.num_rows == 1000
        most = max(most, pa.total_allocated_bytes() - held)
    return most


def test_batches_take_the_memory_of_a_batch(one_group: Path) -> None:
    with parquet_files.streamed(one_group) as file:
        assert peak(file) < 8 << 20
    with pq.ParquetFile(one_group) as file:  # why it is needed
        assert peak(file) > 16 << 20


@pytest.mark.parametrize("count", [0, 1, 300, ROWS])
def test_rows_that_are_taken(one_group: Path, count: int) -> None:
    rows = np.sort(np.random.default_rng(1).choice(ROWS, count, replace=False))
    with parquet_files.streamed(one_group) as file:
        found = parquet_files.take(file, ["row"], rows)
    assert found.column_names == ["row"] and found["row"].to_pylist() == rows.tolist()
