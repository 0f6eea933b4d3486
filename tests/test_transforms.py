"""Transforms of an index: both sides, every way in and out, and what is stored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanns
from fanns import Index
from fanns.cli import run
from fanns.errors import CorruptIndexError, InputError, NotAnIndexError
from fanns.transforms import (
    NONE,
    PCA,
    AffineAdapter,
    InnerProductToL2,
    Lorentz,
    Normalise,
    OrderedHead,
    SignedPower,
    Transform,
    Transforms,
    Whitening,
)

D = 24


def vectors(n: int, d: int = D, seed: int = 0) -> np.ndarray:
    """Rows of falling variance, away from the origin, float32[n, d]."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(2.0, 0.2, d)
    return (rng.standard_normal((n, d)) * scale + 0.5).astype(np.float32)


def table(x: np.ndarray, first: int = 0) -> pa.Table:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    ids = np.arange(first, first + len(x))
    return pa.table({"id": ids, "embedding": flat, "group": ids % 5})


def recipe() -> list[Transform]:
    """The usual recipe for descriptors."""
    x = vectors(500)
    unit = Normalise(D)
    return [unit, Whitening.fit(unit.rows(x), 10), Normalise(10), SignedPower(10)]


def chains() -> dict[str, list[Transform]]:
    rng = np.random.default_rng(5)
    return {
        "pca": [PCA.fit(vectors(500), 9)],
        "whitening recipe": recipe(),
        "ordered head": [OrderedHead(rng.standard_normal((D, 8)), np.zeros(8), (4, 8))],
        "adapter": [AffineAdapter(rng.uniform(0.5, 2, D), rng.standard_normal(D))],
    }


CHAINS = chains()


def expected(chain: Transforms, x: np.ndarray, q: np.ndarray, k: int) -> np.ndarray:
    """The rows nearest to q by Euclidean distance of transformed vectors."""
    held, asked = chain.rows(x).astype(float), chain.queries(q[None])[0].astype(float)
    distances = np.sqrt(((held - asked) ** 2).sum(axis=1))
    return np.lexsort((np.arange(len(x)), distances))[:k]


@pytest.mark.parametrize("name", CHAINS)
def test_both_sides_go_through(name: str, tmp_path: Path) -> None:
    x, chain = vectors(300), Transforms.of(CHAINS[name])
    path = tmp_path / "i.fanns"
    index = Index.build(table(x), metric="l2", transforms=chain.steps, path=path)
    assert (index.dimensions, index.metric, index.transforms.digest) == (D, "l2", chain.digest)
    for q in vectors(5, seed=9):
        want = expected(chain, x, q, 7)
        assert index.search(q, 7).ids.tolist() == want.tolist()
        assert index.search(q, 7, exact=True).ids.tolist() == want.tolist()
        assert index.search(q[None], 7)[0].ids.tolist() == want.tolist()
        passing = np.flatnonzero(np.arange(300) % 5 == 3)
        filtered = passing[expected(chain, x[passing], q, 7)]
        assert index.search(q, 7, "group = 3").ids.tolist() == filtered.tolist()


def test_every_entrance_and_exit(tmp_path: Path) -> None:
    x, q = vectors(400), vectors(20, seed=3)
    chain = Transforms.of(PCA.fit(x[:200], 9))
    path = tmp_path / "i.fanns"
    Index.build(table(x[:200]), metric="l2", transforms=chain, path=path)
    with fanns.open(path, "w") as index:
        index.add(table(x[200:300], 200))
        index.upsert(table(x[300:], 300))
        index.upsert(table(x[:10], 0))
        index.delete(ids=[17, 250])
        live = np.setdiff1d(np.arange(400), [17, 250])
        for compacted in (False, True):
            if compacted:
                index.compact(full=True)
                assert index.info()["segments"][0]["rows"] == 398
            held = np.array(index.get(live, vector=True)["embedding"].to_pylist(), np.float32)
            assert np.array_equal(held, chain.rows(x[live]))
            for one in q[:3]:
                want = live[expected(chain, x[live], one, 6)]
                assert index.search(one, 6).ids.tolist() == want.tolist()
        pages = index.pages(q[0], 4)
        got = [key for _ in range(3) for key in next(pages).ids.tolist()]
        assert got == live[expected(chain, x[live], q[0], 12)].tolist()
        assert index.check(q, k=5).recall == 1.0
        assert index.tune(q, k=5).after.recall == 1.0
        found = index.search(q[0], 6, group_by="group")
        assert len(set(found.columns(["group"])["group"].to_pylist())) == 5
        radius = float(index.search(q[0], 50).distances[-1])
        within = index.search(q[0], 398, radius=radius)
        assert 50 <= len(within) < 398 and within.distances.max() <= radius
        assert "pca (24 -> 9)" in str(index.explain(q[0]))
        told = index.info()
        assert told["transforms"] == ["pca (24 -> 9)"]
        assert "held transformed as 9" in told["segments"][0]["vectors"]
        index.warmup()
        assert index.verify() == []
        index.compact(erase=True)
    with fanns.open(path) as reader:
        want = live[expected(chain, x[live], q[0], 6)].tolist()
        assert reader.search(q[0], 3).ids.tolist() == want[:3]
        reader.export(tmp_path / "rows.parquet")
    again = Index.import_(tmp_path / "rows.parquet")
    assert again.transforms.digest == chain.digest
    assert again.dimensions == D
    assert again.search(q[0], 6).ids.tolist() == want
    with pytest.raises(fanns.FannsError, match="closed"):
        reader.search(q[0])


def test_an_index_in_memory_is_saved_with_its_transforms(tmp_path: Path) -> None:
    x = vectors(50)
    index = Index.build(table(x), metric="l2", transforms=[PCA.fit(x, 4)])
    index.save(tmp_path / "i.fanns")
    with fanns.open(tmp_path / "i.fanns") as opened:
        assert opened.search(x[3], 1).ids.tolist() == [3]
    loaded = Transforms.load(tmp_path / "i.fanns" / "transforms")
    assert loaded.digest == index.transforms.digest


def test_streamed_builds_hold_the_same_rows(tmp_path: Path) -> None:
    x = vectors(600)
    pq.write_table(table(x), tmp_path / "rows.parquet", row_group_size=97)
    options: dict[str, Any] = {"metric": "l2", "transforms": CHAINS["whitening recipe"]}
    options["calibration"] = "default"
    whole = Index.build(table(x), **options)
    files = Index.build(tmp_path / "rows.parquet", **options)
    streamed = Index.build(
        tmp_path / "rows.parquet", path=tmp_path / "i.fanns", memory_limit="4GB", **options
    )
    rows = [one.get(np.arange(600), vector=True)["embedding"] for one in (whole, files, streamed)]
    assert rows[0].combine_chunks().equals(rows[1].combine_chunks())
    assert rows[0].combine_chunks().equals(rows[2].combine_chunks())
    assert streamed.search(x[5], 1).ids.tolist() == [5]
    assert Index.plan_build(tmp_path / "rows.parquet", **options)["dimensions"] == D


@pytest.mark.parametrize("name", CHAINS)
def test_a_row_alone_has_the_coordinates_of_a_row_in_bulk(name: str) -> None:
    x, chain = vectors(2100), Transforms.of(CHAINS[name])
    bulk = chain.rows(x, threads=2)
    for start, stop in ((0, 1), (1, 4), (1023, 1026), (2099, 2100)):
        assert np.array_equal(chain.rows(x[start:stop]), bulk[start:stop])
    assert np.array_equal(chain.queries(x[:3]), bulk[:3])


@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_pca_against_an_svd(d: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * rng.uniform(0.1, 3, d) + rng.standard_normal(d) * 5).astype(
        np.float32
    )
    width = int(rng.integers(1, d + 1))
    pca = PCA.fit([x[: n // 2], x[n // 2 :]] if n > 1 else x, width)
    held = pca.rows(x).astype(float)
    centred = x - x.astype(float).mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)[:width]
    got = np.sqrt((held**2).sum(axis=0))[: len(values)]
    assert np.allclose(got, values, atol=1e-4 * max(1.0, values[0]))
    if width == d:  # a rotation keeps distances
        assert np.allclose(
            np.linalg.norm(held - held[0], axis=1),
            np.linalg.norm(centred - centred[0], axis=1),
            atol=1e-3,
        )
    assert np.array_equal(pca.truncated(1).rows(x)[:, 0], pca.rows(x)[:, 0])


def test_directions_about_the_origin_keep_inner_products() -> None:
    x = vectors(200)
    pca = PCA.fit(x, D, centre=False)
    index = Index.build(table(x), metric="ip", transforms=[pca])
    found = index.search(x[0], 200)
    assert np.allclose(found.distances, -(x.astype(float) @ x[0])[found.ids], atol=1e-4)
    with pytest.raises(InputError, match="centre=False"):
        Index.build(table(x), metric="ip", transforms=[PCA.fit(x, 4)])


def test_whitening_gives_variance_one() -> None:
    x = vectors(5000)
    held = Whitening.fit(x, 12).rows(x)
    assert np.allclose(np.cov(held.T, bias=True), np.eye(12), atol=1e-3)
    with pytest.raises(InputError, match="all alike"):
        Whitening.fit(np.ones((9, 3)), 1)
    with pytest.raises(InputError, match="vary along 2 only"):
        Whitening.fit(np.column_stack([vectors(9, 2), np.zeros(9)]), 3)


@pytest.mark.parametrize(("metric", "shift"), [("ip", 0.0), ("ip", 0.7)])
def test_adapters_share_one_index_of_plain_vectors(metric: str, shift: float) -> None:
    rng = np.random.default_rng(2)
    x, q = vectors(500), vectors(4, seed=8)
    index = Index.build(table(x), metric=metric)
    for seed in range(3):
        adapter = AffineAdapter(rng.uniform(-2, 2, D), rng.standard_normal(D) * shift)
        folded = index.search(adapter.fold(q), 5, exact=True)
        stored = Index.build(table(x), metric=metric, transforms=[adapter], calibration="default")
        for one, hits in zip(q, folded, strict=True):
            ours = adapter.rows(x).astype(float) @ adapter.queries(one[None])[0].astype(float)
            want = np.lexsort((np.arange(500), -ours))[:5]
            assert hits.ids.tolist() == want.tolist(), seed
            assert stored.search(one, 5, exact=True).ids.tolist() == want.tolist()
            distances = adapter.unfolded(one, hits.distances)
            assert np.allclose(distances, -ours[want], rtol=1e-5, atol=1e-4)


# -- what cannot be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PCA.fit(vectors(9), D + 1), "width is 25, expected 1 to 24"),
        (lambda: PCA.fit(vectors(9), 0), "width is 0"),
        (lambda: PCA.fit([], 3), "no vectors"),
        (lambda: PCA.fit(np.zeros((0, 4)), 3), r"expected an array \[rows, dimensions\]"),
        (lambda: PCA.fit(np.full((3, 4), np.nan), 3), "row 0 holds NaN"),
        (lambda: PCA.fit([vectors(3), vectors(3, 7)], 3), "batch 1 has 7 dimensions"),
        (lambda: PCA.fit(np.array([["a"]]), 1), "expected numbers"),
        (lambda: OrderedHead(np.ones((4, 4)), np.zeros(4), (3, 2)), "prefixes"),
        (lambda: OrderedHead(np.ones((4, 4)), np.zeros(4), (2, 4)).truncated(3), "no prefix of 3"),
        (lambda: OrderedHead(np.ones((4, 4)), np.zeros(3)), "do not fit"),
        (lambda: AffineAdapter(np.ones(3), np.ones(2)), "3 scales, but 2 shifts"),
        (lambda: SignedPower(4, 1.5), "power is 1.5"),
        (lambda: Normalise(0), "width is 0"),
        (lambda: Transforms([Normalise(4), Normalise(5)]), "takes vectors of 5 dimensions"),
        (lambda: Transforms([InnerProductToL2(4, 1.0), Normalise(6)]), "must be the last"),
        (lambda: Transforms.of("pca"), "expected a list of transforms"),
        (lambda: Transforms.of([3]), "is none; give transforms"),
        (lambda: NONE.save("x"), "no transforms to save"),
    ],
)
def test_fits_and_chains_that_make_no_sense(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_rows_and_queries_that_do_not_fit() -> None:
    x = vectors(40)
    index = Index.build(table(x), metric="l2", transforms=[PCA.fit(x, 4)])
    with pytest.raises(InputError, match="expected 24 dimensions"):
        index.search(x[0, :4])
    with pytest.raises(InputError, match=r"vectors have 4 dimensions, the first transform \(pca\)"):
        index.add(table(x[:, :4], 40))
    broken = x.copy()
    broken[7, 2] = np.nan
    with pytest.raises(InputError, match=r"row 7 \(id 47\) holds NaN"):
        index.add(table(broken, 40))
    with pytest.raises(InputError, match="first transform"):
        Index.build(table(vectors(9, 5)), transforms=[PCA.fit(x, 4)])
    with pytest.raises(InputError, match=r"row 3 \(id 3\): is zero"):
        Index.build(table(x * (np.arange(40) != 3)[:, None]), transforms=[Normalise(D)])
    alike = np.ones((5, D), np.float32)
    with pytest.raises(InputError, match=r"row 0 \(id 0\), once it is transformed, is zero"):
        Index.build(table(alike), metric="cosine", transforms=[PCA.fit(alike, 2)])
    same = Index.build(table(alike), metric="l2", transforms=[PCA.fit(alike, 2)])
    assert same.search(alike[0], 5).ids.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="not for a store"):
        tables = np.ones((4, 8), np.float32), np.ones((3, 8), np.float32)
        store = fanns.stores.QuotientRemainder(tables, rows=12)
        Index.build(None, vectors=store, metric="ip", transforms=[Normalise(16)])
    with pytest.raises(InputError, match="too little for lorentz"):
        Index.build(table(x), metric="lorentz", transforms=[Lorentz(D)], keep_originals=False)


# -- files ------------------------------------------------------------------------------------


def test_saved_chains_come_back(tmp_path: Path) -> None:
    everything = [*recipe(), AffineAdapter(np.ones(10), np.zeros(10)), InnerProductToL2(10, 9.0)]
    chain = Transforms(everything)
    chain.save(tmp_path / "t")
    again = Transforms.load(tmp_path / "t")
    assert again.digest == chain.digest
    x = vectors(30)
    assert np.array_equal(again.rows(x), chain.rows(x))
    with pytest.raises(fanns.FannsError, match="exists"):
        chain.save(tmp_path / "t")
    chain.save(tmp_path / "t", overwrite=True)
    with pytest.raises(NotAnIndexError, match="holds no transforms"):
        Transforms.load(tmp_path)


def damaged(folder: Path) -> list[tuple[Path, bytes]]:
    """Ways to damage the files of a chain."""
    told, values = folder / "transforms.json", folder / "transforms.bin"
    text, raw = told.read_text(), values.read_bytes()
    flipped = bytearray(raw)
    flipped[100] ^= 1
    changed = []
    for old, new in (
        ("pca", "pka"),
        ('"width": 4', '"width": 5'),
        ("float", "int"),
        ("<f4", "<f8"),
    ):
        changed.append((told, text.replace(old, new, 1).encode()))
    return [
        *changed,
        (told, b"{"),
        (told, b"[]"),
        (told, text.encode()[: len(text) // 2]),
        (values, raw[:-1]),
        (values, bytes(flipped)),
        (values, b""),
    ]


def test_damaged_chains_are_refused(tmp_path: Path) -> None:
    x = vectors(50)
    Index.build(table(x), metric="l2", transforms=[PCA.fit(x, 4)], path=tmp_path / "i.fanns")
    folder = tmp_path / "i.fanns" / "transforms"
    for path, content in damaged(folder):
        before = path.read_bytes()
        if content == before:
            continue
        path.write_bytes(content)
        with pytest.raises(CorruptIndexError):
            Transforms.load(folder)
        with pytest.raises(CorruptIndexError):
            fanns.open(tmp_path / "i.fanns")
        path.write_bytes(before)
    others = Transforms([PCA.fit(vectors(50, seed=4), 4)])
    others.save(folder, overwrite=True)
    with pytest.raises(CorruptIndexError, match="not what the index was built with"):
        fanns.open(tmp_path / "i.fanns")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(CorruptIndexError, match="missing"):
        fanns.open(tmp_path / "i.fanns")


def test_hostile_descriptions_are_refused(tmp_path: Path) -> None:
    Transforms(CHAINS["ordered head"]).save(tmp_path / "t")
    told = tmp_path / "t" / "transforms.json"
    text = json.loads(told.read_text())
    for change in (
        {"width": 2**70},
        {"width": -1},
        {"width": True},
        {"prefixes": [3, 2]},
        {"prefixes": "abc"},
        {"prefixes": [10**9]},
        {"kind": None},
    ):
        step = {**text["transforms"]["steps"][0], **change}
        told.write_text(json.dumps({**text, "transforms": {"steps": [step]}}))
        with pytest.raises(CorruptIndexError):
            Transforms.load(tmp_path / "t")
    for steps in ([], "x", [1] * 65, [3]):
        told.write_text(json.dumps({**text, "transforms": {"steps": steps}}))
        with pytest.raises(CorruptIndexError):
            Transforms.load(tmp_path / "t")


def test_no_row_can_be_the_query_from_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = vectors(60)
    path = tmp_path / "i.fanns"
    Index.build(table(x), transforms=[PCA.fit(x, 8)], path=path, metric="l2").close()
    assert run(["query", str(path), "--like", "3"]) == 1
    assert "held transformed (pca (24 -> 8))" in capsys.readouterr().err
    np.save(tmp_path / "q.npy", x[3])
    assert run(["query", str(path), "--vector-file", str(tmp_path / "q.npy"), "-k", "1"]) == 0
    assert "3" in capsys.readouterr().out
