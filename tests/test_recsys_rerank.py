"""Shortlists reordered: features, both kinds of rerankers, and the chain from a user to items."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import fanns
from fanns.cli import cli
from fanns.datasets import recsys_frame, recsys_rerank_training, recsys_shortlists
from fanns.datasets.recsys_rerank import KINDS, Examples, Reranker
from fanns.errors import InputError, UnknownIdError
from fanns.recommend import Users, recommend

ITEMS, USERS, D = 400, 120, 8
COLOURS = ["red", "green", "blue", None]


def planted(seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Vectors say little of what is taken; that a user stays with one colour says much."""
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 4, ITEMS)
    vectors = rng.standard_normal((ITEMS, D)).astype(np.float32)
    items = pa.table(
        {
            "id": np.arange(ITEMS) + 1000,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), D),
            "colour": [COLOURS[c] for c in colour],
            "tags": [[f"t{c}", "all"] if c else [] for c in colour],
            "price": rng.random(ITEMS),
            "popularity": rng.integers(0, 50, ITEMS),
        }
    )
    likes = rng.integers(0, 3, USERS)
    asked = rng.standard_normal((USERS, D)).astype(np.float32)
    lists: dict[str, list[list[int]]] = {"seen": [], "valid": [], "test": []}
    for user in range(USERS):
        near = np.argsort(-(vectors @ asked[user]), kind="stable")[:150]
        own = rng.permutation(near[colour[near] == likes[user]])
        for name, part in zip(lists, (own[:8], own[8:14], own[14:20]), strict=True):
            lists[name].append((part + 1000).tolist())
    users = pa.table(
        {
            "id": [f"u{i}" for i in range(USERS)],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(asked.ravel()), D),
            "age": rng.integers(10, 80, USERS),
            "town": [["A", "B", None][i % 3] for i in range(USERS)],
            **lists,
        }
    )
    return items, users


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerank")
    items, users = planted()
    pq.write_table(items, path / "items.parquet")
    pq.write_table(users, path / "users.parquet")
    fanns.Index.build(items, path=path / "items.fanns", metric="ip", calibration="default")
    return path


def by_hand(items: pa.Table, shortlist: int = 60) -> recsys_shortlists.Search:
    """Exact shortlists without an index."""
    vectors = np.stack(items["embedding"].to_numpy(zero_copy_only=False))

    def search(queries: Any, left_out: list[Any]) -> list[pa.Table]:
        found = []
        for query, out in zip(queries, left_out, strict=True):
            scores = vectors @ query
            scores[np.isin(items["id"].to_numpy(), out.to_numpy(zero_copy_only=False))] = -np.inf
            best = np.argsort(-scores, kind="stable")[:shortlist]
            table = items.take(pa.array(best)).drop_columns(["embedding"])
            found.append(table.append_column("score", pa.array(scores[best].astype(np.float64))))
        return found

    return search


def gathered() -> tuple[Any, Any, recsys_frame.FrameColumns, Any, Any]:
    items, users = planted()
    columns = recsys_frame.learn(items, users)
    search = by_hand(items)
    learned = recsys_shortlists.gather(
        columns, items, users, search, label="valid", left_out=("seen",)
    )
    tested = recsys_shortlists.gather(
        columns, items, users, search, label="test", left_out=("seen", "valid")
    )
    return items, users, columns, learned, tested


def test_features_are_what_they_are_called() -> None:
    items, users = planted()
    columns = recsys_frame.learn(items, users)
    assert columns.wanted == ["price", "popularity", "colour", "tags"]
    shortlist = items.slice(0, 30).append_column("score", pa.array(np.arange(30)[::-1] * 1.0))
    seen = items.slice(100, 7)
    table = columns.table(shortlist, seen, {"age": 33, "town": None})
    assert table.shape == (30, len(columns.names)) and table.dtype == np.float32
    of = {name: table[:, place] for place, name in enumerate(columns.names)}
    assert of["rank"].tolist() == list(range(30)) and (of["taken before"] == 7).all()
    np.testing.assert_allclose(of["price"], shortlist["price"].to_numpy(), rtol=1e-6)
    before = seen["colour"].to_pylist()
    expected = [
        0.0 if colour is None else before.count(colour) / 7
        for colour in shortlist["colour"].to_pylist()
    ]
    np.testing.assert_allclose(of["fit of colour"], expected, rtol=1e-6)
    tags = seen["tags"].to_pylist()
    expected = [
        float(np.mean([sum(tag in some for some in tags) / 7 for tag in own])) if own else 0.0
        for own in shortlist["tags"].to_pylist()
    ]
    np.testing.assert_allclose(of["fit of tags"], expected, rtol=1e-6)
    assert (of["user's age"] == 33).all() and (of["user's town"] == recsys_frame.NULL).all()
    assert recsys_frame.FrameColumns.from_json(columns.to_json()) == columns
    with pytest.raises(InputError, match="lack the column 'colour'"):
        columns.table(shortlist.drop_columns(["colour"]), seen, {})
    for text in ("", "[]", '{"numbers": 3}'):
        with pytest.raises(InputError, match="columns of a reranker"):
            recsys_frame.FrameColumns.from_json(text)


def test_nobody_has_seen_anything() -> None:
    items, users = planted()
    columns = recsys_frame.learn(items, users)
    shortlist = items.slice(0, 3).append_column("score", pa.array([3.0, 2.0, 1.0]))
    table = columns.table(shortlist, items.slice(0, 0), {})
    place = columns.names.index("fit of colour")
    assert (table[:, place] == 0).all() and np.isnan(
        table[:, columns.names.index("user's age")]
    ).all()
    assert columns.table(shortlist.slice(0, 0), items.slice(0, 0), {}).shape[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rerankers_find_what_vectors_do_not_hold(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm" if kind == "lightgbm" else "torch")
    items, users, columns, learned, tested = gathered()
    before = recsys_shortlists.measure(tested, items, users, "test")
    made = recsys_rerank_training.train(kind, columns, learned.examples, seed=1)
    after = recsys_shortlists.measure(tested, items, users, "test", made.model)
    assert before.users == after.users == USERS
    assert after["ndcg@10"] > 1.5 * before["ndcg@10"]
    back = Reranker.load(made.save(tmp_path / "made"))
    features = tested.examples.features
    assert np.allclose(back.model.predict(features), made.model.predict(features))
    again = recsys_rerank_training.train(kind, columns, learned.examples, seed=1)
    assert np.array_equal(again.model.predict(features), made.model.predict(features))


def test_figures_are_those_of_the_definition() -> None:
    items, users, _, _, tested = gathered()
    measured = recsys_shortlists.measure(tested, items, users, "test")
    search = by_hand(items)
    wanted = []
    for user in range(USERS):
        row = users.slice(user, 1).to_pylist()[0]
        out = pa.array([*row["seen"], *row["valid"]])
        asked = np.array([row["embedding"]], np.float32)
        found = search(asked, [out])[0]["id"].to_pylist()[:10]
        hits = [place for place, item in enumerate(found) if item in row["test"]]
        ideal = sum(1 / np.log2(r + 2) for r in range(min(10, len(row["test"]))))
        wanted.append(sum(1 / np.log2(r + 2) for r in hits) / ideal)
    assert measured["ndcg@10"] == pytest.approx(np.mean(wanted))


def test_too_little_to_learn_from() -> None:
    _, _, columns, learned, _ = gathered()
    few = Examples(
        learned.examples.features, np.zeros_like(learned.examples.labels), learned.examples.sizes
    )
    with pytest.raises(InputError, match="0 shortlists hold an item"):
        recsys_rerank_training.train("mlp", columns, few)
    with pytest.raises(InputError, match="one of lightgbm, mlp"):
        recsys_rerank_training.train("oracle", columns, learned.examples)
    items, users = planted()
    with pytest.raises(InputError, match="lack the column 'wish'"):
        recsys_shortlists.gather(columns, items, users, by_hand(items), label="wish", left_out=())
    empty = users.set_column(
        users.column_names.index("valid"), "valid", pa.array([[]] * USERS, users["valid"].type)
    )
    with pytest.raises(InputError, match="nobody has anything"):
        recsys_shortlists.gather(columns, items, empty, by_hand(items), label="valid", left_out=())


def test_a_damaged_reranker_is_refused(tmp_path: Path) -> None:
    _, _, columns, learned, _ = gathered()
    path = recsys_rerank_training.train("mlp", columns, learned.examples).save(tmp_path / "made")
    with pytest.raises(InputError, match="no reranker here"):
        Reranker.load(tmp_path)

    def spoiled(name: str, change: Callable[[bytes], bytes]) -> None:
        whole = (path / name).read_bytes()
        (path / name).write_bytes(change(whole))
        with pytest.raises(InputError, match="reranker"):
            Reranker.load(path)
        (path / name).write_bytes(whole)

    spoiled("model", lambda raw: raw[:-1])
    spoiled("model", lambda raw: bytes([raw[0] ^ 1]) + raw[1:])
    spoiled("reranker.json", lambda raw: raw[: len(raw) // 2])
    spoiled("reranker.json", lambda raw: raw.replace(b"mlp", b"pkl"))
    spoiled("columns.json", lambda raw: b"[]")
    Reranker.load(path)


def test_unseen_items_under_a_filter(folder: Path) -> None:
    items, users = planted()
    vectors = np.stack(items["embedding"].to_numpy(zero_copy_only=False))
    index, known = fanns.open(folder / "items.fanns"), Users.open(folder / "users.parquet")
    for user in range(10):
        row = users.slice(user, 1).to_pylist()[0]
        found = recommend(
            index, known, f"u{user}", 7, "price < :p", {"p": 0.5}, exact=True, columns=["price"]
        )
        passing = (items["price"].to_numpy() < 0.5) & ~np.isin(items["id"].to_numpy(), row["seen"])
        scores = np.where(passing, vectors @ np.float32(row["embedding"]), -np.inf)
        assert found.table["id"].to_pylist() == (np.argsort(-scores)[:7] + 1000).tolist()
        assert found.matches == passing.sum() and found.status == "exact" and len(found) == 7
        assert found.table.column_names == ["id", "score", "price"]
        everything = recommend(index, known, f"u{user}", ITEMS, unseen=False, exact=True)
        assert len(everything) == ITEMS
    with pytest.raises(UnknownIdError, match="no user with id 'nobody'"):
        recommend(index, known, "nobody")
    narrow = planted()[1].drop_columns(["seen"])
    with pytest.raises(InputError, match="what is unseen is not known"):
        recommend(index, Users(narrow), "u1")
    other = pa.table(
        {
            "id": [1],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float32()), 2),
        }
    )
    with pytest.raises(InputError, match="2 dimensions, the index has 8"):
        recommend(index, Users(other), 1, unseen=False)
    for bad in (pa.table({"id": [1]}), pa.table({"id": [1], "embedding": ["x"]})):
        with pytest.raises(InputError, match="embedding"):
            Users(bad)


def run(*args: object) -> Any:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def test_the_whole_chain_from_the_shell(folder: Path) -> None:
    pytest.importorskip("lightgbm")
    made = run(
        "dataset", "recsys", "rerank", folder, "--index", folder / "items.fanns", "--shortlist", 60,
        "--format", "json", "-q",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    by_kind = {one["kind"]: one for one in json.loads(made.stdout)["rerankers"]}
    for kind in KINDS:
        assert by_kind[kind]["metrics"]["ndcg@10"] > by_kind["none"]["metrics"]["ndcg@10"]
        assert by_kind[kind]["cpu_seconds"] > 0
    asked = ["query", folder / "items.fanns", "--users", folder / "users.parquet", "--user", "u3"]
    found = run(*asked, "--unseen", "--where", "price < 0.9", "--rerank", "lightgbm", "-k", 5,
                "--columns", "colour", "--format", "json")  # fmt: skip
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert len(told["hits"]) == 5 and told["shortlist"] == 100
    assert all({"id", "score", "reranked", "colour"} <= set(hit) for hit in told["hits"])
    ranks = [hit["reranked"] for hit in told["hits"]]
    assert ranks == sorted(ranks, reverse=True)
    for wrong, why in (
        (["--explain"], "does not go with --explain"),
        (["--like", "1000"], "give one of"),
        (["--rerank", folder], "no reranker here"),
        (["--rerank", "lightgm"], "no such folder, and none of lightgbm, mlp"),
    ):
        bad = run(*asked, *wrong)
        assert bad.exit_code != 0 and why in f"{bad.output}{bad.exception}"
    alone = run("query", folder / "items.fanns", "--like", "1000", "--unseen")
    assert alone.exit_code != 0 and "go with --user" in alone.output
    nobody = run("query", folder / "items.fanns", "--user", "u3")
    assert nobody.exit_code != 0 and "--user needs --users" in nobody.output


def test_a_reranker_explains_itself(folder: Path) -> None:
    """Users stay with one colour: what the reranker learns, and what the rules must say."""
    pytest.importorskip("lightgbm")
    pytest.importorskip("sklearn")
    base = [folder, "--index", folder / "items.fanns", "--shortlist", 60, "-q"]
    asked = ["dataset", "recsys", "explain", *base, "--user", "u3", "--where", "price < 0.9"]
    bad = run(*asked, "--rerank", folder)
    assert bad.exit_code != 0 and "no reranker here" in f"{bad.exception}"
    made = run("dataset", "recsys", "rerank", *base, "--kind", "lightgbm", "--format", "table")
    assert made.exit_code == 0, made.output
    assert [line.split()[0] for line in made.stdout.splitlines()[2:]] == ["none", "lightgbm"]
    found = run(*asked, "-k", 5, "--format", "json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told["fidelity"] > 0.6 and len(told["items"]) == 5
    assert next(iter(told["importances"])) in ("fit of colour", "fit of tags")
    assert all("fit of " in " ".join(item["because"]) for item in told["items"])
    scores = [item["reranked"] for item in told["items"]]
    assert scores == sorted(scores, reverse=True)
    shown = run(*asked, "-k", 2, "--format", "table")
    assert shown.exit_code == 0 and "because" in shown.output and "fit of " in shown.output
