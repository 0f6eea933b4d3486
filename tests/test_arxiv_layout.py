"""The layout of arxiv-for-fanns, written from a data set and read back."""

import errno
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from fanns.bench.formats import arxiv_fanns, vecs
from fanns.bench.workloads import synthetic
from fanns.bench.workloads.masks import passing
from fanns.bench.workloads.workload import load
from fanns.cli import cli
from fanns.datasets import arxiv_answers, arxiv_layout, arxiv_like, dataset
from fanns.datasets.arxiv_attributes import THE_ELEVEN
from fanns.datasets.arxiv_filters import paper_sets
from fanns.datasets.dataset import Dataset, vectors
from fanns.errors import InputError, StorageError

ROWS, QUERIES, K = 1_500, 12, 20


def made(folder: Path, metric: str = "cosine", stretch: float = 1.0, days: bool = True) -> Dataset:
    """A data set of simulated papers with the attributes that they can have."""
    records = arxiv_like.items(ROWS, 8)
    attributes = synthetic.attributes(records)
    if days:
        at = attributes.column_names.index("update_date")
        numbers = attributes["update_date"].cast(pa.int32())
        attributes = attributes.set_column(at, "update_date", numbers)
    lengths = np.linspace(1.0, stretch, ROWS, dtype=np.float32)
    base = vectors(records) * lengths[:, None]
    kind = records.schema.field("embedding").type
    items = attributes.add_column(0, "id", records["id"]).append_column(
        "embedding", pa.FixedSizeListArray.from_arrays(pa.array(base.reshape(-1)), type=kind)
    )
    asked = arxiv_like.queries(QUERIES, 8)
    queries, truth = arxiv_answers.answer(
        base, attributes, items["id"], asked.select(["text"]), vectors(asked), k=K, metric=metric
    )
    found = Dataset(items, queries, truth, metric=metric)
    dataset.write(found, folder)
    return found


@pytest.mark.parametrize("days", [True, False])
def test_the_layout_is_read_back(days: bool, tmp_path: Path) -> None:
    data = made(tmp_path / "set", days=days)
    seen: list[int] = []
    files = arxiv_layout.write(
        tmp_path / "set", tmp_path / "layout", lambda stage, done, total: seen.append(done)
    )
    assert sorted(path.name for path in files) == sorted(os.listdir(tmp_path / "layout"))
    assert seen[-1] == ROWS
    found = arxiv_fanns.read(tmp_path / "layout")
    np.testing.assert_allclose(found.vectors, data.vectors(), rtol=1e-6)
    assert data.truth is not None and data.queries is not None
    place = {name: row for row, name in enumerate(data.items["id"].to_pylist())}
    sets = paper_sets(data.items.drop_columns(["embedding"]), QUERIES)
    assert [one.name for one in found.sets] == [one.name for one in sets]
    for number, (own, wanted) in enumerate(zip(found.sets, sets, strict=True)):
        assert own.where == wanted.where
        for query in range(QUERIES):
            rows = own.rows[own.offsets[query] : own.offsets[query + 1]]
            mask = passing(found.attributes, own.where, own.params[query])
            wide = np.ones(ROWS, bool)
            if wanted.passing is not None:
                wide = wanted.passing.block(slice(query, query + 1), slice(0, ROWS))[0]
            np.testing.assert_array_equal(mask, wide)
            told = data.truth.filter(pa.compute.equal(data.truth["query"], number * 12 + query))
            assert rows.tolist() == [place[name] for name in told["id"].to_pylist()]


def test_the_files_hold_what_the_layout_says(tmp_path: Path) -> None:
    data = made(tmp_path / "set", days=False)
    arxiv_layout.write(tmp_path / "set", tmp_path / "layout")
    lines = (tmp_path / "layout" / "database_attributes.jsonl").read_text().splitlines()
    assert len(lines) == ROWS
    first, row = json.loads(lines[0]), data.items.slice(0, 1).to_pylist()[0]
    assert list(first) == [n for n in THE_ELEVEN if n in data.items.column_names]
    assert first["update_date"] == (row["update_date"] - date(1970, 1, 1)).days
    assert first["main_categories"] == row["main_categories"]
    ranges = (tmp_path / "layout" / "r_query_attributes.jsonl").read_text().splitlines()
    assert all(isinstance(value, int) for line in ranges for value in json.loads(line).values())


def test_bench_imports_it_and_finds_the_same_answers(tmp_path: Path) -> None:
    """Vectors of many lengths: the cosine order is then that of the unit vectors written."""
    made(tmp_path / "set", stretch=3.0)
    arxiv_layout.write(tmp_path / "set", tmp_path / "layout")
    command = ["bench", "import", "arxiv-fanns", str(tmp_path / "layout")]
    done = CliRunner().invoke(cli, [*command, "-o", str(tmp_path / "bench"), "--depth", str(K)])
    assert done.exit_code == 0, done.output
    assert [cell.name for cell in load(tmp_path / "bench").cells] == ["none", "em", "r", "emis"]


def test_data_that_the_layout_cannot_hold(tmp_path: Path) -> None:
    data = made(tmp_path / "set", metric="ip")
    with pytest.raises(InputError, match="has the metric ip"):
        arxiv_layout.write(tmp_path / "set", tmp_path / "layout")
    data.metric = "l2"
    assert data.queries is not None and data.truth is not None
    whole = data.queries

    def refused(queries: pa.Table, message: str, kind: type[Exception] = InputError) -> None:
        data.queries = queries
        dataset.write(data, tmp_path / "set")
        with pytest.raises(kind, match=message):
            arxiv_layout.write(tmp_path / "set", tmp_path / "layout")
        assert not list((tmp_path / "layout").glob("*.partial"))

    refused(whole.slice(QUERIES), "no set 'none': em, r, emis")
    refused(whole.drop_columns(["params"]), "its queries have no params")
    refused(pa.concat_tables([whole.slice(0, 3), whole.slice(14)]), "asks other queries")
    data.truth = data.truth.set_column(2, "id", pa.array(["x"] * data.truth.num_rows))
    refused(whole, "names ids that items.parquet does not have")
    (tmp_path / "set" / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="the layout cannot be written"):
        arxiv_layout.write(tmp_path / "set", tmp_path / "layout")


def test_a_full_disk_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    made(tmp_path / "set")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        arxiv_layout.write(tmp_path / "set", tmp_path / "layout")
    assert list((tmp_path / "layout").iterdir()) == []


def test_vectors_are_written_block_by_block(tmp_path: Path) -> None:
    from fanns.datasets.vecs import write_fvecs

    whole: Any = np.arange(30, dtype=np.float32).reshape(10, 3)
    path = write_fvecs(tmp_path / "a.fvecs", iter([whole[:4], whole[4:4], whole[4:]]))
    np.testing.assert_array_equal(vecs.read_fvecs(path), whole)
