"""Scans by codes of few bits on the device: queries, products and answers as on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fanns.bit_codes import BitCodes
from fanns.kernels import bits, bits_cuda, scan_bits_cuda
from fanns.kernels.bit_products import PLANES
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array, frozen, kernel
from fanns.kernels.jit_cuda import Workspace
from fanns.kernels.rotation import random_signs
from fanns.kernels.scan import APPROXIMATE, CODES, EXACT, FULL
from fanns.paths import NO_BUDGET
from fanns.paths.scan import ScanParameters, ScanPath
from tests.cuda_helpers import no_answers, selection, to_device, to_host, workspace
from tests.test_scan import select
from tests.test_scan_clusters_cuda import Rows, rows_of

N, D = 260, 70
HELD = {metric: rows_of(3, N, D, metric) for metric in (COSINE, L2, IP)}
QUERIES = np.random.default_rng(2).standard_normal((5, D)).astype(np.float32) * 3


@kernel
def prepare_on_cpu(
    queries: Array,
    metric: int,
    mean: Array,
    signs: Array,
    width: int,
    planes: Array,
    parameters: Array,
) -> None:
    for number in range(queries.shape[0]):
        bits.prepare_bits(
            queries[number], metric, mean, signs, width, planes[number], parameters[number]
        )


@pytest.mark.parametrize("metric", [COSINE, L2])
@pytest.mark.parametrize("width", bits.BITS)
@pytest.mark.parametrize("d", [1, 3, 64, 200])
def test_queries_are_prepared_as_on_the_cpu(metric: int, width: int, d: int) -> None:
    rng = np.random.default_rng(d)
    queries = rng.standard_normal((3, d)).astype(np.float32)
    queries[2] *= 0
    mean, signs = rng.standard_normal(d).astype(np.float32), random_signs(d, 1)
    _, words = bits.record_words(d, width)
    planes = np.full((3, PLANES + 1, words), 7, np.uint64)
    parameters = np.full((3, bits.PARAMETERS), np.nan)
    prepare_on_cpu(queries, metric, mean, signs, width, planes, parameters)
    query, on_mean, on_signs, turned, made, out = to_device(
        queries,
        mean,
        signs,
        np.full((3, signs.shape[1]), np.nan, np.float32),
        np.full((3, PLANES + 1, 8 * words), 7, np.uint8),
        np.full((3, bits.PARAMETERS), np.nan),
    )
    bits_cuda.prepare_bits(query, metric, on_mean, on_signs, width, turned, made, out, workspace())
    np.testing.assert_array_equal(to_host(made)[0].view(np.uint64), planes)
    np.testing.assert_allclose(to_host(out)[0], parameters, rtol=1e-13, atol=1e-300)


def codes_of(rows: Rows, width: int) -> BitCodes:
    centres, bounds = rows.centroids.centres, rows.bounds
    return BitCodes.build(rows.store, rows.codes.mean, 1, bounds, centres, bits=width)


def on_device(
    rows: Rows,
    held: BitCodes,
    queries: Array,
    masks: Array,
    form: str,
    k: int,
    shortlist: int,
    space: Workspace | None = None,
) -> list[Array]:
    number, *chosen = selection(masks, form)
    store, centroids, n = rows.store, rows.centroids, len(rows.array)
    labels = np.repeat(np.arange(len(centroids), dtype=np.int32), np.diff(rows.bounds))
    query, *selected = to_device(queries, *chosen)
    vectors, norms, ties, records, signs, *rest = to_device(
        store.vectors, store.norms, rows.ties, held.records, held.signs, labels,
        centroids.codes, centroids.scale, centroids.square, held.mean,
    )  # fmt: skip
    out = to_device(*no_answers(len(queries), k))
    given: list[Any] = [query, number, *selected, n, vectors, norms, rows.metric, ties]
    given += [records, signs, held.bits, *rest, shortlist, *out, space or workspace()]
    launch: Any = scan_bits_cuda.scan_bits
    launch(*given)
    return to_host(*out)


def check(
    rows: Rows, width: int, queries: Array, masks: Array, form: str, k: int, shortlist: int
) -> Array:
    """The device's answers are the CPU's; gives the statuses."""
    held = codes_of(rows, width)
    found = on_device(rows, held, queries, masks, form, k, shortlist)
    path = ScanPath(rows.store, rows.codes, rows.ties, (held, rows.centroids))
    for i in range(len(queries)):
        mask = masks[i if len(masks) > 1 else 0]
        query, chosen = frozen(queries[i : i + 1]), select(mask, "words")
        expected = path.search(query, chosen, k, ScanParameters(0, bits=shortlist), NO_BUDGET)
        pairs: list[tuple[Any, Any]] = list(zip(found[:4], expected[:4], strict=True))
        for part, wanted in pairs:
            np.testing.assert_array_equal(part[i], wanted[0])
        count = int(mask.sum())
        assert found[4][i, CODES] == count and found[4][i, FULL] == min(count, shortlist)
    return found[3]


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("width", bits.BITS)
def test_answers_are_the_cpus(metric: int, width: int) -> None:
    masks = np.random.default_rng(5).random((1, N)) < 0.5
    status = check(HELD[metric], width, QUERIES, masks, "words", 4, 14)
    assert (status == APPROXIMATE).all()


@pytest.mark.parametrize("form", ["all", "rows", "words"])
def test_every_form_of_a_selection(form: str) -> None:
    share = 1.0 if form == "all" else 0.4
    masks = np.random.default_rng(6).random((1, N)) < share
    check(HELD[L2], 2, QUERIES[:1], masks, form, 4, 14)


def test_each_query_has_its_own_filter() -> None:
    share = np.array([[0.0], [0.03], [0.2], [0.7], [1.0]])
    masks = np.random.default_rng(7).random((5, N)) < share
    for width in (1, 2):
        status = check(HELD[COSINE], width, QUERIES, masks, "words", 4, 14)
        assert status.tolist() == [EXACT, EXACT, APPROXIMATE, APPROXIMATE, APPROXIMATE]


@pytest.mark.parametrize("n", [1, 70])
@pytest.mark.parametrize("d", [1, 65])
def test_few_rows_and_dimensions(n: int, d: int) -> None:
    rows = rows_of(n, n, d, L2)
    queries = np.random.default_rng(d).standard_normal((2, d)).astype(np.float32)
    for width in (1, 4):
        check(rows, width, queries, np.ones((1, n), bool), "all", 4, 8)


def test_equal_rows_tie_by_id() -> None:
    ties = np.random.default_rng(0).permutation(90).astype(np.int64)
    rows = Rows(np.ones((90, 5), np.float32), L2, ties)
    found = on_device(rows, codes_of(rows, 2), rows.array[:1], np.ones((1, 90), bool), "all", 7, 90)
    np.testing.assert_array_equal(ties[found[0][0]], np.arange(7))


def test_workspaces_are_as_large_as_they_are_told() -> None:
    rows, held = HELD[L2], codes_of(HELD[L2], 2)
    clusters, record = len(rows.centroids), held.records.shape[1]
    for m, k, one in ((1, 5, True), (5, 3, True), (4, 2, False)):
        given = (m, k, N, D, record, clusters, 14, one)
        nbytes = scan_bits_cuda.scan_bits_bytes(*given, workspace())
        masks = np.ones((1 if one else m, N), bool)
        space = workspace(nbytes=nbytes)
        found = on_device(rows, held, QUERIES[:m], masks, "words", k, 14, space)
        assert (found[2] == k).all()
