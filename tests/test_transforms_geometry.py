"""Inner products as l2, and hyperbolic space, against oracles in double precision."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns import Index
from fanns.errors import InputError
from fanns.transforms import InnerProductToL2, Lorentz, Poincare, Transforms

D = 6


def on_sheet(space: np.ndarray, k: float) -> np.ndarray:
    """Points of the hyperboloid in double precision, time first."""
    wide = space.astype(np.float64)
    return np.column_stack([np.sqrt(k + (wide * wide).sum(axis=1)), wide])


def lorentz_distances(points: np.ndarray, q: np.ndarray, k: float) -> np.ndarray:
    product = points[:, 1:] @ q[1:] - points[:, 0] * q[0]
    distances: np.ndarray = math.sqrt(k) * np.arccosh(np.maximum(-product / k, 1.0))
    return distances


def poincare_distances(points: np.ndarray, q: np.ndarray, k: float) -> np.ndarray:
    """Of points in the ball of squared radius k, in double precision."""
    p, o = points.astype(np.float64), q.astype(np.float64)
    apart = ((p - o) ** 2).sum(axis=1) / k
    inside = (1 - (p * p).sum(axis=1) / k) * (1 - (o * o).sum() / k)
    distances: np.ndarray = math.sqrt(k) * np.arccosh(1 + 2 * apart / inside)
    return distances


def sheet(n: int, k: float, spread: float, seed: int, d: int = D) -> np.ndarray:
    """Random points of the hyperboloid, float32[n, d + 1]."""
    space = np.random.default_rng(seed).standard_normal((n, d)) * spread
    return on_sheet(space.astype(np.float32), k).astype(np.float32)


def ball(n: int, k: float, reach: float, seed: int, d: int = D) -> np.ndarray:
    """Random points within a share `reach` of the ball's radius, float32[n, d]."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.tanh(rng.uniform(0, math.atanh(reach), n)) * math.sqrt(k)
    return (directions * lengths[:, None]).astype(np.float32)


def nearest(distances: np.ndarray, k: int, rows: np.ndarray | None = None) -> list[int]:
    """The rows of the k smallest distances, ties by row."""
    rows = np.arange(len(distances)) if rows is None else rows
    chosen: list[int] = rows[np.lexsort((rows, distances[rows]))[:k]].tolist()
    return chosen


@pytest.mark.parametrize("k", [1.0, 0.3, 7.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0])
def test_lorentz_ids_are_those_of_double_precision(k: float, spread: float) -> None:
    points, queries = sheet(800, k, spread, 1), sheet(6, k, spread, 2)
    groups = np.arange(800) % 4
    data = {"id": np.arange(800), "embedding": points, "group": groups}
    index = Index.build(data, metric="lorentz", transforms=[Lorentz.fit(points, k)])
    assert (index.metric, index.dimensions) == ("lorentz", D + 1)
    exact = on_sheet(points[:, 1:], k)
    for q in queries:
        truth = lorentz_distances(exact, on_sheet(q[None, 1:], k)[0], k)
        for options in ({"exact": True}, {}, {"plan": "scan"}, {"plan": "clusters", "recall": 1.0}):
            hits = index.search(q, 9, **options)
            assert hits.ids.tolist() == nearest(truth, 9)
            assert np.allclose(hits.distances, truth[hits.ids], rtol=1e-6, atol=1e-7 * spread)
        hits = index.search(q, 9, "group = 2")
        assert hits.ids.tolist() == nearest(truth, 9, np.flatnonzero(groups == 2))
        radius = float(np.sort(truth)[20]) * (1 + 1e-9)
        assert len(index.search(q, 50, radius=radius)) == 21


@pytest.mark.parametrize("reach", [0.3, 0.95, 0.999])
def test_poincare_ids_are_those_of_double_precision(reach: float) -> None:
    k = 2.0
    points, queries = ball(800, k, reach, 3), ball(6, k, reach, 4)
    index = Index.build({"embedding": points}, metric="poincare", transforms=[Poincare(D, k)])
    for q in queries:
        truth = poincare_distances(points, q, k)
        hits = index.search(q, 9, exact=True)
        assert hits.ids.tolist() == nearest(truth, 9)
        assert np.allclose(hits.distances, truth[hits.ids], rtol=1e-9)
        assert hits.scores.tolist() == (1 / (1 + hits.distances)).tolist()


def test_both_models_agree_with_geoopt() -> None:
    geoopt = pytest.importorskip("geoopt")
    torch = pytest.importorskip("torch")
    k = 1.7
    points, queries = sheet(500, k, 1.0, 5), sheet(4, k, 1.0, 6)
    space = geoopt.Lorentz(k=k)
    index = Index.build({"embedding": points}, metric="lorentz", transforms=[Lorentz(D + 1, k)])
    wide = torch.from_numpy(on_sheet(points[:, 1:], k))
    for q in queries:
        own = torch.from_numpy(on_sheet(q[None, 1:], k))
        truth = space.dist(own, wide).numpy()
        hits = index.search(q, 12)
        assert hits.ids.tolist() == nearest(truth, 12)
        assert np.allclose(hits.distances, truth[hits.ids], atol=1e-6)
    inside, asked = ball(500, 1.0, 0.9, 7), ball(4, 1.0, 0.9, 8)
    index = Index.build({"embedding": inside}, metric="poincare", transforms=[Poincare(D)])
    space = geoopt.PoincareBall(c=1.0)
    for q in asked:
        own, wide = (torch.from_numpy(one.astype(np.float64)) for one in (q[None], inside))
        truth = space.dist(own, wide).numpy()
        hits = index.search(q, 12)
        assert hits.ids.tolist() == nearest(truth, 12)
        assert np.allclose(hits.distances, truth[hits.ids], atol=1e-5)


def test_equal_points_are_tied_by_id_and_zero_apart() -> None:
    points = np.repeat(sheet(40, 1.0, 2.0, 9), 3, axis=0)
    index = Index.build({"embedding": points}, metric="lorentz", transforms=[Lorentz(D + 1)])
    for row in (0, 30, 117):
        hits = index.search(points[row], 3)
        first = row // 3 * 3
        assert hits.ids.tolist() == [first, first + 1, first + 2]
        assert (hits.distances < 1e-6).all()


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ([2.0, 0.0, 0.0], "no point of the hyperboloid with k = 1"),
        ([-1.0, 0.0, 0.0], "no point of the hyperboloid"),
        ([1e12, 1e12, 0.0], "farther from the origin"),
        ([3e38, 3e38, 0.0], "farther from the origin"),
    ],
)
def test_points_off_the_sheet_are_named(point: list[float], words: str) -> None:
    points = np.vstack([sheet(5, 1.0, 1.0, 0, 2), np.array([point], np.float32)])
    chain = [Lorentz(3)]
    with pytest.raises(InputError, match=rf"row 5.*{words}"):
        Index.build({"embedding": points}, metric="lorentz", transforms=chain)
    index = Index.build({"embedding": points[:5]}, metric="lorentz", transforms=chain)
    with pytest.raises(InputError, match=rf"query 1.*{words}"):
        index.search(points[4:], 1)


@pytest.mark.parametrize("length", [1.0, 1.5, 1e30])
def test_points_not_in_the_ball_are_named(length: float) -> None:
    points = np.vstack([ball(5, 1.0, 0.9, 0, 2), np.array([[0.0, length]], np.float32)])
    with pytest.raises(InputError, match=r"row 5.*not within the ball of radius 1"):
        Index.build({"embedding": points}, metric="poincare", transforms=[Poincare(2)])


def test_points_next_to_the_boundary_are_told_too_far_or_held() -> None:
    points = np.array([[np.nextafter(np.float32(1), np.float32(0)), 0.0], [0.0, 1 - 1e-5]])
    with pytest.raises(InputError, match=r"row 0.*farther from the origin"):
        Index.build({"embedding": points}, metric="poincare", transforms=[Poincare(2)])
    index = Index.build({"embedding": points[1:]}, metric="poincare", transforms=[Poincare(2)])
    assert index.search(np.zeros(2), 1).distances[0] == pytest.approx(
        2 * math.atanh(float(np.float32(1 - 1e-5))), rel=1e-6
    )


@given(st.integers(1, 20), st.integers(1, 60), st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_inner_products_come_back(d: int, n: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * rng.uniform(0, scale, (n, 1)) + scale / 99).astype("f4")
    q = (rng.standard_normal(d) * scale).astype("f4")
    chain = Transforms.of(InnerProductToL2.fit([x[: n // 2], x[n // 2 :]] if n > 1 else x))
    held, asked = chain.rows(x).astype(float), chain.queries(q[None])[0].astype(float)
    bound = np.linalg.norm(x.astype(float), axis=1).max()
    assert np.allclose(np.linalg.norm(held, axis=1), bound, rtol=1e-12)
    found = np.sqrt(((held - asked) ** 2).sum(axis=1))
    truth = -(x.astype(float) @ q.astype(float))
    room = 1e-12 * (bound**2 + float(q.astype(float) @ q))
    assert np.allclose(chain.distances(q, found), truth, rtol=0, atol=room)


def test_inner_products_through_an_index() -> None:
    rng = np.random.default_rng(11)
    x = (rng.standard_normal((900, 8)) * rng.gamma(1.0, 2.0, (900, 1))).astype(np.float32)
    index = Index.build(
        {"embedding": x, "group": np.arange(900) % 3},
        metric="ip",
        transforms=[InnerProductToL2.fit(x, slack=0.1)],
    )
    for q in rng.standard_normal((5, 8)).astype(np.float32):
        truth = -(x.astype(float) @ q.astype(float))
        for where, rows in ((None, None), ("group = 1", np.arange(1, 900, 3))):
            hits = index.search(q, 7, where)
            assert hits.ids.tolist() == nearest(truth, 7, rows)
            assert np.allclose(hits.distances, truth[hits.ids], atol=1e-9)
    longest = x[np.linalg.norm(x, axis=1).argmax()]
    index.add({"embedding": longest[None] * 1.05, "group": [0]})
    with pytest.raises(InputError, match=r"row 1.*longer than the bound.*build anew"):
        index.add({"embedding": np.stack([x[0], longest * 1.2]), "group": [0, 0]})
    assert len(index) == 901


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InnerProductToL2(3, 0.0), "bound is 0"),
        (lambda: InnerProductToL2.fit(np.zeros((3, 2))), "all vectors are zero"),
        (lambda: InnerProductToL2.fit(np.ones((3, 2)), slack=-1), "slack is -1"),
        (lambda: Lorentz(1), "width is 0"),
        (lambda: Lorentz(4, k=-1.0), "k is -1"),
        (lambda: Lorentz(4, stretch=3.0), "stretch is 3"),
        (lambda: Lorentz.fit(np.ones((3, 4))), "row 0: is no point|row 0.*no point"),
        (lambda: Poincare(4, k=math.inf), "k is inf"),
        (lambda: Index.build({"v": np.ones((2, 4))}, transforms=[Lorentz(4)]), 'metric="lorentz"'),
        (lambda: Index.build({"v": np.ones((2, 4))}, metric="lorentz"), "or that of a transform"),
    ],
)
def test_geometries_that_make_no_sense(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
