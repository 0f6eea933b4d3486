"""Rank reduction: found where it is lossless and nowhere else, and unseen but for its rounding."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import fanns
from fanns import adding
from fanns.cli import cli
from fanns.errors import CorruptIndexError, InputError
from fanns.kernels.jit import frozen
from fanns.kernels.orthogonal import orthonormalise
from fanns.kernels.projection import packed, unpacked
from fanns.ranks import LARGE, MIN_DIMENSIONS, find_reduction, rank_limit
from fanns.reduction import TOLERANCE, Reduction, product

METRICS = ("cosine", "l2", "ip")


def low_rank(n: int, d: int, r: int, seed: int = 0, decay: float = 0.0) -> np.ndarray:
    """Rows float32[n, d] of rank r, as a layer gives them; energies falling to e^-decay."""
    rng = np.random.default_rng(seed)
    inner = rng.standard_normal((n, r)) * np.exp(-decay * np.arange(r) / r)
    rows: np.ndarray = inner @ rng.standard_normal((r, d)) / np.sqrt(d)
    return rows.astype(np.float32)


def table(vectors: np.ndarray, start: int = 0) -> pa.Table:
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    ids = np.arange(start, start + len(vectors))
    return pa.table({"id": ids, "v": rows, "part": pa.array(ids % 7)})


def built(vectors: np.ndarray, **options: Any) -> fanns.Index:
    return fanns.Index.build(table(vectors), vector="v", calibration="default", **options)


def given_back(index: fanns.Index, ids: Any) -> np.ndarray:
    column = index.get(ids, vector=True).column("v").combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def oracle(vectors: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    rows, q = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.asarray(np.sqrt(((rows - q) ** 2).sum(1)))
    if metric == "ip":
        return np.asarray(-(rows @ q))
    return np.asarray(1.0 - rows @ q / np.linalg.norm(rows, axis=1) / np.linalg.norm(q))


def scale_of(vectors: np.ndarray, query: np.ndarray, metric: str) -> Any:
    """What an error of float32 rounding is relative to."""
    lengths = np.linalg.norm(vectors.astype(float), axis=1)
    length = float(np.linalg.norm(query.astype(float)))
    return {"l2": lengths + length, "ip": lengths * length, "cosine": 1.0}[metric]


# --- kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("m, d, w", [(1, 1, 1), (2, 5, 63), (3, 64, 64), (5, 130, 65), (0, 3, 4)])
@pytest.mark.parametrize("kinds", ["ff", "fd", "df", "dd"])
def test_products_are_right_and_alike_alone_or_together(m: int, d: int, w: int, kinds: str) -> None:
    rng = np.random.default_rng(d)
    rows = rng.standard_normal((m, d)).astype(kinds[0])
    matrix = rng.standard_normal((d, w)).astype(kinds[1])
    panels = frozen(packed(matrix))
    np.testing.assert_array_equal(unpacked(panels, w), matrix)
    together = product(rows, panels)
    np.testing.assert_allclose(together[:, :w], rows.astype(float) @ matrix, atol=1e-12)
    assert not together[:, w:].any()
    np.testing.assert_array_equal(product(rows, panels, threads=2), together)
    for i in range(m):
        np.testing.assert_array_equal(product(rows[i : i + 1], panels)[0], together[i])
    if kinds == "ff" and m:  # one fixed order, every product exact: plain Python gives the bits
        expected = 0.0
        for x, y in zip(rows[0].tolist(), matrix[:, 0].tolist(), strict=True):
            expected += x * y
        assert together[0, 0] == expected


def test_orthonormal_rows_span_what_was_given() -> None:
    rng = np.random.default_rng(1)
    given = rng.standard_normal((9, 5)) @ rng.standard_normal((5, 40)) * 1e-3
    block = given.copy()
    count = orthonormalise(block, 1e-9)
    assert count == 5
    np.testing.assert_allclose(block[:5] @ block[:5].T, np.eye(5), atol=1e-14)
    np.testing.assert_allclose(given @ block[:5].T @ block[:5], given, atol=1e-15)
    assert orthonormalise(np.zeros((3, 4)), 0.0) == 0


# --- finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("d, r", [(128, 1), (130, 3), (200, 64), (256, 65), (256, 128)])
@pytest.mark.parametrize("decay", [0.0, 6.0])
def test_finds_the_rank_and_loses_nothing(d: int, r: int, decay: float) -> None:
    vectors = low_rank(4 * d + 7, d, r, decay=decay)
    found = find_reduction(vectors, "on", seed=0)
    assert found is not None
    reduction, coordinates = found
    assert reduction.rank == r and coordinates.shape == (len(vectors), r)
    back = reduction.decode(coordinates).astype(float)
    lost = np.linalg.norm(back - vectors, axis=1) / np.linalg.norm(vectors, axis=1)
    assert lost.max() == pytest.approx(reduction.residual, rel=1e-6) and lost.max() < 3e-7
    lengths = np.linalg.norm(coordinates.astype(float), axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(vectors.astype(float), axis=1), rtol=2e-7)


def test_limits_of_the_rank() -> None:
    assert (
        rank_limit(512, 128, "off") == rank_limit(511, 128, "on") == rank_limit(512, 127, "on") == 0
    )
    assert [rank_limit(4 * d, d, "on") for d in (128, 4096)] == [115, 3686]
    assert [rank_limit(4 * d, d, "auto") for d in (128, 384, 1024, 4096)] == [64, 151, 200, 235]
    assert rank_limit(LARGE // 4096, 1024, "auto") == 921


def test_same_for_any_number_of_threads() -> None:
    vectors = low_rank(1500, 256, 70)
    one, two = (
        find_reduction(vectors, "on", 3, threads=1),
        find_reduction(vectors, "on", 3, threads=2),
    )
    assert one is not None and two is not None
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(one[0].basis, two[0].basis)
    assert one[0].residual == two[0].residual


@pytest.mark.parametrize(
    "vectors",
    [
        np.random.default_rng(0).standard_normal((2000, 192)).astype(np.float32),
        low_rank(2000, 192, 173),  # above 0.9 of the dimensions
        low_rank(700, 192, 20),  # too few rows to tell
        low_rank(2000, MIN_DIMENSIONS - 1, 20),
        low_rank(2000, 192, 20).astype(np.float16),
        np.zeros((2000, 192), np.float32),
    ],
    ids=["full", "high", "few", "narrow", "half", "zero"],
)
def test_leaves_others_alone(vectors: np.ndarray) -> None:
    assert find_reduction(vectors, "on", seed=0) is None


@pytest.mark.parametrize("noise", [1e-5, 1e-3])
def test_leaves_nearly_deficient_rows_alone(noise: float) -> None:
    vectors = low_rank(2000, 192, 20)
    rng = np.random.default_rng(1)
    away = rng.standard_normal(vectors.shape)
    away *= np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(away, axis=1)[:, None]
    assert find_reduction((vectors + noise * away).astype(np.float32), "on", seed=0) is None
    assert find_reduction((vectors + 1e-7 * away).astype(np.float32), "on", seed=0) is not None


@pytest.mark.parametrize("offending", [1, 40])
def test_rows_outside_the_sample_extend_the_basis(offending: int) -> None:
    vectors = low_rank(60_000, 128, 10)
    rng = np.random.default_rng(2)
    own = rng.standard_normal((3, 128))
    rows = rng.choice(len(vectors), offending, replace=False)
    vectors[rows] = rng.standard_normal((offending, 3)) @ own
    found = find_reduction(vectors, "on", seed=0)
    assert found is not None and found[0].rank == 10 + min(offending, 3)
    assert found[0].residual <= TOLERANCE


def test_rows_of_full_rank_among_many_are_not_given_up() -> None:
    vectors = low_rank(60_000, 128, 10)
    vectors[::500] = np.random.default_rng(2).standard_normal((120, 128))
    assert find_reduction(vectors, "on", seed=0) is None


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_scale_of_rows_and_zero_rows(scale: float) -> None:
    vectors = low_rank(1000, 128, 9) * np.float32(scale)
    vectors[::3] *= np.float32(1e-4)
    vectors[5] = 0.0
    found = find_reduction(vectors, "on", seed=0)
    assert found is not None and found[0].rank == 9
    assert not found[1][5].any() and not found[0].decode(found[1][5:6]).any()


def test_rows_beyond_what_coordinates_can_say_stay() -> None:
    vectors = low_rank(1000, 128, 9)
    vectors /= np.abs(vectors).max()
    assert (
        find_reduction(vectors * np.float32(3e38), "on", seed=0) is None
    )  # longer than float32 says
    assert find_reduction(vectors * np.float32(1e-43), "on", seed=0) is None  # few bits are left


# --- searching -----------------------------------------------------------------------------------

VECTORS = low_rank(1200, 160, 24, seed=3)
VECTORS[1100:] = VECTORS[:100]  # equal rows, told apart by id


@pytest.fixture(scope="module")
def indexes() -> dict[str, fanns.Index]:
    return {metric: built(VECTORS, metric=metric) for metric in METRICS}


@settings(max_examples=30, deadline=None)
@given(
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 10**6),
    outside=st.sampled_from([0.0, 1e-7, 1e-5, 1e-3, 0.1, 1.0, 1e4]),
    scale=st.sampled_from([1e-15, 1.0, 1e15]),
    k=st.sampled_from([1, 10, 300, 2000]),
)
def test_any_query_has_its_distances(
    indexes: dict[str, fanns.Index], metric: str, seed: int, outside: float, scale: float, k: int
) -> None:
    index, rng = indexes[metric], np.random.default_rng(seed)
    inside = VECTORS[rng.integers(1200)] + VECTORS[rng.integers(1200)]
    away = rng.standard_normal(160)
    away *= np.linalg.norm(inside) / np.linalg.norm(away)
    query = ((inside + outside * away) * scale).astype(np.float32)
    distances = oracle(VECTORS, query, metric)
    error = 4 * TOLERANCE * scale_of(VECTORS, query, metric)
    for where in (None, "part = 3"):
        passing = np.flatnonzero(np.arange(1200) % 7 == 3) if where else np.arange(1200)
        hits = index.search(query, k, where, exact=True)
        assert len(hits) == min(k, len(passing)) and hits.status == "exact"
        assert np.isin(hits.ids, passing).all() and len(set(hits.ids.tolist())) == len(hits)
        allowed = error if np.ndim(error) == 0 else error[hits.ids]
        assert (np.abs(hits.distances - distances[hits.ids]) <= allowed).all()
        best = np.sort(distances[passing])[: len(hits)]
        assert (np.abs(hits.distances - best) <= np.max(error)).all()
        assert (np.diff(hits.distances) >= 0).all()
        same = np.flatnonzero(np.diff(hits.distances) == 0)
        assert (np.diff(hits.ids)[same] > 0).all()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_row_finds_itself_first_and_its_equals_by_id(
    indexes: dict[str, fanns.Index], metric: str
) -> None:
    for row in range(0, 100, 9):
        hits = indexes[metric].search(VECTORS[row], 2, exact=True)
        assert hits.ids.tolist() == [row, row + 1100]
        assert hits.distances[0] == hits.distances[1] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("metric", METRICS)
def test_answers_agree_with_those_of_full_vectors(
    indexes: dict[str, fanns.Index], metric: str
) -> None:
    plain = built(VECTORS, metric=metric, reduce="off")
    queries = np.random.default_rng(5).standard_normal((90, 160)).astype(np.float32)
    for index in (plain, indexes[metric]):
        many = index.search(queries, 5, threads=2)
        alone = [index.search(query, 5) for query in queries[:20]]
        assert [hits.ids.tolist() for hits in alone] == [hits.ids.tolist() for hits in many[:20]]
    a, b = (index.search(queries, 5, exact=True) for index in (plain, indexes[metric]))
    np.testing.assert_allclose(a.distances, b.distances, atol=2e-6)
    radius = float(np.median(a.distances))
    for index in (plain, indexes[metric]):
        near = index.search(queries, 5, radius=radius, exact=True)
        assert abs(len(near.distances) - len(a.distances) / 2) <= 2


def test_a_query_orthogonal_to_all_rows(indexes: dict[str, fanns.Index]) -> None:
    _, _, directions = np.linalg.svd(VECTORS.astype(float))
    query = directions[-1].astype(np.float32)
    hits = indexes["cosine"].search(query, 3, exact=True)
    np.testing.assert_allclose(hits.distances, 1.0, atol=1e-6)
    hits = indexes["l2"].search(query, 3, exact=True)
    expected = np.sort(oracle(VECTORS, query, "l2"))[:3]
    np.testing.assert_allclose(hits.distances, expected, rtol=1e-6)


def test_tiny_rows_and_far_queries_tie_by_id() -> None:
    vectors = low_rank(600, 128, 8) * np.float32(1e-12)
    index = built(vectors, metric="l2")
    assert index.info()["segments"][0]["reduction"]
    query = np.random.default_rng(0).standard_normal(128).astype(np.float32)
    hits = index.search(query, 600, exact=True)
    same = np.flatnonzero(np.diff(hits.distances) == 0)
    assert len(same) and (np.diff(hits.ids)[same] > 0).all()


def test_a_query_beyond_what_coordinates_can_say_is_refused(
    indexes: dict[str, fanns.Index],
) -> None:
    query = np.full(160, 3e38, np.float32)
    with pytest.raises(InputError, match=r"query 1 is longer .* reduce=\"off\""):
        indexes["l2"].search(np.stack([VECTORS[0], query]), 3)


def test_vectors_come_back_within_rounding(indexes: dict[str, fanns.Index]) -> None:
    index = indexes["cosine"]
    told = index.info()["segments"][0]["reduction"]
    assert told["dimensions"] == 160 and told["rank"] == 24
    back = given_back(index, np.arange(1200))
    assert back.dtype == np.float32
    lost = np.linalg.norm(back.astype(float) - VECTORS, axis=1)
    assert (lost <= told["residual"] * np.linalg.norm(VECTORS, axis=1) * 1.000001).all()
    units = np.abs(back - VECTORS) / np.spacing(np.abs(VECTORS).max(axis=1))[:, None]
    assert units.max() <= 4
    np.testing.assert_array_equal(given_back(index, [7, 3]), back[[7, 3]])


# --- an index's life -----------------------------------------------------------------------------


def test_segments_have_bases_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "TAIL_ROWS", 1_000)  # else they are held as they come
    parts = [low_rank(1_100, 160, 24, seed=1), low_rank(1_100, 160, 30, seed=2)]
    parts.append(np.random.default_rng(3).standard_normal((1_100, 160)).astype(np.float32))
    path = tmp_path / "three.fanns"
    built(parts[0], metric="l2", path=path).close()
    with fanns.open(path, mode="w") as index:
        for number, part in enumerate(parts[1:], 1):
            index.add(table(part, 1_100 * number))
    vectors = np.concatenate(parts)
    queries = np.random.default_rng(4).standard_normal((20, 160)).astype(np.float32)
    with fanns.open(path) as index:
        held = [part["vectors"] for part in index.info()["segments"]]
        assert ["rank 24: stored as 24 (6.7x" in held[0], "rank 30" in held[1]] == [True, True]
        assert held[2] == "160 dimensions"
        for query in [*queries, vectors[5], vectors[1_200]]:
            hits = index.search(query, 10, exact=True)
            expected = np.sort(oracle(vectors, query, "l2"))[:10]
            np.testing.assert_allclose(hits.distances, expected, atol=1e-5)
        np.testing.assert_allclose(given_back(index, np.arange(3_300)), vectors, atol=1e-5)
        np.testing.assert_array_equal(given_back(index, [2_500]), vectors[2_500:2_501])
        index.warmup()


def test_measured_and_saved_and_opened_again(tmp_path: Path) -> None:
    vectors = low_rank(5000, 160, 24, seed=6)
    made = fanns.Index.build(table(vectors), vector="v", queries=vectors[:50] + vectors[50:100])
    made.save(tmp_path / "a.fanns")
    queries = np.random.default_rng(1).standard_normal((30, 160)).astype(np.float32)
    with fanns.open(tmp_path / "a.fanns", check=True) as index:
        for plan in ("scan", "graph"):
            a, b = (i.search(queries, 10, plan=plan) for i in (made, index))
            assert a.ids.tolist() == b.ids.tolist()
            np.testing.assert_array_equal(a.distances, b.distances)
        exact = index.search(queries, 10, exact=True)
        found = sum(len(set(x.ids) & set(y.ids)) for x, y in zip(a, exact, strict=True))
        assert found >= 0.85 * 300
        assert index.info()["bytes"]["vectors"] < 0.25 * vectors.nbytes
        assert index.verify() == []


def test_float16_copies_of_coordinates(tmp_path: Path) -> None:
    index = built(VECTORS, keep_originals=False)
    assert index.info()["segments"][0]["reduction"]["rank"] == 24
    hits = index.search(VECTORS[3], 2)
    assert hits.ids.tolist() == [3, 1103] and hits.distances[0] < 1e-3


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reduce is 'yes', expected 'auto', 'on' or 'off'"):
        built(VECTORS, reduce="yes")
    high = low_rank(1200, 160, 85)
    for reduce, rank in (("on", 85), ("auto", None), ("off", None)):
        told = built(high, reduce=reduce).info()["segments"][0]["reduction"]
        assert (told and told["rank"]) == rank
    assert built(VECTORS, reduce="off").info()["segments"][0]["reduction"] is None
    assert fanns.Index.plan_build(table(VECTORS), vector="v", reduce="off")["rows"] == 1200


def test_command(tmp_path: Path) -> None:
    pq.write_table(table(VECTORS), tmp_path / "a.parquet")
    run = CliRunner()
    for flag, held in (("--reduce", "rank 24: stored as 24"), ("--no-reduce", "160 dimensions")):
        out = tmp_path / f"{flag}.fanns"
        rest = ["--calibration", "default", flag]
        done = run.invoke(cli, ["build", str(tmp_path / "a.parquet"), "-o", str(out), *rest])
        assert done.exit_code == 0 and held in done.output
        told = json.loads(run.invoke(cli, ["info", str(out), "--format", "json"]).output)
        assert held in told["segments"][0]["vectors"]
        shown = run.invoke(cli, ["info", str(out), "--format", "table"]).output
        assert held in shown


# --- hostile files -------------------------------------------------------------------------------


def forged(**changes: Any) -> fanns.Index:
    """An index whose only segment has another description or other arrays of its reduction."""
    index = built(VECTORS)
    segment = index._snapshot.segments[0]
    meta = {**segment.meta, "reduction": {**segment.meta["reduction"], **changes.pop("meta", {})}}
    arrays = {**segment.arrays, **{f"reduction/{name}": a for name, a in changes.items()}}
    twin = type(segment)(meta, segment.schema, arrays, lambda: segment.stored)
    return fanns.Index(index._recipe, [twin])


@pytest.mark.parametrize(
    "changes",
    [
        {"basis": np.zeros((1, 159, 64), np.float32)},
        {"basis": np.zeros((2, 160, 64), np.float32)},
        {"basis": np.zeros((1, 160, 64), np.float64)},
        {"basis": np.full((1, 160, 64), np.nan, np.float32)},
        {"gram": np.zeros((1, 25, 64), np.float32)},
        {"gram": np.full((1, 24, 64), np.inf, np.float32)},
        {"meta": {"rank": 25}},
        {"meta": {"rank": 24.0}},
        {"meta": {"rank": None}},
        {"meta": {"dimensions": 10**9}},
        {"meta": {"dimensions": 23}},
        {"meta": {"residual": "small"}},
        {"meta": {"residual": float("nan")}},
    ],
    ids=str,
)
def test_forged_reductions_are_refused(changes: dict[str, Any]) -> None:
    index = forged(**{name: frozen(a) if name != "meta" else a for name, a in changes.items()})
    with pytest.raises(CorruptIndexError, match="reduction"):
        index.search(VECTORS[0], 3)


def test_vectors_of_another_dimension_are_refused() -> None:
    index = forged()
    basis = Reduction.shapes(100, 24)["basis"][0]
    wrong = forged(meta={"dimensions": 100}, basis=frozen(np.zeros(basis, np.float32)))
    assert len(index.search(VECTORS[0], 3)) == 3
    with pytest.raises(CorruptIndexError, match="100 dimensions in an index of 160"):
        wrong.search(VECTORS[0], 3)


# --- larger --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wide_float32_layers() -> None:
    rng = np.random.default_rng(0)
    inner = rng.standard_normal((9000, 256)).astype(np.float32)
    weights = rng.standard_normal((256, 2048)).astype(np.float32)
    vectors = inner @ weights + rng.standard_normal(2048).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = find_reduction(vectors, "on", seed=0, threads=2)
    assert found is not None and found[0].rank == 257 and found[0].residual < 5e-7
    queries = rng.standard_normal((50, 2048)).astype(np.float32)
    projected = found[0].project(queries)
    for i, query in enumerate(queries):
        told = np.linalg.norm(found[1].astype(float) - projected.queries[i], axis=1)[None]
        one = projected._replace(lengths=projected.lengths[[i]], outside=projected.outside[[i]])
        distances = Reduction.restore(one, told, 1)[0]
        np.testing.assert_allclose(distances, oracle(vectors, query, "l2"), rtol=1e-7)
