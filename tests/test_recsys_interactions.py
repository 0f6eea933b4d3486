"""Interactions, their readers, and what is drawn from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from fanns.datasets.recsys_interactions import Interactions, by_ids, from_pairs
from fanns.datasets.recsys_readers import read
from fanns.datasets.recsys_sampling import WAYS, epoch, negatives
from fanns.errors import InputError, StorageError
from tests.recsys_data import MOVIES, RATINGS, USERS, movielens, random_interactions

PAIRS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=1, max_size=60)


@given_any(PAIRS)
def test_rows_hold_what_was_given(pairs: list[tuple[int, int]]) -> None:
    users, items = np.array(pairs).T
    data = from_pairs(users, items)
    found = set(zip(data.users.tolist(), data.indices.tolist(), strict=True))
    assert found == set(pairs) and len(data) == len(set(pairs))
    for user in range(data.n_users):
        own = data.items_of(user)
        assert (np.diff(own) > 0).all()
    every = np.stack(np.meshgrid(range(data.n_users), range(data.n_items)), -1).reshape(-1, 2)
    expected = [tuple(pair) in found for pair in every.tolist()]
    assert data.contains(every[:, 0], every[:, 1]).tolist() == expected
    assert (data.matrix().toarray().sum(axis=0) == data.item_counts).all()


def test_the_last_of_a_pair_is_kept() -> None:
    users, items, values = [0, 0, 1, 0], [2, 2, 0, 2], [1, 2, 3, 4]
    plain = from_pairs(np.array(users), np.array(items), values=np.array(values))
    assert plain.values is not None and plain.values.tolist() == [4, 3]
    timed = from_pairs(
        np.array(users), np.array(items), values=np.array(values), times=np.array([5, 9, 1, 7])
    )
    assert timed.values is not None and timed.values.tolist() == [2, 3]
    assert timed.times is not None and timed.times.tolist() == [9, 1]


def test_hash_tells_data_apart() -> None:
    one = random_interactions(5, 7, 0.4, 0)
    assert one.data_hash == random_interactions(5, 7, 0.4, 0).data_hash
    named = Interactions(one.indptr, one.indices, one.user_ids, pa.array("abcdefg"))
    fewer = one.select(np.arange(len(one)) > 0)
    assert len({one.data_hash, named.data_hash, fewer.data_hash}) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"items": np.array([1])}, "items has shape"),
        ({"values": np.array([1.0, np.nan])}, r"values\[1\] is nan"),
        ({"users": np.array([0, -1])}, "whole numbers from 0"),
        ({"item_ids": pa.array(["a"])}, "item row 1 has no id"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"users": np.array([0, 1]), "items": np.array([0, 1])} | change
    with pytest.raises(InputError, match=words):
        from_pairs(given.pop("users"), given.pop("items"), **given)


def test_ids_with_gaps_and_strings() -> None:
    data = by_ids(pa.array(["b", "a", "b"]), pa.array([7, 1_000_000_007, 3]))
    assert data.user_ids.to_pylist() == ["a", "b"]
    assert data.item_ids.to_pylist() == [3, 7, 1_000_000_007]
    assert data.items_of(0).tolist() == [2] and data.items_of(1).tolist() == [0, 1]
    with pytest.raises(InputError, match="user 1 is null"):
        by_ids(pa.array([1, None]), pa.array([1, 2]))


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 5 9\n\n3 9\n7\n")
    (tmp_path / "test.txt").write_text("0 40\n3 5 40 41")
    source = read(tmp_path)
    assert source.split is not None and source.split.valid is None
    data, train = source.interactions, source.split.train.take("fit")
    assert data.user_ids.to_pylist() == [0, 3, 7] and data.item_ids.to_pylist() == [5, 9, 40, 41]
    assert train.items_of(0).tolist() == [0, 1] and train.items_of(2).tolist() == []
    assert source.split.test.take("measure").items_of(1).tolist() == [0, 2, 3]
    assert len(data) == 7


def test_triples(tmp_path: Path) -> None:
    for name, text in (("train", "0 1 1\n0 2 1\n"), ("valid", "0 3 1\n0 5 1\n"),
                       ("test", "1 1 1\n1 2 1\n")):  # fmt: skip
        (tmp_path / f"{name}.txt").write_text(text)
    source = read(tmp_path)
    assert source.split is not None and source.split.valid is not None
    assert [len(p) for p in (source.split.train, source.split.valid, source.split.test)] == [2] * 3
    assert source.interactions.values is None, "a 1 behind every pair tells nothing"
    (tmp_path / "one.txt").write_text("0 1 2.5\n4 1 1\n0 3 1\n")
    rated = read(tmp_path / "one.txt").interactions
    assert rated.values is not None and rated.values.tolist() == [2.5, 1, 1]


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("0 1 2\n1 x 2\n", "lists", r"one\.txt:2: 'x' is no whole number"),
        ("0 1 2 3\n\n0 4\n", None, r"one\.txt:3: user 0 stands in line 1 already"),
        ("0 1 1\n0 2\n", "triples", r"one\.txt:2: 2 fields, expected three"),
        ("0 1 1\n0 2 nan\n", "triples", r"one\.txt:2: the value is 'nan'"),
        ("0 1 1\n0 -2 1\n", "triples", r"one\.txt:2: '-2' is no whole number"),
        ("0 1 1\n1 2 1\n", None, "say which"),
        ("0 1 1\n1 2 1\n", "nonsense", "unknown format"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, text: str, form: str | None, words: str) -> None:
    (tmp_path / "one.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        read(tmp_path / "one.txt", form)


def test_parts_that_share_an_interaction_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 5 9\n3 9\n")
    (tmp_path / "test.txt").write_text("0 40\n3 9\n")
    with pytest.raises(InputError, match="user 3 with item 9"):
        read(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected train"):
        read(tmp_path)


def test_movielens(tmp_path: Path) -> None:
    source = read(movielens(tmp_path / "ml-1m.zip"))
    data = source.interactions
    assert data.n_users == 4 and data.item_ids.to_pylist() == [10, 20, 40, 50]
    assert data.values is not None and data.values.tolist() == [5, 3, 1, 4, 4]
    assert data.times is not None and data.times[3] == 978824291
    assert source.users is not None and source.items is not None
    assert source.users["age_group"].to_pylist() == ["under 18", "56+", "25-34", "45-49"]
    assert source.users["zip_code"].to_pylist()[2:] == ["02460-1234", "0"]
    assert source.items["year"].to_pylist() == [1995, 1931, None, 2000]
    assert source.items["title"].to_pylist()[1:3] == ["Métis, La", "Untitled"]
    assert source.items["genres"].to_pylist()[0] == ["Animation", "Children's", "Comedy"]
    assert source.items["genres"].to_pylist()[2] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ratings": RATINGS + "3::10::4\n"}, r"ratings\.dat:6: 3 fields, expected 4"),
        ({"ratings": "1::x::4::5\n"}, r"ratings\.dat:1: 'x' is no whole number"),
        ({"users": USERS + "9::X::1::1::0\n"}, r"users\.dat:5: gender 'X'"),
        ({"movies": MOVIES + MOVIES}, r"movies\.dat: the id 10 comes twice"),
    ],
)
def test_broken_movielens(tmp_path: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(movielens(tmp_path / "ml.zip", **change))


def test_a_truncated_zip(tmp_path: Path) -> None:
    whole = movielens(tmp_path / "ml.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="cannot be read"):
        read(tmp_path / "cut.zip")


def test_parquet(tmp_path: Path) -> None:
    clicks = pa.table(
        {
            "user_id": ["u2", "u1", "u2"],
            "item_id": [30, 10, 10],
            "rating": [1.0, 2.0, 3.0],
            "timestamp": pa.array([5, 6, 7], pa.timestamp("s")),
        }
    )
    pq.write_table(clicks, tmp_path / "interactions.parquet")
    items = pa.table({"id": [10, 20, 30], "price": [1.5, 2.5, None]})
    pq.write_table(items, tmp_path / "items.parquet")
    source = read(tmp_path)
    data = source.interactions
    assert data.user_ids.to_pylist() == ["u1", "u2"] and data.item_ids.to_pylist() == [10, 30]
    assert data.times is not None and data.times.tolist() == [6, 7, 5]
    assert source.items is not None and source.items["price"].to_pylist() == [1.5, None]
    alone = read(tmp_path / "interactions.parquet")
    assert alone.interactions.data_hash == data.data_hash and alone.items is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"item": [1]}, "has no column user"),
        ({"user": [1, None], "item": [1, 2]}, "row 1 has no user"),
        ({"user": [1.5], "item": [1]}, "ids are double"),
        ({"user": [1], "item": [1], "time": ["now"]}, "times are string"),
    ],
)
def test_odd_parquet(tmp_path: Path, table: dict[str, Any], words: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=words):
        read(tmp_path / "x.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:40])
    with pytest.raises(StorageError, match="as Parquet"):
        read(tmp_path / "cut.parquet")


def check_sizes(folder: Path, users: int, items: int, sizes: tuple[int, int, int]) -> None:
    source = read(folder)
    data, split = source.interactions, source.split
    assert (data.n_users, data.n_items) == (users, items) and split is not None
    assert (len(split.train), len(split.valid or ()), len(split.test)) == sizes


def test_lastfm(lastfm: Path) -> None:
    check_sizes(lastfm, 1_885, 17_388, (64_315, 9_143, 18_321))


@pytest.mark.slow
def test_gowalla(gowalla: Path) -> None:
    check_sizes(gowalla, 29_858, 40_981, (810_128, 0, 217_242))


def test_negatives_are_none_of_the_users(draw: Callable[[], np.random.Generator]) -> None:
    data = random_interactions(30, 20, 0.8, 3)
    users = np.repeat(np.flatnonzero(data.user_counts < 20), 500)
    drawn = negatives(data, users, draw(), 3)
    assert drawn.shape == (len(users), 3)
    assert not data.contains(users[:, None], drawn).any()
    assert (drawn == negatives(data, users, draw(), 3)).all(), "the same seed draws the same"
    one = users == users[0]
    left = np.setdiff1d(np.arange(20), data.items_of(int(users[0])))
    counts = np.bincount(drawn[one].ravel(), minlength=20)[left]
    assert (counts > 0).all() and counts.std() < 4 * np.sqrt(counts.mean()), "uniform"


@pytest.fixture
def draw() -> Callable[[], np.random.Generator]:
    return lambda: np.random.default_rng(7)


@pytest.mark.parametrize("way", WAYS)
def test_epochs(way: str, draw: Callable[[], np.random.Generator]) -> None:
    data = from_pairs(np.array([0, 0, 0, 2, 2, 3, 3, 3, 3]), np.array([0, 1, 2, 0, 3, 0, 1, 2, 3]))
    parts = list(epoch(data, 4, draw(), way=way, each=2))
    users, positives = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    drawn = np.concatenate([part.negatives for part in parts])
    assert set(users) <= {0, 2}, "nobody without items, nobody with all of them"
    assert data.contains(users, positives).all()
    assert not data.contains(users[:, None], drawn).any()
    if way == "interaction":
        assert sorted(zip(users, positives, strict=True)) == [
            (0, 0),
            (0, 1),
            (0, 2),
            (2, 0),
            (2, 3),
        ]


def test_nothing_to_draw(draw: Callable[[], np.random.Generator]) -> None:
    full = from_pairs(np.array([0, 0]), np.array([0, 1]))
    with pytest.raises(InputError, match="nothing to learn"):
        next(epoch(full, 4, draw()))
    with pytest.raises(InputError, match="user 0 interacted with every item"):
        negatives(full, np.array([0]), draw())
    with pytest.raises(InputError, match="unknown way"):
        next(epoch(full, 4, draw(), way="sideways"))
