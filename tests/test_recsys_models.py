"""Recommenders against plain numpy, on simulated groups, and against published figures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanns.datasets import recsys_gfcf, recsys_synthetic
from fanns.datasets.recsys_interactions import Interactions, from_pairs
from fanns.datasets.recsys_metrics import Measured, evaluate, inner_products
from fanns.datasets.recsys_models import MODELS, Fitted, Options, fit
from fanns.datasets.recsys_readers import read
from fanns.datasets.recsys_splits import Split, ratio
from fanns.errors import InputError
from tests.recsys_data import random_interactions

pytest.importorskip("torch")

FEW = Options(epochs=12, eval_every=4, lr=2e-2, batch=512, threads=1, dimensions=16)


@pytest.fixture(scope="module")
def groups() -> Split:
    return ratio(recsys_synthetic.make(200, 160, groups=6).interactions, seed=1)


def judged(fitted: Fitted, split: Split, scores: Any = None) -> Measured:
    return evaluate(scores or fitted.scores, split.test.seen(), seen=split.train.seen())


def fitted(name: str, split: Split, options: Options) -> Fitted:
    valid = None if split.valid is None else split.valid.seen()
    return fit(name, split.train.seen(), valid, options)


def dense(data: Interactions) -> Any:
    return data.matrix().toarray().astype(np.float64)


def test_gfcf_is_its_formula() -> None:
    data = random_interactions(20, 15, 0.3, 1)
    model = recsys_gfcf.fit(data, recsys_gfcf.Filters(dimensions=4, weight=0.3))
    matrix = dense(data)
    users, items = (np.maximum(matrix.sum(axis=a), 1) for a in (1, 0))
    normal = matrix / np.sqrt(users)[:, None] / np.sqrt(items)
    top = np.linalg.svd(normal)[2][:4].T
    low = (matrix / np.sqrt(items)) @ top @ (top * np.sqrt(items)[:, None]).T
    full = matrix @ normal.T @ normal + 0.3 * low
    rows = np.arange(20)
    assert np.allclose(model.scores(data)(rows), full, atol=1e-4)
    vectors = model.fold_in(data) @ model.item_vectors().T
    assert np.allclose(vectors, low, atol=1e-4)
    assert (recsys_gfcf.fit(data, recsys_gfcf.Filters(4)).right == model.right).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (random_interactions(6, 5, 0.4, 0), "expected from 1 to below"),
        (random_interactions(400, 300, 0.0, 0).select(np.zeros(1, np.bool_)), "nothing to filter"),
    ],
)
def test_gfcf_refuses(data: Interactions, words: str) -> None:
    with pytest.raises(InputError, match=words):
        recsys_gfcf.fit(data)


def test_items_and_users_without_interactions() -> None:
    data = from_pairs(
        np.array([0, 0, 1, 1, 3]), np.array([0, 1, 1, 3, 0]), item_ids=None, user_ids=None
    )
    assert data.user_counts[2] == 0 and data.item_counts[2] == 0
    for name in ("gf-cf", "lightgcn", "ngcf", "bpr-mf", "most-popular"):
        options = Options() if name == "most-popular" else Options(dimensions=2)
        if name in ("lightgcn", "ngcf", "bpr-mf"):
            options = replace(FEW, dimensions=2, epochs=1)
        made = fit(name, data, None, options)
        assert np.isfinite(made.users).all() and np.isfinite(made.items).all()
        assert np.isfinite(made.fold_in(data)).all()
        assert made.users.dtype == made.items.dtype == np.float32


def test_graph_operator_is_the_dense_one() -> None:
    import torch

    from fanns.datasets.recsys_graph import NORMS, Operator, adjacency

    data = random_interactions(9, 7, 0.3, 2)
    edges = dense(data)
    whole = np.block([[np.zeros((9, 9)), edges], [edges.T, np.zeros((7, 7))]])
    degrees = whole.sum(axis=1)
    for norm, (left, right) in NORMS.items():
        scale = [np.where(degrees > 0, np.maximum(degrees, 1) ** -p, 0) for p in (left, right)]
        expected = scale[0][:, None] * whole * scale[1]
        assert np.allclose(adjacency(data, norm).toarray(), expected, atol=1e-6)
        given = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
        made = Operator(adjacency(data, norm))(given)
        made.square().sum().backward()
        exact = torch.from_numpy(expected.astype(np.float32))
        same = given.detach().clone().requires_grad_()
        (exact @ same).square().sum().backward()
        assert torch.allclose(made, exact @ given, atol=1e-5)
        assert torch.allclose(given.grad, same.grad, atol=1e-4)


def test_lightgcn_is_the_mean_of_its_layers() -> None:
    import torch

    from fanns.datasets.recsys_graph import adjacency
    from fanns.datasets.recsys_lightgcn import LightGcn
    from fanns.datasets.recsys_pairwise import Settings

    data = random_interactions(9, 7, 0.3, 3)
    settings = Settings(dimensions=4, layers=3, decay=0.5)
    model = LightGcn(data, settings)
    first = model.table.weight.detach().numpy().astype(np.float64)
    operator = adjacency(data).toarray().astype(np.float64)
    layers = [np.linalg.matrix_power(operator, k) @ first for k in range(4)]
    mean = sum(layers) / 4
    users, items = model.vectors()
    assert np.allclose(np.concatenate([users, items]), mean, atol=1e-6)
    rows = np.array([0, 4]), np.array([1, 6]), np.array([3, 0])
    user, high, low = mean[rows[0]], mean[9 + rows[1]], mean[9 + rows[2]]
    ranking = np.logaddexp(0, (user * low).sum(1) - (user * high).sum(1)).mean()
    squares = sum((first[r] ** 2).sum() for r in (rows[0], 9 + rows[1], 9 + rows[2]))
    found = model.loss(*map(torch.from_numpy, rows))
    assert found.item() == pytest.approx(ranking + 0.5 * squares / 2 / 2, rel=1e-5)
    wide = model.loss(*map(torch.from_numpy, (rows[0], rows[1], rows[2][:, None])))
    assert wide.item() == pytest.approx(found.item(), rel=1e-6)
    again = model.fold_in(data, data.item_counts)  # all but layer 0 is what training has
    assert np.allclose(again, users - first[:9] / 4, atol=1e-6)


def test_ngcf_is_its_formula() -> None:
    from fanns.datasets.recsys_ngcf import SLOPE, Ngcf
    from fanns.datasets.recsys_pairwise import Settings

    data = random_interactions(9, 7, 0.3, 4)
    model = Ngcf(data, Settings(dimensions=4, layers=2)).eval()
    edges = dense(data)
    whole = np.block([[np.eye(9), edges], [edges.T, np.eye(7)]])
    whole /= whole.sum(axis=1, keepdims=True)
    layer = model.table.detach().numpy().astype(np.float64)
    parts = [layer]
    for sums, products in zip(model.sums, model.products, strict=True):
        spread = whole @ layer
        layer = np.zeros_like(layer)
        for linear, given in ((sums, spread), (products, parts_own(parts, layer) * spread)):
            made = given @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            layer = layer + np.where(made > 0, made, SLOPE * made)
        parts.append(layer)
    unit = [p / np.linalg.norm(p, axis=1, keepdims=True) for p in parts[1:]]
    users, items = model.vectors()
    expected = np.concatenate([parts[0], *unit], axis=1)
    assert np.allclose(np.concatenate([users, items]), expected, atol=1e-5)


def parts_own(parts: list[Any], _: Any) -> Any:
    """The layer that the next is made of."""
    return parts[-1]


@pytest.mark.parametrize(("name", "gain"), [("gf-cf", 1.5), ("lightgcn", 1.5), ("bpr-mf", 1.2)])
def test_groups_are_found(name: str, gain: float, groups: Split) -> None:
    options = Options(dimensions=16) if name == "gf-cf" else FEW
    popular = judged(fitted("most-popular", groups, Options()), groups)
    made = fitted(name, groups, options)
    found = judged(made, groups)
    assert found["ndcg@10"] > gain * popular["ndcg@10"]
    if name != "gf-cf":
        assert made.report.curve[-1]["loss"] < made.report.curve[0]["loss"]
        again = fitted(name, groups, options)
        assert (again.items == made.items).all(), "the same seed gives the same vectors"


def test_new_users_are_folded_in(groups: Split) -> None:
    """Users that training never saw are served nearly as well as those that it did."""
    train, test = groups.train.seen(), groups.test.seen()
    new = np.arange(200) % 4 == 0
    known = train.select(~new[train.users])
    wanted = test.select(new[test.users])
    for name in ("gf-cf", "lightgcn", "bpr-mf", "ngcf"):
        options = Options(dimensions=16) if name == "gf-cf" else FEW
        made = fit(name, known, None, options)
        folded = made.fold_in(train)
        assert np.isfinite(folded).all()
        found = evaluate(inner_products(folded, made.items), wanted, seen=train)
        popular = inner_products(np.ones((200, 1)), known.item_counts[:, None])
        floor = evaluate(popular, wanted, seen=train)
        assert found["ndcg@10"] > 1.2 * floor["ndcg@10"], name


def test_options_that_a_model_does_not_take() -> None:
    data = random_interactions(20, 15, 0.3, 1)
    with pytest.raises(InputError, match="most-popular takes no dimensions"):
        fit("most-popular", data, None, Options(dimensions=3))
    with pytest.raises(InputError, match="unknown model"):
        fit("oracle", data)
    with pytest.raises(InputError, match="no features"):
        fit("text", data)
    assert {"gf-cf", "bpr-mf", "lightgcn", "ngcf", "most-popular"} < MODELS.keys()


@pytest.mark.slow
def test_gfcf_reproduces_gowalla(gowalla: Path) -> None:
    split = read(gowalla).split
    assert split is not None
    made = fitted("gf-cf", split, Options())
    full = judged(made, split)
    assert full["recall@20"] == pytest.approx(0.1849, abs=3e-4)
    assert full["ndcg@20"] == pytest.approx(0.1518, abs=3e-4)
    low = judged(made, split, inner_products(made.users, made.items))
    assert low["recall@20"] == pytest.approx(0.1717, abs=3e-4)
    assert low["ndcg@20"] == pytest.approx(0.1447, abs=3e-4)
    popular = judged(fitted("most-popular", split, Options()), split)
    assert popular["recall@20"] == pytest.approx(0.0416, abs=2e-4)
    assert popular["ndcg@20"] == pytest.approx(0.0317, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published", "within"),
    [
        ("lightgcn", {"recall@10": 0.1741, "ndcg@10": 0.1996, "ndcg@20": 0.2427}, 0.006),
        ("bpr-mf", {"recall@10": 0.1361, "ndcg@10": 0.1532}, 0.008),
        ("ngcf", {"recall@10": 0.1562, "ndcg@10": 0.1769}, 0.008),
    ],
)
def test_published_figures_of_lastfm(
    lastfm: Path, name: str, published: dict[str, float], within: float
) -> None:
    """Those of LightGCN++'s authors (2024), whose split and protocol these are."""
    split = read(lastfm).split
    assert split is not None
    made = fitted(name, split, Options(threads=1))
    found = judged(made, split)
    for figure, value in published.items():
        assert found[figure] == pytest.approx(value, abs=within), (figure, found.values)
