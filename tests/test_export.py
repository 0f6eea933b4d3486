"""An index goes to Parquet and comes back as it was; files that lie about it are refused."""

from __future__ import annotations

import copy
import datetime
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fanns
from fanns.cli import run
from fanns.errors import FannsError, IndexExistsError, InputError, StorageError
from fanns.export_checksum import KEY
from fanns.exporting import METADATA
from fanns.files import lock_file
from fanns.importing import parse
from tests.living_helpers import Model, assert_same, random_row, table_of
from tests.living_operations import QUERY
from tests.storage_helpers import child, run_child

EXACT = HealthCheck.function_scoped_fixture


def assert_equal(left: fanns.Index, right: fanns.Index) -> None:
    """Everything that a user gave is the same in two indexes, bit for bit."""
    assert list(left.ids()) == list(right.ids())
    assert dict(left.schema) == dict(right.schema) and list(left.schema) == list(right.schema)
    some = [index.get(left.ids(), vector=True) for index in (left, right)]
    assert some[0].schema == some[1].schema
    for column in some[0].column_names:
        kind = some[0].schema.field(column).type
        if pa.types.is_fixed_size_list(kind):
            vectors = [table[column].combine_chunks().flatten().to_numpy() for table in some]
            assert vectors[0].tobytes() == vectors[1].tobytes()
        else:
            assert some[0][column].to_pylist() == some[1][column].to_pylist(), column
    same = (
        "dimensions",
        "dtype",
        "metric",
        "id",
        "keep_originals",
        "model",
        "seed",
        "bits",
        "rows",
    )
    told = left.info(), right.info()
    assert [told[0][name] for name in same] == [told[1][name] for name in same]
    roles = [{name: c["indexed"] for name, c in part["columns"].items()} for part in told]
    assert roles[0] == roles[1]


def every_type(n: int, dtype: Any, strings: bool) -> pa.Table:
    """A column of every kind, with nulls, lists, and extreme values."""
    rng = np.random.default_rng(3)
    vectors = rng.integers(-90, 90, (n, 5)).astype(dtype)
    vectors[:, 0] = 1
    if dtype != np.int8:
        vectors[1] = [-0.0, 1e-7, 0.0, -0.0, 3.140625]
    columns: dict[str, pa.Array] = {
        "key": pa.array([f"ключ-{i}" if strings else 2**62 - i for i in range(n)]),
        "point": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 5),
    }
    values: list[tuple[str, pa.DataType, list[Any]]] = [
        ("flag", pa.bool_(), [True, False]),
        ("i8", pa.int8(), [-128, 127]),
        ("u64", pa.uint64(), [0, 2**64 - 1]),
        ("i64", pa.int64(), [-(2**63), 2**63 - 1]),
        ("f32", pa.float32(), [0.1, float("inf")]),
        ("f64", pa.float64(), [0.1, -0.0]),
        ("text", pa.string(), ["", "naïve \U0001f600", "x'\"\n"]),
        ("day", pa.date32(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
        ("second", pa.timestamp("s"), [datetime.datetime(2020, 1, 2)]),
        ("there", pa.timestamp("us", "Europe/Berlin"), [datetime.datetime(2020, 1, 2)]),
        ("nano", pa.timestamp("ns"), [1, -(2**63) + 1]),
        ('a.b, "c"', pa.int32(), [1]),
    ]
    for name, kind, some in values:
        taken = [[*some, None][i % (len(some) + 1)] for i in range(n)]
        columns[name] = pa.array(taken, kind)
        lists = [[None, [], some, [None, *some]][i % 4] for i in range(n)]
        columns[f"{name}s"] = pa.array(lists, pa.list_(kind))
    return pa.table(columns)


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_every_type_comes_back(tmp_path: Path, dtype: Any, strings: bool) -> None:
    table = every_type(23, dtype, strings)
    index = fanns.Index.build(
        table, id="key", vector="point", metric="l2", store=["text", "days"], model="some/model",
        calibration="default", bits=1, seed=7, path=tmp_path / "x",
    )  # fmt: skip
    assert index.export(tmp_path / "x.parquet", batch_rows=10) == 23
    plain = pq.read_table(tmp_path / "x.parquet")
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3
    assert plain["key"].to_pylist() == table["key"].to_pylist()
    assert plain.schema.field("point").type.value_type == pa.from_numpy_dtype(dtype)
    back = fanns.Index.import_(tmp_path / "x.parquet", tmp_path / "back")
    assert_equal(index, back)
    for name in table.column_names[2:]:
        assert back.get(back.ids())[name].to_pylist() == table[name].to_pylist()
    assert back.export(tmp_path / "again.parquet", batch_rows=10) == 23
    assert pq.read_table(tmp_path / "again.parquet").equals(plain, check_metadata=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[EXACT])
@given(seed=st.integers(0, 2**31), strings=st.booleans(), batch_rows=st.integers(1, 90))
def test_a_changed_index_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, strings: bool, batch_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    rng = np.random.default_rng(seed)
    keys = [f"k{i}" if strings else i for i in range(90)]
    rows = [random_row(rng, key) for key in keys]
    model = Model(rows[:40])
    index = fanns.Index.build(
        table_of(rows[:40], strings), metric="l2", store=["note"], calibration="default"
    )
    for _ in range(4):
        some = [random_row(rng, keys[i]) for i in rng.choice(90, 12, replace=False)]
        index.upsert(table_of(some, strings))
        model.add(some)
        gone = [keys[i] for i in rng.choice(90, 8, replace=False)]
        index.delete(ids=gone)
        model.delete_keys(gone)
        year = int(rng.integers(5))
        index.update(set={"tags": ["z"]}, where=f"year = {year}")
        model.update(lambda row, y=year: row["year"] == y, {"tags": ["z"]})  # type: ignore[misc]
    index.export(folder / "x.parquet", batch_rows=batch_rows)
    back = fanns.Index.import_(folder / "x.parquet")
    assert_equal(index, back)
    assert_same(back, model, QUERY)


def test_several_segments_columns_and_a_state_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [random_row(rng, i) for i in range(2_500)]
    index = fanns.Index.build(
        table_of(rows[:1_200]), metric="l2", calibration="default", path=tmp_path / "x"
    )
    index.close()
    with fanns.open(tmp_path / "x", mode="w") as index:
        index.add(table_of(rows[1_200:]))
        index.delete(where="year = 3")
        index.add_column("liked", pa.array([None] * len(index), pa.bool_()))
        index.drop_column("day")
        index.update(set={"liked": True}, where="year = 1")
        assert len(index.info()["segments"]) == 2

        def change(_: str, done: int, total: int) -> None:
            if done < 900:
                index.delete(where="TRUE")

        before = index.get(index.ids(), vector=True)
        assert index.export(tmp_path / "x.parquet", batch_rows=800, progress=change) == len(before)
        assert len(index) == 0
        assert index.export(tmp_path / "none.parquet") == 0
    with fanns.Index.import_(tmp_path / "x.parquet", tmp_path / "back") as back:
        assert back.get(back.ids(), vector=True).equals(before)
        assert back.verify() == []
    assert len(fanns.Index.import_(tmp_path / "none.parquet")) == 0


def test_generated_ids_are_not_given_again(tmp_path: Path) -> None:
    vectors = np.eye(6, dtype=np.float32)
    index = fanns.Index.build({"embedding": vectors}, calibration="default")
    index.delete(ids=[0, 5])
    index.export(tmp_path / "x.parquet")
    back = fanns.Index.import_(tmp_path / "x.parquet", tmp_path / "back")
    assert_equal(index, back)
    with fanns.open(tmp_path / "back", mode="w") as back:
        for one in (index, back):
            one.add({"embedding": vectors[:2]})
            assert list(one.ids()) == [1, 2, 3, 4, 6, 7]


def test_vectors_that_stand_for_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((50, 8)).astype(np.float32)
    index = fanns.Index.build(
        {"embedding": vectors}, keep_originals=False, calibration="default", path=tmp_path / "x"
    )
    with pytest.raises(InputError, match=r"export\(held=True\)"):
        index.export(tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
    index.export(tmp_path / "x.parquet", held=True)
    back = fanns.Index.import_(tmp_path / "x.parquet", tmp_path / "back")
    held = pq.read_table(tmp_path / "x.parquet")["embedding"]
    assert held.type.value_type == pa.float16()
    for query in vectors[:5]:
        a, b = (one.search(query, 10, exact=True) for one in (index, back))
        assert list(a.ids) == list(b.ids) and list(a.distances) == list(b.distances)
    with fanns.open(tmp_path / "back", mode="w") as back:
        back.add({"embedding": vectors[:1]})  # of the type given, not of the one held
        with pytest.raises(InputError, match="keep_originals=False"):
            back.get([0], vector=True)


def test_vectors_of_low_rank(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((900, 20)) @ rng.standard_normal((20, 128))
    table = {"embedding": vectors.astype(np.float32)}
    index = fanns.Index.build(table, reduce="on", calibration="default")
    assert index.info()["segments"][0]["reduction"]
    index.export(tmp_path / "x.parquet")
    back = fanns.Index.import_(tmp_path / "x.parquet")
    assert back.info()["segments"][0]["reduction"]
    got = back.get(back.ids(), vector=True)["embedding"].combine_chunks().flatten().to_numpy()
    size = np.linalg.norm(vectors, axis=1).max()
    assert np.abs(got.reshape(900, 128) - vectors).max() < 1e-5 * size


# ---- where it goes


def small(path: Path) -> fanns.Index:
    rng = np.random.default_rng(0)
    table = table_of([random_row(rng, i) for i in range(30)])
    return fanns.Index.build(table, path=path, metric="l2", store=["note"], calibration="default")


def test_a_taken_path(tmp_path: Path) -> None:
    index = small(tmp_path / "x")
    target = tmp_path / "x.parquet"
    target.write_bytes(b"mine")
    with pytest.raises(IndexExistsError, match="overwrite=True"):
        index.export(target)
    assert target.read_bytes() == b"mine"
    index.export(target, overwrite=True)
    assert len(fanns.Index.import_(target)) == 30
    with pytest.raises(InputError, match="is a folder"):
        index.export(tmp_path, overwrite=True)
    with pytest.raises(StorageError, match=r"cannot export to .*no/x\.parquet: No such file"):
        index.export(tmp_path / "no" / "x.parquet")
    with pytest.raises(InputError, match="batch_rows"):
        index.export(tmp_path / "y.parquet", batch_rows=0)
    with pytest.raises(IndexExistsError):
        fanns.Index.import_(target, tmp_path / "x")


def test_interrupted(tmp_path: Path) -> None:
    index = small(tmp_path / "x")
    target = tmp_path / "x.parquet"
    index.export(target)
    before = target.read_bytes()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.export(target, batch_rows=5, overwrite=True, progress=interrupt)
    assert target.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["x", "x.parquet"]


KILLED = """
    import os, signal, sys
    import fanns
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    fanns.open(sys.argv[1]).export(sys.argv[2], batch_rows=5, progress=die)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed(tmp_path: Path) -> None:
    """What a killed export left goes with the next one of that name; what another writes stays."""
    index = small(tmp_path / "x")
    target = tmp_path / "x.parquet"
    process = child(KILLED, tmp_path / "x", target)
    process.communicate(timeout=60)
    assert process.returncode == -9
    (left,) = tmp_path.glob(".x.parquet.*.exporting")
    assert left.name.startswith(f".x.parquet.{process.pid}-")
    held = tmp_path / f".x.parquet.{process.pid}-00000000.exporting"
    held.write_bytes(b"")
    other = tmp_path / ".y.parquet.1-00000000.exporting"
    other.write_bytes(b"")
    with open(held, "rb") as file:
        lock_file(file)  # as a process of another container would
        index.export(target)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        [held.name, other.name, "x", "x.parquet"]
    )
    index.export(target, overwrite=True)
    assert not held.exists() and other.exists()
    assert_equal(index, fanns.Index.import_(target))


FULL = """
    import resource, sys
    import fanns
    from fanns.errors import StorageError
    index = fanns.open(sys.argv[1])
    for room in (0, 1_000, 3_000, 6_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        try:
            index.export(sys.argv[2], batch_rows=5)
        except StorageError as error:
            print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE")
def test_full_disk(tmp_path: Path) -> None:
    small(tmp_path / "x")
    told = run_child(FULL, tmp_path / "x", tmp_path / "x.parquet").splitlines()
    assert len(told) == 4
    for line in told:
        assert line.startswith(f"cannot export to {tmp_path / 'x.parquet'}: File too large")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_beyond_parquet(tmp_path: Path) -> None:
    table = {
        "embedding": np.eye(2, dtype=np.float32),
        "at": pa.array([0, 2**62], pa.timestamp("s")),
    }
    index = fanns.Index.build(table, calibration="default")
    with pytest.raises(InputError, match="cannot be written as Parquet"):
        index.export(tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


# ---- files from strangers


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    small(folder / "x").export(folder / "x.parquet")
    return folder / "x.parquet"


def forge(exported: Path, target: Path, text: bytes) -> Path:
    """The exported file with other settings."""
    table = pq.read_table(exported)
    pq.write_table(table.replace_schema_metadata({METADATA: text}), target)
    return target


def told(exported: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pq.read_schema(exported).metadata[METADATA])
    return found


def test_no_export(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        fanns.Index.import_(tmp_path / "no.parquet")
    (tmp_path / "text.parquet").write_text("PAR1 of sorts")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        fanns.Index.import_(tmp_path / "text.parquet")
    cut = exported.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        fanns.Index.import_(tmp_path / "cut.parquet")
    pq.write_table(pa.table({"embedding": [[1.0, 2.0]]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="not written by fanns export: fanns build"):
        fanns.Index.import_(tmp_path / "other.parquet")
    assert len(fanns.Index.build(exported, calibration="default")) == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "no object"),
        (b"{}", "no object"),
        (b'{"format": true}', "no object with a format"),
        (b'{"format": 2}', "format 2, this fanns reads 1; upgrade"),
        (b'{"format": 1, "settings": {}}', "next_id"),
        (b'{"format": 1, "next_id": -1, "settings": {}}', "next_id"),
        (b'{"format": 1, "next_id": 0, "settings": []}', "settings is no object"),
        (b'{"format": 1, "next_id": 0, "settings": {}}', "metric is missing"),
        (b'{"format": 1, "next_id": 0, "settings": {"metric": ["l2"]}}', "metric is of type list"),
    ],
)
def test_hostile_settings(tmp_path: Path, exported: Path, text: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fanns.Index.import_(forge(exported, tmp_path / "forged.parquet", text))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "hamming"}, "unknown metric"),
        ({"dimensions": 7}, "not those that its settings tell of"),
        ({"dtype": "float16"}, "vectors are float32, its settings say float16"),
        ({"dtype": "object"}, "unknown metric, id type or dtype"),
        ({"vector_name": "nowhere"}, "no column 'nowhere'"),
        ({"id_name": "note"}, "row . is null|settings tell"),
        ({"id_kind": "string"}, "not those that its settings tell of"),
        ({"generated": True}, "from 0 to next_id, 0"),
        ({"attributes": ["year", 5]}, "names of columns"),
        ({"attributes": ["year"]}, "attributes and stored are not the columns"),
        ({"stored": ["year", "note"]}, "attributes and stored are not the columns"),
        ({"schema": {"year": {"kind": "__import__('os')"}}}, "settings: not those of an index"),
        ({"schema": {"year": 3}}, "settings: not those of an index"),
        ({"seed": -1}, "seed is negative"),
        ({"bits": 3}, "unknown codes"),
        ({"bits": True}, "bits is of type bool"),
        ({"reduce": "always"}, "reduce is 'always'"),
        ({"calibration": "never"}, "calibration is 'never'"),
        ({"extra": 1}, "settings: not those of an index"),
    ],
)
def test_forged_settings(
    tmp_path: Path, exported: Path, changes: dict[str, Any], message: str
) -> None:
    forged = told(exported)
    if "schema" in changes:
        changes = {"schema": forged["settings"]["schema"] | changes["schema"]}
    forged["settings"] |= changes
    with pytest.raises(InputError, match=message) as caught:
        text = json.dumps(forged).encode()
        fanns.Index.import_(forge(exported, tmp_path / "forged.parquet", text))
    assert str(tmp_path / "forged.parquet") in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[EXACT])
@given(data=st.data())
def test_any_settings_are_read_or_refused(exported: Path, data: st.DataObject) -> None:
    forged = copy.deepcopy(told(exported))
    where = data.draw(st.sampled_from([forged, forged["settings"], forged["settings"]["schema"]]))
    where[data.draw(st.sampled_from(sorted(where)) | st.text(max_size=5))] = data.draw(JSON)
    try:
        parse(json.dumps(forged).encode())
    except FannsError as error:
        assert isinstance(error, InputError)


@settings(max_examples=100, deadline=None, suppress_health_check=[EXACT])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit(exported: Path, tmp_path: Path, place: float, bit: int) -> None:
    """Is found wherever it is, or is in the name of the checksum and changes nothing."""
    whole = bytearray(exported.read_bytes())
    number = int(place * len(whole))
    whole[number] ^= 1 << bit
    (tmp_path / "x.parquet").write_bytes(whole)
    if KEY in whole:
        with pytest.raises(InputError, match=r"x\.parquet"):
            fanns.Index.import_(tmp_path / "x.parquet")
    else:
        assert_equal(fanns.Index.import_(tmp_path / "x.parquet"), fanns.Index.import_(exported))


@settings(max_examples=150, deadline=None, suppress_health_check=[EXACT])
@given(data=st.data())
def test_flipped_bits(exported: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Anywhere, headers and footer included: an error that names the file, or an index."""
    whole = bytearray(exported.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "x.parquet").write_bytes(whole[: data.draw(st.none() | st.integers(0, 7_000))])
    try:
        fanns.Index.import_(tmp_path / "x.parquet").close()
    except InputError as error:
        assert str(tmp_path / "x.parquet") in str(error)


def test_altered_values_are_refused(exported: Path, tmp_path: Path) -> None:
    """Pages have checksums."""
    group = pq.ParquetFile(exported).metadata.row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        first = column.dictionary_page_offset or column.data_page_offset
        whole = bytearray(exported.read_bytes())
        whole[first + column.total_compressed_size - 1] ^= 1
        (tmp_path / "x.parquet").write_bytes(whole)
        with pytest.raises(InputError, match=r"x\.parquet: it does not match its own checksum"):
            fanns.Index.import_(tmp_path / "x.parquet")
        with pytest.raises(InputError, match=r"x\.parquet cannot be read as Parquet"):
            fanns.Index.build(tmp_path / "x.parquet", calibration="default")


def test_columns_of_other_types(tmp_path: Path, exported: Path) -> None:
    table = pq.read_table(exported)
    wrong = table.set_column(
        table.column_names.index("year"), "year", pa.array([Decimal("1.5")] * 30)
    )
    pq.write_table(wrong, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="column 'year' is not of type int64"):
        fanns.Index.import_(tmp_path / "x.parquet")


# ---- from the shell


def test_commands(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index = small(tmp_path / "x")
    x, file, back = str(tmp_path / "x"), str(tmp_path / "x.parquet"), str(tmp_path / "back")
    assert run(["export", x, file, "--batch-rows", "7"]) == 0
    assert "exported 30 rows" in capfd.readouterr().err
    assert run(["export", x, file]) == 1
    assert "--overwrite" in capfd.readouterr().err
    assert run(["export", x, file, "--overwrite", "-q"]) == 0
    assert run(["import", file, "-o", back]) == 0
    assert "imported 30 rows" in capfd.readouterr().err
    assert run(["import", file, "-o", back]) == 1
    assert "--overwrite" in capfd.readouterr().err
    assert run(["import", file]) == 2
    assert_equal(index, fanns.open(back))
