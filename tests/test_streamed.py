"""Builds within a memory limit: the same rows and answers in several segments, or a clear error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

import fanns
from fanns import probing, streaming
from fanns.distinct_ids import check_distinct
from fanns.errors import CorruptIndexError, InputError, UnfinishedIndexError
from fanns.ingest import split
from fanns.memory_limit import parse_size
from fanns.parquet_source import ParquetSource
from fanns.probing import Probe
from fanns.reading_rows import read_rows
from fanns.storage import Directory
from fanns.unfinished import State
from tests.streamed_helpers import contents, rows, write

N, D = 3_000, 24
LIMIT = "4GB"
OPTIONS: dict[str, Any] = {"vector": "v", "calibration": "default", "metric": "l2", "bits": 0}


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of at most 1,100 rows, whatever the limit allows."""
    monkeypatch.setattr(Probe, "segment_rows", lambda *_: 1_100)
    monkeypatch.setattr(probing, "needed", lambda _: 1_000)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return rows(N, D)


def build(data: Any, path: Path, **options: Any) -> fanns.Index:
    return fanns.Index.build(data, path=path, **{"memory_limit": LIMIT, **OPTIONS, **options})


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("files", [1, 3])
def test_equals_the_build_in_memory(tmp_path: Path, table: pa.Table, files: int) -> None:
    source = write(tmp_path / "x.parquet", table, files)
    options = {"bits": 2 if files == 1 else 0}
    whole = fanns.Index.build(source, **{**OPTIONS, **options})
    index = build(source, tmp_path / "index", **options)
    assert [segment.n for segment in index._snapshot.segments] == [1_000] * 3
    assert list(index.ids()) == list(whole.ids()) == table["id"].to_pylist()
    assert index.schema == whole.schema and index._recipe == whole._recipe
    assert index._recipe.stored == ("text",)
    assert contents(index).equals(contents(whole))
    queries = np.random.default_rng(1).standard_normal((8, D)).astype(np.float32)
    for where in (None, "\"group\" < 7 AND word = 'beta'", "score IS NULL"):
        for query in queries:
            ours = index.search(query, 10, where, exact=True)
            theirs = whole.search(query, 10, where, exact=True)
            assert list(ours.ids) == list(theirs.ids)
            assert_array_equal(ours.distances, theirs.distances)
    assert index.verify() == []
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["index"]


@pytest.mark.usefixtures("small_segments")
def test_generated_ids_go_on(tmp_path: Path, table: pa.Table) -> None:
    source = write(tmp_path / "x.parquet", table.drop(["id"]))
    with build(source, tmp_path / "index") as index:
        assert_array_equal(index.ids(), np.arange(N))
    with fanns.open(tmp_path / "index", mode="w") as index:
        index.add(table.drop(["id"]).slice(0, 2))
        assert_array_equal(index.ids()[-3:], [N - 1, N, N + 1])


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("kind", [pa.float64(), pa.float16(), pa.int8()])
@pytest.mark.parametrize("keep", [True, False])
def test_types_of_vectors(tmp_path: Path, table: pa.Table, kind: pa.DataType, keep: bool) -> None:
    values = np.asarray(pc.list_flatten(table["v"].combine_chunks()))
    if kind == pa.int8():
        values = np.clip(values * 20, -127, 127)
    flat = pa.array(values.astype(kind.to_pandas_dtype()))
    data = pa.table({"id": np.arange(N), "v": pa.FixedSizeListArray.from_arrays(flat, D)})
    source = write(tmp_path / "x.parquet", data)
    options = {"keep_originals": keep, "metric": "cosine"}
    whole = fanns.Index.build(source, **{**OPTIONS, **options})
    index = build(source, tmp_path / "index", **options)
    query = values[:D].astype(np.float32)
    ours, theirs = (one.search(query, 10, exact=True) for one in (index, whole))
    assert_array_equal(ours.ids, theirs.ids)
    assert_array_equal(ours.distances, theirs.distances)


def test_no_rows(tmp_path: Path, table: pa.Table) -> None:
    source = write(tmp_path / "x.parquet", table.slice(0, 0))
    index = build(source, tmp_path / "index")
    assert len(index) == 0 and len(index.search(np.ones(D, np.float32), 3)) == 0


def test_a_dataset_is_its_files(tmp_path: Path, table: pa.Table) -> None:
    write(tmp_path / "x.parquet", table.slice(0, 300), 2)
    index = build(pds.dataset(tmp_path, format="parquet"), tmp_path / "index")
    assert list(index.ids()) == table["id"].to_pylist()[:300]


# ---- what is refused


def refused(source: Any, tmp_path: Path, match: str, **options: Any) -> None:
    """The build says no, and nothing of it is left."""
    with pytest.raises(InputError, match=match):
        build(source, tmp_path / "index", **options)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_what_is_in_memory_is_refused(tmp_path: Path, table: pa.Table) -> None:
    refused(table, tmp_path, "memory_limit is for Parquet files.*Table")
    source = write(tmp_path / "x.parquet", table.slice(0, 100))
    with pytest.raises(InputError, match="needs a path"):
        fanns.Index.build(source, memory_limit="1GB", **OPTIONS)


@pytest.mark.parametrize("limit", ["much", "-1GB", 0, 1.5, "", True])
def test_limits_that_are_none(tmp_path: Path, table: pa.Table, limit: Any) -> None:
    source = write(tmp_path / "x.parquet", table.slice(0, 100))
    refused(source, tmp_path, "memory_limit is", memory_limit=limit)


def test_sizes_in_words() -> None:
    sizes: dict[int | str, int] = {
        "1GB": 10**9,
        "1.5 GiB": 3 << 29,
        "300 mb": 3 * 10**8,
        "7k": 7_000,
        "12": 12,
        5: 5,
    }
    for given, size in sizes.items():
        assert parse_size(given) == size


def test_a_limit_too_low_names_the_least(tmp_path: Path, table: pa.Table) -> None:
    source = write(tmp_path / "x.parquet", table)
    with pytest.raises(InputError, match="give at least") as raised:
        build(source, tmp_path / "index", memory_limit="90MB")
    least = re.search(r"give at least ([\d,]+)", str(raised.value))
    assert least is not None
    assert not (tmp_path / ".index.unfinished").exists()
    more = int(least[1].replace(",", "")) + 30_000_000  # the process may hold more by now
    assert len(build(source, tmp_path / "index", memory_limit=more)) == N


@pytest.mark.parametrize(
    ("column", "row", "value", "match"),
    [
        ("id", 2_500, "row-0000007", "duplicate id 'row-0000007' in rows 7 and 2500"),
        ("id", 2_500, None, "row 2500 is null"),
        ("v", 2_600, [np.nan] * D, r"row 2600 \(id 'row-0002600'\) holds NaN"),
        ("v", 2_700, None, r"row 2700 \(id 'row-0002700'\) is null"),
        ("v", 2_800, [0.0] * D, r"row 2800 .* is zero"),
    ],
)
def test_bad_rows_are_named(
    tmp_path: Path, table: pa.Table, column: str, row: int, value: Any, match: str
) -> None:
    values = table[column].to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    bad = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
    refused(write(tmp_path / "x.parquet", bad), tmp_path, match, metric="cosine")


def test_vectors_of_other_lengths_are_named(tmp_path: Path) -> None:
    vectors = [[1.0, 2.0]] * 900 + [[1.0]] + [[1.0, 2.0]] * 99
    data = pa.table({"v": pa.array(vectors, pa.list_(pa.float32()))})
    refused(write(tmp_path / "x.parquet", data), tmp_path, "row 900 .*has 1 values")
    for name, vector, count in (("a", [1.0, 2.0], 4_500), ("b", [1.0], 20)):
        data = pa.table({"v": pa.array([vector] * count, pa.list_(pa.float32()))})
        write(tmp_path / f"{name}.parquet", data)
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    refused(paths, tmp_path, "row 4500 has 1 values, but row 0 has 2")


def test_files_that_are_not_alike(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table.slice(0, 10), tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 10).drop(["word"]), tmp_path / "b.parquet")
    refused([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path, "'word' is missing")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 or not")
    refused([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path, "cannot be read as Parquet")


# ---- ids


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("budget", [10**9, 5_000])
def test_ids_are_compared_in_any_budget(tmp_path: Path, strings: bool, budget: int) -> None:
    values: list[Any] = np.random.default_rng(0).permutation(2_000).tolist()
    if strings:
        values = [f"é{value}" for value in values]
    good = pa.table({"key": values})
    source = ParquetSource([Path(str(write(tmp_path / "x.parquet", good)))])
    check_distinct(source, "key", budget, 1)
    values[1_900] = values[3]
    bad = ParquetSource([Path(str(write(tmp_path / "y.parquet", pa.table({"key": values}))))])
    with pytest.raises(InputError, match="in rows 3 and 1900"):
        check_distinct(bad, "key", budget, 1)


def test_equal_hashes_are_no_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fanns import distinct_ids

    data = pa.table({"key": [f"k{i}" for i in range(50)]})
    source = ParquetSource([Path(str(write(tmp_path / "x.parquet", data)))])
    monkeypatch.setattr(distinct_ids, "keys_of", lambda ids, seed: np.zeros(len(ids), np.uint64))
    check_distinct(source, "key", 10**6, 1)


# ---- reading


def test_reads_any_rows(tmp_path: Path, table: pa.Table) -> None:
    paths = write(tmp_path / "x.parquet", table, 3, 170)
    assert isinstance(paths, list)
    source = ParquetSource(paths)
    from fanns.building import prepare_data

    given: Any = dict.fromkeys(("id", "attributes", "store", "model", "threads"))
    recipe, _ = prepare_data(
        table, **given, vector="v", metric="l2", seed=0, keep_originals=True, reduce="off",
        calibration="default", bits=2,
    )  # fmt: skip
    for start, stop in [(0, N), (0, 1), (999, 1_001), (1_234, 2_345), (N - 1, N), (5, 5)]:
        got = read_rows(source, recipe, start, stop)
        want = split(table.slice(start, stop - start), "v", "id", recipe.attributes, recipe.stored)
        assert list(got.ids) == list(want.ids) and got.attributes.equals(want.attributes)
        assert got.stored.equals(want.stored)
        assert_array_equal(got.vectors, want.vectors)
    for start, stop in [(0, N), (17, 2_011)]:
        parts = [(at, len(part)) for at, part in source.batches(["id"], start, stop)]
        assert parts[0][0] == start and sum(size for _, size in parts) == stop - start


@pytest.mark.parametrize(
    ("start", "rows", "most"), [(0, 10, 4), (0, 1, 1), (3, 10, 100), (0, 9, 2)]
)
def test_runs_are_equal_and_the_same_from_any_of_them(start: int, rows: int, most: int) -> None:
    runs = streaming.bounds(start, rows, most)
    sizes = [stop - begin for begin, stop in runs]
    assert sum(sizes) == rows - start and max(sizes) <= most and max(sizes) - min(sizes) <= 1
    for place in range(len(runs)):
        assert streaming.bounds(runs[place][0], rows, most) == runs[place:]
    assert streaming.bounds(0, 0, 5) == [(0, 0)]


# ---- going on


class Stop(Exception):
    pass


def interrupted(source: Any, path: Path, **options: Any) -> None:
    """A build that ends within its second segment."""

    def end(stage: str, done: int, total: int) -> None:
        if stage == "segment 2/3, encode":
            raise Stop

    with pytest.raises(Stop):
        build(source, path, progress=end, **options)


@pytest.mark.usefixtures("small_segments")
def test_goes_on_with_what_is_done(tmp_path: Path, table: pa.Table) -> None:
    source = write(tmp_path / "x.parquet", table)
    path, place = tmp_path / "index", tmp_path / ".index.unfinished"
    interrupted(source, path)
    for opened in (path, place):
        with pytest.raises(UnfinishedIndexError, match=r"1,000 of 3,000 rows.*same build again"):
            fanns.open(opened)
    first = (place / "segment-000001" / "segment.bin").stat()
    stages: list[str] = []
    index = build(source, path, progress=lambda stage, done, total: stages.append(stage), threads=1)
    assert "check" not in stages and not any(stage.startswith("segment 1/") for stage in stages)
    assert list(index.ids()) == table["id"].to_pylist()
    after = (path / "segment-000001" / "segment.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert not place.exists() and index.verify() == []
    # The same, to the byte, as one that was not interrupted.
    build(source, tmp_path / "other").close()
    for file in sorted((tmp_path / "other").rglob("*.bin")):
        assert file.read_bytes() == (path / file.relative_to(tmp_path / "other")).read_bytes()


@pytest.mark.usefixtures("small_segments")
def test_says_what_differs(tmp_path: Path, table: pa.Table) -> None:
    source = write(tmp_path / "x.parquet", table)
    path = tmp_path / "index"
    interrupted(source, path)
    with pytest.raises(InputError, match="bits was 0, is 1; metric was 'l2', is 'cosine'"):
        build(source, path, bits=1, metric="cosine")
    with pytest.raises(InputError, match="sample queries are others"):
        build(source, path, queries=np.ones((3, D), np.float32))
    other = write(tmp_path / "y.parquet", table)
    with pytest.raises(InputError, match=r"the files: .*x\.parquet then, .*y\.parquet now"):
        build(other, path)
    write(tmp_path / "x.parquet", table.slice(0, 2_900))
    with pytest.raises(InputError, match=r"x\.parquet has changed since: its bytes was"):
        build(source, path)
    assert (tmp_path / ".index.unfinished" / "segment-000001").is_dir()


@pytest.mark.usefixtures("small_segments")
def test_another_limit_may_go_on(
    tmp_path: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "x.parquet", table)
    interrupted(source, tmp_path / "index")
    monkeypatch.setattr(Probe, "segment_rows", lambda *_: 5_000)
    index = build(source, tmp_path / "index", memory_limit="5GB")
    assert [segment.n for segment in index._snapshot.segments] == [1_000, 2_000]
    assert list(index.ids()) == table["id"].to_pylist()


@pytest.mark.usefixtures("small_segments")
def test_an_index_at_the_path_stays_until_the_new_one_is_whole(
    tmp_path: Path, table: pa.Table
) -> None:
    source = write(tmp_path / "x.parquet", table)
    path = tmp_path / "index"
    fanns.Index.build(table.slice(0, 50), path=path, **OPTIONS).close()
    with pytest.raises(fanns.errors.IndexExistsError):
        build(source, path)
    interrupted(source, path, overwrite=True)
    with fanns.open(path) as index:
        assert len(index) == 50
    assert len(build(source, path, overwrite=True)) == N
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["index"]


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("when", ["settings", "name"])
def test_ended_before_it_had_its_name(
    tmp_path: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    from fanns.storage import Directory

    def end(*_: Any) -> None:
        raise Stop

    source = write(tmp_path / "x.parquet", table)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        name = {"settings": "set_settings", "name": "commit_new"}[when]
        real = getattr(Directory, name)

        def late(self: Directory, *given: Any) -> Any:
            return real(self, *given) if len(self.segments) < 3 else end()

        patch.setattr(Directory, name, late)
        build(source, tmp_path / "index")
    with pytest.raises(fanns.errors.NotAnIndexError):
        fanns.open(tmp_path / "index")
    assert len(build(source, tmp_path / "index")) == N


@pytest.mark.usefixtures("small_segments")
def test_two_builds_at_once(tmp_path: Path, table: pa.Table) -> None:
    source = write(tmp_path / "x.parquet", table)
    raised = []

    def second(stage: str, done: int, total: int) -> None:
        if stage == "segment 2/3, write":
            with pytest.raises(fanns.errors.IndexLockedError) as error:
                build(source, tmp_path / "index")
            raised.append(error)

    assert len(build(source, tmp_path / "index", progress=second)) == N
    assert raised


def test_giving_up_does_not_hide_what_went_wrong(
    tmp_path: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "x.parquet", table)

    def unreadable(directory: Directory) -> None:
        raise CorruptIndexError("the state cannot be read")

    def fail(*_: object) -> None:
        monkeypatch.setattr(State, "read", unreadable)
        raise MemoryError("while it was measured")

    monkeypatch.setattr(streaming, "probe", fail)
    with pytest.raises(MemoryError, match="measured"):
        build(source, tmp_path / "index")
    monkeypatch.undo()
    build(source, tmp_path / "index").close()


def test_a_catalog_that_was_not_made_is_made_anew(tmp_path: Path, table: pa.Table) -> None:
    source = write(tmp_path / "x.parquet", table.slice(0, 200))
    place = tmp_path / ".index.unfinished"
    place.mkdir()
    (place / "catalog.sqlite").write_bytes(b"")
    assert len(build(source, tmp_path / "index")) == 200


def test_the_state_is_hostile_too(tmp_path: Path, table: pa.Table) -> None:
    from fanns.storage import UNFINISHED, Directory

    source = write(tmp_path / "x.parquet", table.slice(0, 200))
    for told in (7, {}, {"format": 1}, {"format": 9}, {"format": 1, "rows": -1, "limit": 0}):
        with Directory.resume(tmp_path / "index") as directory:
            directory.set_settings({UNFINISHED: json.loads(json.dumps(told))})
        with pytest.raises((fanns.errors.CorruptIndexError, UnfinishedIndexError)):
            fanns.open(tmp_path / "index")
        with pytest.raises(fanns.errors.CorruptIndexError, match="state of the unfinished"):
            build(source, tmp_path / "index")
