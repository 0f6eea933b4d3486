"""`fanns dataset recsys fit`: from interactions to an index that answers users, in one process."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fanns
from fanns.cli import run
from fanns.cli_recsys import FORMATS, MODELS
from fanns.datasets import dataset, recsys_models, recsys_readers
from fanns.datasets.recsys_interactions import Interactions, by_ids
from fanns.datasets.recsys_metrics import evaluate, index_recall, inner_products, judge
from fanns.datasets.recsys_topk import NOBODY, best
from tests.recsys_data import movielens

pytest.importorskip("scipy")


def fit(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, Any, str]:
    code = run(["dataset", "recsys", "fit", *map(str, words), "--format", "json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else None, err


def lists(table: Any, column: str, ids: Any) -> Interactions:
    """A column of lists of items' ids as interactions; users by rows."""
    held = table[column].combine_chunks()
    owners = held.value_parent_indices()
    return by_ids(owners, held.flatten(), user_ids=pa_range(table.num_rows), item_ids=ids)


def pa_range(count: int) -> Any:
    import pyarrow as pa

    return pa.array(np.arange(count, dtype=np.int64))


def check_index(folder: Path, metrics: dict[str, float], **options: Any) -> None:
    """What an index gives by users' vectors loses at most what it does not find."""
    assert (
        run(["build", str(folder), "-o", f"{folder}.fanns", "-q", *options.get("build", ())]) == 0
    )
    made = dataset.read(folder)
    users, items = made.vectors("users"), made.vectors("items")
    ids = made.items["id"].combine_chunks()
    seen = lists(made.users, "seen", ids)
    test = lists(made.users, "test", ids)
    exact = evaluate(inner_products(users, items), test, seen=seen)
    assert exact["recall@20"] == pytest.approx(metrics["recall@20"], abs=1e-6)
    with fanns.open(f"{folder}.fanns") as index:
        assert index.info()["metric"] == "ip"
        depth = 20 + int(seen.user_counts.max())
        rows = np.flatnonzero(test.user_counts)[: options.get("users", 10**9)]
        found = np.full((len(users), 20), NOBODY)
        numbers = {one: row for row, one in enumerate(ids.to_pylist())}
        for row in rows:
            hits = index.search(users[row], k=min(depth, len(items)), recall=0.99)
            order = np.array([numbers[one] for one in hits.ids])
            new = order[~seen.contains(np.full(len(order), row), order)][:20]
            found[row, : len(new)] = new
    true = best(users[rows] @ items.T, rows, 20, seen=seen)[0]
    share = index_recall(found[rows], true)
    assert share > 0.9
    mine = test.select(np.isin(test.users, rows))
    through = judge(lambda asked: found[asked], mine)
    whole = evaluate(inner_products(users, items), mine, seen=seen)
    for name in ("recall@20", "ndcg@20"):
        assert through[name] >= whole[name] - (1 - share) - 1e-9, (name, share)


def test_from_interactions_to_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shop"
    code, told, err = fit(capsys, "gf-cf", "--data", "synthetic:200x150", "-o", folder)
    assert code == 0, err
    assert "try: fanns build" in err
    assert told["metrics"]["recall@20"] > told["vector_metrics"]["recall@20"] * 0.8
    assert told["split"] == "ratio 0.7:0.1:0.2, seed 0" and told["items"] == 150
    assert dataset.verify(folder) == []
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["metric"] == "ip" and manifest["model"] == "gf-cf"
    assert manifest["details"]["metrics"]["config_hash"] == told["config_hash"]
    assert manifest["details"]["data_hash"] == told["data_hash"]
    items, users = (pq.read_table(folder / f"{name}.parquet") for name in ("items", "users"))
    assert items.column_names == ["id", "embedding", "title", "genre", "year", "popularity"]
    assert users.column_names == ["id", "embedding", "country", "seen", "test", "valid"] or (
        users.column_names == ["id", "embedding", "country", "seen", "valid", "test"]
    )
    check_index(folder, told["vector_metrics"], build=("--calibration", "default"))
    code, _, err = fit(capsys, "gf-cf", "--data", "synthetic", "-o", folder)
    assert code == 1 and "--overwrite" in err


def test_movielens_by_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.random.default_rng(0).integers((1, 0, 1, 0), (5, 4, 6, 10**6), (60, 4))
    movies = (10, 20, 40, 50)
    ratings = "".join(f"{u}::{movies[m]}::{r}::{t}\n" for u, m, r, t in rows.tolist())
    made = movielens(tmp_path / "ml-1m.zip", ratings)
    for way in ("temporal", "leave-one-out"):
        code, told, err = fit(
            capsys, "most-popular", "--data", made, "-o", tmp_path / way, "--split", way,
            "--min-value", "2", "-k", "1,2", "-q",
        )  # fmt: skip
        assert code == 0, err
        assert set(told["metrics"]) >= {"recall@1", "ndcg@2"}
        items = pq.read_table(tmp_path / way / "items.parquet")
        assert {"title", "year", "genres", "popularity"} < set(items.column_names)
        assert "gender" in pq.read_table(tmp_path / way / "users.parquet").column_names


def test_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    words = ("--epochs", "2", "--eval-every", "1", "--dimensions", "8", "--threads", "1")
    code, told, err = fit(
        capsys, "lightgcn", "--data", "synthetic:60x40", "-o", tmp_path / "x", *words
    )
    assert code == 0, err
    assert "epoch 2 loss" in err and told["best_epoch"] in (1, 2) and told["dimensions"] == 8
    assert told["stopped"] == "epochs" and "vector_metrics" not in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gf-cf", "--data", "synthetic:ten"), "expected synthetic:USERSxITEMS"),
        (("gf-cf", "--data", "nowhere"), "nowhere does not exist"),
        (("gf-cf", "--data", "synthetic", "--shares", "1:x:2"), "such as 7:1:2"),
        (("gf-cf", "--data", "synthetic", "-k", "0"), "above 0"),
        (("gf-cf", "--data", "synthetic", "--lr", "0.1"), "gf-cf takes no lr"),
        (("gf-cf", "--data", "synthetic", "--split", "given"), "does not say what is for the test"),
        (("gf-cf", "--data", "synthetic", "--min-value", "3"), "interactions with values"),
    ],
)
def test_what_cannot_be_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, _, err = fit(capsys, *words, "-o", tmp_path / "x")
    assert code != 0 and message in err
    assert not (tmp_path / "x").exists()


def test_the_command_names_what_there_is() -> None:
    assert set(MODELS) == recsys_models.MODELS.keys()
    assert FORMATS == recsys_readers.FORMATS


@pytest.mark.slow
def test_gowalla_through_an_index(
    gowalla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "places"
    clock = time.process_time()
    code, told, err = fit(capsys, "gf-cf", "--data", gowalla, "-o", folder)
    assert code == 0, err
    assert time.process_time() - clock < 180, "reading, fitting, all scores and writing"
    assert told["metrics"]["recall@20"] == pytest.approx(0.1849, abs=3e-4)
    assert told["metrics"]["ndcg@20"] == pytest.approx(0.1518, abs=3e-4)
    assert told["vector_metrics"]["recall@20"] == pytest.approx(0.1717, abs=3e-4)
    assert told["vector_metrics"]["ndcg@20"] == pytest.approx(0.1447, abs=3e-4)
    check_index(folder, told["vector_metrics"], users=3_000)
