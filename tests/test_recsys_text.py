"""Recommenders from texts: what they read, and that behaviour teaches what words do not say."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns.datasets import recsys_synthetic
from fanns.datasets.recsys_interactions import Interactions, from_pairs
from fanns.datasets.recsys_metrics import evaluate, inner_products
from fanns.datasets.recsys_models import Options, fit
from fanns.datasets.recsys_readers import Source
from fanns.datasets.recsys_splits import ratio
from fanns.datasets.recsys_text import Settings, profiles, texts, tf_idf, vectors
from fanns.errors import InputError, MissingDependencyError, StorageError
from tests.encoder_models import tiny_bert
from tests.recsys_data import random_interactions


@pytest.fixture(scope="module")
def shop() -> Source:
    return recsys_synthetic.make(150, 120, groups=6, seed=2)


def test_texts_are_the_columns_joined() -> None:
    table = pa.table({"id": [1, 2], "title": ["A", None], "tags": [["x", "y"], []], "n": [3, 4]})
    assert texts(table) == ["A. x y", ""]
    assert texts(table, ["n", "title"]) == ["3. A", "4"]
    with pytest.raises(InputError, match="no column 'plot'"):
        texts(table, ["plot"])
    with pytest.raises(InputError, match="no column of texts"):
        texts(table.select(["id", "n"]))
    with pytest.raises(InputError, match="no features"):
        texts(None)


def test_tf_idf() -> None:
    pytest.importorskip("sklearn")
    words = ["red river", "red river bed", "old clock", "an old clock", ""]
    made = tf_idf(words, 3, seed=0, least=1)
    assert made.shape == (5, 3) and made.dtype == np.float32
    products = made @ made.T
    assert products[0, 1] > 0.6 and products[2, 3] > 0.6 and abs(products[0, 2]) < 0.2
    assert not made[4].any(), "a text without words has no direction"
    assert (tf_idf(words, 3, seed=0, least=1) == made).all()
    with pytest.raises(InputError, match="no words"):
        tf_idf(["", "!"], 3, seed=0)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fanns.datasets.recsys_sklearn", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(MissingDependencyError, match=r"fanns\[recsys\]"):
        tf_idf(["a b", "b c"], 1, seed=0)


def test_users_are_the_mean_of_their_items() -> None:
    items = np.eye(4, dtype=np.float32)
    rows = from_pairs(np.array([0, 0, 2]), np.array([1, 3, 0]), item_ids=pa.array(range(4)))
    made = profiles(items, rows)
    assert np.allclose(made, [[0, 0.5**0.5, 0, 0.5**0.5], [0] * 4, [1, 0, 0, 0]])


def test_titles_find_what_a_user_likes(shop: Source) -> None:
    split = ratio(shop.interactions, seed=0)
    train, test = split.train.take("fit"), split.test.take("measure")
    made = fit("text", train, features=shop.items, options=Options(text=("title", "genre")))
    popular = fit("most-popular", train)
    found, floor = (evaluate(m.scores, test, seen=train)["ndcg@10"] for m in (made, popular))
    assert found > 1.5 * floor
    assert np.allclose(np.linalg.norm(made.items, axis=1), 1, atol=1e-5)
    assert np.allclose(made.fold_in(train), made.users)


@pytest.mark.slow
def test_static_word_vectors(shop: Source) -> None:
    pytest.importorskip("sentence_transformers")
    made = vectors(shop.items, Settings(("title",), "static", 16))
    assert made.shape == (120, 16)
    assert shop.items is not None
    genres = np.array(shop.items["genre"])
    same = genres[:, None] == genres
    assert (made @ made.T)[same].mean() > (made @ made.T)[~same].mean() + 0.1


@pytest.fixture(scope="module")
def crossed() -> tuple[Interactions, Any]:
    """Readers of one topic take items of the next: words alone lead to the wrong ones."""
    random = np.random.default_rng(0)
    topics = random.standard_normal((6, 12))
    topic = np.arange(120) % 6
    noise = 0.1 * random.standard_normal((120, 12))
    rows = topics[topic] + noise
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    users, items = [], []
    for user in range(200):
        for one in (user % 3 * 2, user % 3 * 2 + 1):  # pairs of topics go together
            taken = random.choice(np.flatnonzero(topic == one), 4 if user % 2 else 6, False)
            users += [user] * len(taken)
            items += taken.tolist()
    return from_pairs(np.array(users), np.array(items), item_ids=pa.array(range(120))), rows


def test_alignment_learns_from_behaviour(crossed: tuple[Interactions, Any]) -> None:
    pytest.importorskip("torch")
    from fanns.datasets.recsys_alignment import Settings as Aligning
    from fanns.datasets.recsys_alignment import train as align
    from fanns.datasets.recsys_trainer import Training

    data, rows = crossed
    kept = np.random.default_rng(1).random(data.n_users) < 0.7
    known = data.select(kept[data.users])
    settings = Aligning(training=Training(lr=1e-2, batch=256, epochs=10, threads=1))
    model, report = align(rows.astype(np.float32), known, None, settings)
    assert report.curve[-1]["loss"] < report.curve[0]["loss"]
    # Users that training did not see show half of one topic; what they take of both is asked.
    odd = ~kept[data.users] & (data.indices % 2 == 0)
    shown, wanted = data.select(odd), data.select(~kept[data.users] & ~odd)
    aligned = evaluate(
        inner_products(model.users(shown), model.items()), wanted, seen=shown, ks=(20,)
    )
    plain = evaluate(inner_products(profiles(rows, shown), rows), wanted, seen=shown, ks=(20,))
    assert aligned["recall@20"] > plain["recall@20"] + 0.2
    assert np.allclose(model.items(rows[:5].astype(np.float32)), model.items()[:5], atol=1e-6)


def test_users_without_items_have_no_direction() -> None:
    pytest.importorskip("torch")
    data = random_interactions(30, 20, 0.2, 5)
    data = data.select(data.users != 3)
    features = pa.table({"id": data.item_ids, "title": [f"w{i % 4} v{i}" for i in range(20)]})
    made = fit("aligned", data, None, Options(epochs=1, threads=1), features=features)
    assert not made.users[3].any() and made.users[4].any()


def test_an_encoder_is_tuned(tmp_path: Path) -> None:
    """Words of one half go with words of the other in behaviour alone, and come near each other."""
    from fanns.datasets.encoders import load
    from fanns.datasets.recsys_trainer import Training
    from fanns.datasets.recsys_tuning import Settings as Tuning
    from fanns.datasets.recsys_tuning import batches, tune

    start = tiny_bert(tmp_path / "bert")
    words = ["black hole", "entropy", "graph", "network"]
    users = np.repeat(np.arange(40), 2)
    taken = np.where(users % 2 == 0, 0, 2) + np.tile([0, 1], 40)
    data = from_pairs(users, taken)
    training = Training(lr=2e-3, batch=16, epochs=6, threads=1)
    settings = Tuning(training=training)
    for told, positives, _ in batches(data, settings, np.random.default_rng(0)):
        assert all(own not in others for own, others in zip(positives, told, strict=True))
    report = tune(str(start), words, data, tmp_path / "tuned", settings)
    assert report.curve[-1]["loss"] < report.curve[0]["loss"]
    made = load(str(tmp_path / "tuned")).documents(words)
    assert made[0] @ made[1] > made[0] @ made[2] and made[2] @ made[3] > made[2] @ made[1]
    with pytest.raises(StorageError, match="exists"):
        tune(str(start), words, data, tmp_path / "tuned", settings)
    with pytest.raises(InputError, match="3 texts for 4 items"):
        tune(str(start), words[:3], data, tmp_path / "other", settings)
