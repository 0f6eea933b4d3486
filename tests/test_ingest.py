import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.datasets import arxiv_like
from fanns.errors import InputError
from fanns.ingest import read_table, split

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def table(**columns: Any) -> pa.Table:
    return read_table({"id": [4, 3, 2, 1], "embedding": VECTORS, **columns})


# ---- read_table


def test_dict_of_arrays() -> None:
    made = table(year=np.array([1, 2, 3, 4], np.int16), day=[dt.date(2020, 1, 1)] * 4)
    assert made.schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert made.schema.field("year").type == pa.int16()
    assert made.schema.field("day").type == pa.date32()
    with pytest.raises(InputError, match="unequal length: 'a' has 2, 'b' has 3"):
        read_table({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(InputError, match="column 'a': expected 1 or 2 dimensions, got 3"):
        read_table({"a": np.zeros((1, 2, 3))})
    with pytest.raises(InputError, match="column 'a' cannot become"):
        read_table({"a": [1, "x"]})


def test_arrow_kinds() -> None:
    made = table()
    assert read_table(made) is made
    batch = made.to_batches()[0]
    assert read_table(batch).equals(made)
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    assert read_table(reader).equals(made)


def test_pandas_missing_values_are_null() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0], "s": ["a", None, "c"], "e": list(VECTORS[:3])})
    made = read_table(frame)
    assert made["x"].to_pylist() == [1.0, None, 3.0]
    assert made["s"].null_count == 1
    np.testing.assert_array_equal(split(made, "e").vectors, VECTORS[:3])
    named = read_table(frame.set_index(pd.Index([7, 8, 9], name="id")))
    np.testing.assert_array_equal(split(named).ids, [7, 8, 9])


def test_polars() -> None:
    frame = pl.DataFrame(
        {"id": ["a", "b"], "embedding": VECTORS[:2], "tags": [["x"], None], "y": [1, None]}
    )
    for data in (frame, frame.lazy()):
        parts = split(read_table(data))
        assert pa.array(parts.ids).to_pylist() == ["a", "b"]
        np.testing.assert_array_equal(parts.vectors, VECTORS[:2])
        assert parts.attributes.to_pydict() == {"tags": [["x"], None], "y": [1, None]}


def test_parquet_paths(tmp_path: Path) -> None:
    made = table(year=[1, 2, 3, 4])
    for i in (0, 1):
        pq.write_table(made.slice(2 * i, 2), tmp_path / f"part-{i}.parquet")
    for data in (
        tmp_path,
        str(tmp_path / "part-*.parquet"),
        [tmp_path / "part-0.parquet", str(tmp_path / "part-1.parquet")],
    ):
        assert read_table(data)["id"].to_pylist() == [4, 3, 2, 1]
    assert read_table(tmp_path / "part-1.parquet").num_rows == 2


def test_unreadable_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: .*nothing\.parquet"):
        read_table(tmp_path / "nothing.parquet")
    with pytest.raises(InputError, match=r"holds no \.parquet file"):
        read_table(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read as Parquet"):
        read_table(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "two.parquet")
    with pytest.raises(InputError, match=r"two\.parquet: column 'a' is string, but in .*int64"):
        read_table([tmp_path / "one.parquet", tmp_path / "two.parquet"])
    pq.write_table(pa.table({"b": [1]}), tmp_path / "two.parquet")
    with pytest.raises(InputError, match=r"column 'a' is missing"):
        read_table([tmp_path / "one.parquet", tmp_path / "two.parquet"])


def test_other_things_are_refused() -> None:
    for data in (3, object(), np.zeros((2, 2)), [], None):
        with pytest.raises(InputError, match="cannot read a table from"):
            read_table(data)


# ---- the vector column


def test_vector_is_found_and_not_copied() -> None:
    made = read_table({"name": ["a", "b", "c", "d"], "v": VECTORS})
    parts = split(made)
    assert (parts.vector, parts.id) == ("v", None)
    assert np.shares_memory(parts.vectors, VECTORS)
    np.testing.assert_array_equal(parts.ids, np.arange(4))


@pytest.mark.parametrize(
    ("given", "kept"),
    [("float32", "float32"), ("float64", "float32"), ("float16", "float16"), ("int8", "int8")],
)
def test_vector_dtypes(given: str, kept: str) -> None:
    whole = read_table({"e": VECTORS.astype(given)})
    for made in (whole, pa.concat_tables([whole.slice(0, 1), whole.slice(1)]), whole.slice(1, 2)):
        vectors = split(made, "e").vectors
        assert vectors.dtype == np.dtype(kept)
        rows = slice(1, 3) if made.num_rows == 2 else slice(None)
        np.testing.assert_array_equal(vectors, VECTORS.astype(given)[rows])


def test_lists_of_one_length_are_vectors() -> None:
    made = read_table({"e": VECTORS.tolist()})
    assert made.schema.field("e").type == pa.list_(pa.float64())
    np.testing.assert_array_equal(split(made).vectors, VECTORS)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS)
    np.testing.assert_array_equal(split(pa.table({"e": tensor}), "e").vectors, VECTORS)


def test_candidates_are_listed() -> None:
    made = table(other=VECTORS)
    with pytest.raises(InputError, match="several columns could be the vector: embedding, other"):
        split(made)
    with pytest.raises(InputError, match="vector: no column 'embeding'; did you mean 'embedding'"):
        split(made, "embeding")
    with pytest.raises(InputError, match=r"no vector column: .*x: int64"):
        split(pa.table({"x": [1]}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [1.0], [3.0, 4.0]], r"row 1 \(id 'b'\) has 1 values, but row 0 has 2"),
        ([[1.0, 2.0], [1.0, 2.0], None], r"row 2 \(id 'c'\) is null"),
        ([[1.0, 2.0], [None, 2.0], [1.0, 1.0]], r"row 1 \(id 'b'\) has a null among its values"),
        ([["x"], ["y"], ["z"]], "holds string: expected float32, float16, int8"),
        ([1.0, 2.0, 3.0], "is of type double: expected lists of floats"),
        ([[], [], []], "holds null"),
    ],
)
def test_bad_vectors_are_named(values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(read_table({"id": ["a", "b", "c"], "e": values}), "e")


def test_no_dimensions() -> None:
    empty = pa.array([[], []], pa.list_(pa.float32()))
    with pytest.raises(InputError, match="vectors of 0 dimensions"):
        split(pa.table({"e": empty}), "e")


def test_empty_tables() -> None:
    schema = arxiv_like.schema(8, 0)
    parts = split(schema.empty_table())
    assert parts.vectors.shape == (0, 8) and len(parts.ids) == 0
    assert parts.attributes.num_rows == 0
    with pytest.raises(InputError, match="no rows to tell its dimensions from"):
        split(pa.table({"e": pa.array([], pa.list_(pa.float32()))}), "e")


# ---- ids


@pytest.mark.parametrize("kind", ["int8", "uint16", "int64", "uint64"])
def test_int_ids(kind: str) -> None:
    made = table().set_column(0, "id", pa.array([4, 3, 2, 1], pa.type_for_alias(kind)))
    ids = split(made).ids
    assert ids.dtype == np.int64 and ids.tolist() == [4, 3, 2, 1]


def test_string_ids_in_any_encoding() -> None:
    names = pa.chunked_array([["b", "a"], ["é", ""]])
    for column in (names, names.dictionary_encode(), names.cast(pa.large_string())):
        ids = pa.array(split(table().set_column(0, "id", column)).ids)
        assert ids.type == pa.large_string() and ids.to_pylist() == ["b", "a", "é", ""]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array([1, 2, None, 4]), "id column 'id': row 2 is null"),
        (pa.array([1, 2, 7, 7]), "duplicate id 7 in rows 2 and 3; every row"),
        (pa.array(["a", "b", "a", "b"]), r"duplicate id 'a' in rows 0 and 2 \(2 ids occur"),
        (pa.array([1, 2, 3, 2**63], pa.uint64()), "9223372036854775808 is beyond int64"),
        (pa.array([1.0, 2.0, 3.0, 4.0]), "of type double: expected integers or strings"),
    ],
)
def test_bad_ids_are_named(ids: pa.Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(table().set_column(0, "id", ids))


def test_id_column_by_name() -> None:
    assert split(table(key=["a", "b", "c", "d"]), id="key").schema.keys() == {"id"}
    with pytest.raises(InputError, match="id: no column 'kye'; did you mean 'key'"):
        split(table(key=["a", "b", "c", "d"]), id="kye")
    with pytest.raises(InputError, match="both the vector and the id"):
        split(table(), id="embedding", vector="embedding")
    assert split(table(), id=None).ids.tolist() == [0, 1, 2, 3]


# ---- columns


def roles(parts: Any) -> tuple[list[str], list[str]]:
    return parts.attributes.column_names, parts.stored.column_names


def test_default_roles() -> None:
    parts = split(arxiv_like.items(50, 8))
    indexed, stored = roles(parts)
    assert stored == ["abstract"]
    assert {"title", "categories", "submitted_date", "versions", "doi"} <= set(indexed)
    assert parts.model == "simulated"
    assert roles(split(table(second=VECTORS, a=[1, 2, 3, 4]), "embedding")) == (["a"], ["second"])


def test_explicit_roles_win() -> None:
    made = table(a=[1, 2, 3, 4], b=["x" * 100] * 4, c=[1, 2, 3, 4])
    assert roles(split(made)) == (["a", "c"], ["b"])
    assert roles(split(made, attributes=["b"])) == (["b"], ["a", "c"])
    assert roles(split(made, store=["a"])) == (["b", "c"], ["a"])
    assert roles(split(made, attributes=["c", "a"], store=[])) == (["a", "c"], [])
    nothing = split(made, attributes=[], store=[])
    assert roles(nothing) == ([], []) and len(nothing.ids) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributes": ["yaer"]}, "attributes: no column 'yaer'; did you mean 'year'"),
        ({"store": ["zzz"]}, "store: no column 'zzz'; the columns are id, embedding, year"),
        ({"store": ["id"]}, "store: 'id' is the id column"),
        ({"attributes": ["embedding"]}, "'embedding' is the vector column"),
        ({"attributes": ["year"], "store": ["year"]}, "'year' is named in both"),
        ({"attributes": "year"}, "expected a list of column names, got the string 'year'"),
    ],
)
def test_bad_roles(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(table(year=[1, 2, 3, 4]), **options)


def test_columns_come_in_plain_types() -> None:
    made = table(
        d=pa.array(["x", "y", None, "x"]).dictionary_encode(),
        t=pa.array([0, 86_400_000, None, 0], pa.date64()),
        l=pa.array([["a"], [], None, ["b", None]], pa.large_list(pa.large_string())),
    )
    attributes = split(made).attributes
    assert attributes.schema.types == [pa.string(), pa.date32(), pa.list_(pa.string())]
    assert attributes["l"].to_pylist() == [["a"], [], None, ["b", None]]
    assert attributes["t"].to_pylist()[:3] == [dt.date(1970, 1, 1), dt.date(1970, 1, 2), None]


def test_bad_columns_are_named() -> None:
    with pytest.raises(InputError, match=r"column 's': columns of type struct"):
        split(table(s=[{"a": 1}] * 4))
    twice = table().append_column("id", pa.array([1, 2, 3, 4]))
    with pytest.raises(InputError, match="column 'id' occurs twice"):
        split(twice)


def test_model_of_the_metadata() -> None:
    made = table().replace_schema_metadata({"fanns.model": "some/encoder"})
    assert split(made).model == "some/encoder"
    assert split(table()).model is None
