import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fanns.datasets import arxiv_like, exact
from fanns.datasets.dataset import (
    Dataset,
    DatasetError,
    read,
    truth_table,
    vectors,
    verify,
    write,
)


@pytest.fixture
def made() -> Dataset:
    items, queries = arxiv_like.items(200, 16), arxiv_like.queries(5, 16)
    truth = exact.nearest(
        vectors(items), vectors(queries), 3, ids=np.array(items["id"].to_pylist())
    )
    return Dataset(items, queries, truth_table(truth), seed=0, model="simulated")


def test_round_trip(made: Dataset, tmp_path: Path) -> None:
    back = read(write(made, tmp_path / "set"))
    assert verify(tmp_path / "set") == []
    assert back.items.equals(made.items, check_metadata=True)
    assert back.truth is not None and back.truth.equals(made.truth)
    assert (back.seed, back.model, back.metric, back.users) == (0, "simulated", "cosine", None)
    np.testing.assert_array_equal(back.vectors(), vectors(made.items))
    assert not list((tmp_path / "set").glob("*.partial"))


def test_truth_table(made: Dataset) -> None:
    assert made.truth is not None
    assert made.truth["rank"].to_pylist() == [0, 1, 2] * 5
    assert made.truth["query"].to_pylist() == np.repeat(np.arange(5), 3).tolist()


def test_vectors_of_no_and_of_many_chunks() -> None:
    table = arxiv_like.items(10, 8)
    assert vectors(table.slice(0, 0)).shape == (0, 8)
    assert vectors(table.schema.empty_table()).shape == (0, 8)
    both = pa.concat_tables([table.slice(3), table.slice(0, 3)])
    np.testing.assert_array_equal(vectors(both), np.roll(vectors(table), -3, axis=0))


def test_verify_names_what_is_wrong(made: Dataset, tmp_path: Path) -> None:
    folder = write(made, tmp_path)
    raw = bytearray((folder / "items.parquet").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "items.parquet").write_bytes(raw)
    (folder / "truth.parquet").unlink()
    assert sorted(verify(folder)) == [
        "items.parquet: its checksum is not the one in manifest.json",
        "truth.parquet: missing",
    ]


def test_strange_folders_are_refused(made: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.json cannot be read"):
        read(tmp_path)
    folder = write(made, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for change, message in (
        ({"format": 99}, "not a data set of format 1"),
        ({"files": {}}, "names no items"),
        ({"files": {"items.parquet": {}, "../x": {}}}, "not part of a data set"),
    ):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(DatasetError, match=message):
            read(folder)
        assert len(verify(folder)) == 1


def test_damaged_table_is_named(made: Dataset, tmp_path: Path) -> None:
    folder = write(made, tmp_path)
    (folder / "queries.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"queries\.parquet cannot be read"):
        read(folder)
