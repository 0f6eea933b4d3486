"""What fuzzing found, each once, as it is now: an error of ours that says what is wrong."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

import fanns
from fanns.calibration import DEFAULT, Calibration
from fanns.cli_options import read_vectors
from fanns.errors import CorruptIndexError, FannsError, FilterError, InputError, ParameterError
from tests.storage_helpers import forge

N, D = 12, 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
    table = {
        "id": [f"key-{i:02d}" for i in range(N)],
        "embedding": vectors,
        "year": np.arange(N) % 3,
        "tags": [["a"], ["b", "a"], []] * 4,
        "text": ["long " * 40] * N,
    }
    fanns.Index.build(table, metric="l2", calibration="default", path=tmp_path / "x").close()
    return tmp_path / "x"


def use(path: Path) -> None:
    with fanns.open(path) as index:
        for where in (None, "year = 1", "list_contains(tags, 'a')", "text LIKE 'long%'"):
            index.search(np.ones(D, np.float32), 3, where)
        index.get(index.ids(), vector=True)
        index.info()


def described(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """The description of the segment is another."""
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        ((text,),) = connection.execute("SELECT meta FROM segment").fetchall()
    connection.close()
    meta = json.loads(text)
    change(meta)
    forge(path, "UPDATE segment SET meta = '{}'".format(json.dumps(meta).replace("'", "''")))


@pytest.mark.parametrize("value", [None, -1, "x", [], {}, 1e30, "missing"])
@pytest.mark.parametrize(
    "name",
    ["rows", "metric", "id_kind", "indexed", "graph", "bits", "products", "codes", "calibration"],
)
def test_descriptions_of_segments(path: Path, name: str, value: Any) -> None:
    if (name, value) in (("indexed", []), ("codes", {})):
        value = [[]] if name == "indexed" else {"int8": {}}
    described(
        path, lambda meta: meta.pop(name) if value == "missing" else meta.update({name: value})
    )
    with pytest.raises(CorruptIndexError, match="segment 1: "):
        use(path)


@pytest.mark.parametrize(
    "change",
    [
        {"vector_name": 5}, {"id_name": ["id"]}, {"attributes": ["year"]}, {"dimensions": "4"},
        {"stored": []}, {"schema": {}}, {"seed": None}, {"model": 7}, {"bits": True},
    ],
)  # fmt: skip
def test_settings_of_other_types(path: Path, change: dict[str, Any]) -> None:
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        ((text,),) = connection.execute("SELECT value FROM state WHERE key = 'settings'").fetchall()
    connection.close()
    changed = json.dumps(json.loads(text) | change)
    forge(path, f"UPDATE state SET value = '{changed}' WHERE key = 'settings'")
    with pytest.raises(CorruptIndexError, match="settings"):
        use(path)


@pytest.mark.parametrize(
    "change",
    [
        {"k": 0}, {"source": 3}, {"depths": "long"}, {"depths": [1.0]}, {"depths": [1e30] * 6},
        {"depths": [float("nan")] * 6}, {"scan": {"fixed_ns": "x"}}, {"curves": [{}]},
        {"bits": {"fixed_ns": -1, "code_ns": 1, "exact_ns": 1}}, {"clusters": {"clusters": 1}},
        {"lift_ns": []}, {"bit_depths": []}, {"scan": 10**400},
    ],
)  # fmt: skip
def test_calibrations(change: dict[str, Any]) -> None:
    raw = json.loads(DEFAULT.to_json())
    assert Calibration.from_json(json.dumps(raw)) == DEFAULT
    with pytest.raises(CorruptIndexError, match="calibration"):
        Calibration.from_json(json.dumps(raw | change))
    curve = raw["curves"][0]
    for name, value in (("mode", 2), ("selectivities", []), ("selectivities", [0.5, 1.0]),
                        ("gaps", []), ("codes", [[0.0] * 6] * 2)):  # fmt: skip
        with pytest.raises(CorruptIndexError, match="calibration"):
            Calibration.from_json(json.dumps(raw | {"curves": [{**curve, name: value}]}))


def forged_array(path: Path, name: str, change: Callable[[np.ndarray], Any]) -> None:
    """An array has other numbers, with checksums that are right."""
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        ((file, dtype, offset, nbytes),) = connection.execute(
            "SELECT file, dtype, offset, bytes FROM array WHERE name = ?", (name,)
        ).fetchall()
    connection.close()
    content = bytearray((path / "segment-000001" / file).read_bytes())
    values = np.frombuffer(bytes(content[offset : offset + nbytes]), dtype).copy()
    change(values)
    content[offset : offset + nbytes] = values.tobytes()
    (path / "segment-000001" / file).write_bytes(content)
    own, whole = (xxhash.xxh3_128_hexdigest(part) for part in (values.tobytes(), bytes(content)))
    forge(
        path,
        f"UPDATE array SET checksum = '{own}' WHERE name = '{name}'",
        f"UPDATE file SET checksum = '{whole}' WHERE name = '{file}'",
    )


def test_numbers_that_kernels_would_follow(path: Path) -> None:
    def first(value: int) -> Callable[[np.ndarray], None]:
        return lambda values: values.__setitem__(0, value)

    for number in (-1, 2**31 - 1):  # the latter asked for 16 GB
        forged_array(path, "rows/positions", first(number))
        with pytest.raises(CorruptIndexError, match="rows/positions"):
            use(path)


@pytest.mark.parametrize("sides", ["48", "48,1,1", "1,48"])
def test_vectors_of_other_sides(path: Path, sides: str) -> None:
    forge(path, f"UPDATE array SET shape = '{sides}' WHERE name = 'vectors/vectors'")
    with pytest.raises(CorruptIndexError, match="vectors"):
        use(path)


def test_ids_that_are_no_text(path: Path) -> None:
    forged_array(path, "ids/bytes", lambda values: values.__setitem__(slice(3, 5), 0xFF))
    with pytest.raises(CorruptIndexError, match="ids/bytes"):
        use(path)


def test_bitmaps_of_no_value(path: Path) -> None:
    name = "attributes/year/frequent"
    change = "shape = '2', bytes = 8"
    forged_array(path, name, lambda values: None)
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        ((file, offset, nbytes),) = connection.execute(
            "SELECT file, offset, bytes FROM array WHERE name = ?", (name,)
        ).fetchall()
    connection.close()
    assert nbytes > 8
    content = (path / "segment-000001" / file).read_bytes()[offset : offset + 8]
    digest = xxhash.xxh3_128_hexdigest(content)
    forge(path, f"UPDATE array SET {change}, checksum = '{digest}' WHERE name = '{name}'")
    with pytest.raises(CorruptIndexError, match="bitmaps"):
        use(path)


def test_a_part_that_is_missing(path: Path) -> None:
    forge(path, "DELETE FROM array WHERE name = 'codes/scale'")
    with pytest.raises(CorruptIndexError, match="codes/scale"):
        use(path)


@pytest.mark.parametrize(
    "shape", ["(" * 300, "(3, 4", "(1000000000000000000000000000000, 4)", "(-1, 4)", "None"]
)
def test_headers_of_npy(tmp_path: Path, shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (tmp_path / "x.npy").write_bytes(head + bytes(48))
    with pytest.raises(InputError, match=r"x\.npy cannot be read"):
        read_vectors(tmp_path / "x.npy")


def test_numbers_of_npy_beyond_float32(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((1, D), 1e300))
    assert np.isinf(read_vectors(tmp_path / "x.npy")).all()


@pytest.mark.parametrize(
    "options",
    [
        {"k": "5"}, {"k": 2.0}, {"k": True}, {"offset": None}, {"recall": "high"},
        {"recall": 1j}, {"recall": float("nan")}, {"radius": "x"}, {"radius": {}},
        {"radius": np.array([1, 2])}, {"timeout": float("inf")}, {"timeout": "1"},
        {"max_work": 2.5}, {"max_work": 10**30}, {"threads": None}, {"threads": 2.0},
        {"plan": 5}, {"columns": 5}, {"columns": [["year"]]}, {"group_by": ["year"]},
        {"group_by": "year", "group_size": "2"}, {"params": 5}, {"params": [1]},
        {"where": "year = :p", "params": np.int64(3)}, {"where": "year = :p", "params": "p"},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_of_other_types(path: Path, options: dict[str, Any]) -> None:
    with fanns.open(path) as index:
        for query in (np.ones(D, np.float32), np.ones((2, D), np.float32)):
            with pytest.raises(FannsError) as caught:
                index.search(query, **options)
            assert isinstance(caught.value, InputError | ParameterError)


def test_rules_for_nulls_that_are_no_text(path: Path) -> None:
    with fanns.open(path) as index:
        for nulls in (["sql"], 5, "mysql"):
            with pytest.raises(FilterError, match="nulls"):
                index.search(np.ones(D, np.float32), 3, "year = 1", nulls=nulls)  # type: ignore[arg-type]
        assert index.facets("year", limit=2**70).num_rows == 3


def test_names_in_parquet_that_are_no_text(path: Path, tmp_path: Path) -> None:
    """Where a column's name is damaged, pyarrow raises UnicodeDecodeError."""
    with fanns.open(path) as index:
        index.export(tmp_path / "x.parquet")
    content = (tmp_path / "x.parquet").read_bytes().replace(b"year", b"y\xffar")
    (tmp_path / "x.parquet").write_bytes(content)
    for read in (fanns.Index.build, fanns.Index.import_):
        with pytest.raises(InputError):
            read(tmp_path / "x.parquet")


def test_any_number_of_rows_may_be_asked_for(path: Path) -> None:
    with fanns.open(path) as index:
        for query in (np.ones(D, np.float32), np.ones((2, D), np.float32)):
            for exact in (False, True):
                found = index.search(query, 2**70, exact=exact)
                for hits in [found] if query.ndim == 1 else found:
                    assert len(hits) == N
                assert index.search(query, 3, offset=2**70, exact=exact) is not None


def test_keys_of_other_types() -> None:
    table = {"id": np.arange(N), "embedding": np.eye(N, dtype=np.float32)}
    index = fanns.Index.build(table, calibration="default")
    for ids in ([2.5], 2.5, np.array([2.0]), np.array(2), np.array([[2]]), b"2", {2: 1}, None,
                [None], [2**63], np.array([2**63], np.uint64), [[2]], object()):  # fmt: skip
        with pytest.raises(InputError):
            index.get(ids)  # the first gave the row of id 2
    for limit in ("1", 2.0, -1, [1]):
        with pytest.raises(InputError, match="limit"):
            index.rows(limit=limit)  # type: ignore[arg-type]
    wrong: list[dict[str, Any]] = [
        {"threads": "2"}, {"threads": 1j}, {"seed": -1}, {"seed": None}, {"bits": 2.0},
                    {"vector": np.bool_(True)}, {"id": 5}, {"attributes": 5}, {"metric": []},
                    {"model": 5}, {"reduce": {}},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(InputError):
            fanns.Index.build(table, **options)
