"""Scans by product codes on the device, as the CPU's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fanns.kernels import pq_cuda, scan_pq_cuda
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array, frozen
from fanns.kernels.jit_cuda import Workspace
from fanns.pq_codes import PQCodes
from tests.cuda_helpers import bitmaps, to_device, to_host, workspace
from tests.test_scan_clusters_cuda import Rows, rows_of

N, D = 300, 37
HELD = {metric: rows_of(4, N, D, metric) for metric in (COSINE, L2, IP)}
QUERIES = np.random.default_rng(2).standard_normal((3, D)).astype(np.float32) * 3


def codes_of(rows: Rows, bits: int, rotation: str = "none", parts: int | None = None) -> PQCodes:
    around = (rows.centroids.centres, rows.bounds)
    return PQCodes.build(rows.store, rows.codes.mean, 1, bits, parts, rotation, *around)


def on_device(
    held: PQCodes, queries: Array, masks: Array, limit: int, space: Workspace | None = None
) -> list[Array]:
    """Rows and keys."""
    labels = np.repeat(np.arange(len(held.centroids), dtype=np.int32), np.diff(held.offsets))
    query, mean, rotation, books, *rest = to_device(
        queries, held.mean, held.rotation, held.books, held.centroids, labels, bitmaps(masks),
        held.codes, held.fields,
    )  # fmt: skip
    m = len(queries)
    out = to_device(np.full((m, limit), -7, np.int32), np.full((m, limit), np.nan))
    given: list[Any] = [query, held.metric, mean, rotation, books, *rest, *out]
    launch: Any = scan_pq_cuda.scan_pq
    launch(*given, space or workspace())
    return to_host(*out)


def check(held: PQCodes, queries: Array, masks: Array, limit: int) -> None:
    """The device's rows are the CPU's, and 4-bit keys have its bits."""
    rows, keys = on_device(held, queries, masks, limit)
    words = bitmaps(masks)
    for i in range(len(queries)):
        one, own = frozen(queries[i : i + 1]), words[i if len(words) > 1 else 0]
        expected, expected_keys = held.nearest(one, own, limit)
        np.testing.assert_array_equal(rows[i], expected[0])
        if held.size == 16:
            np.testing.assert_array_equal(keys[i], expected_keys[0])
        np.testing.assert_allclose(keys[i], expected_keys[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("bits", [4, 8])
def test_rows_and_keys_are_the_cpus(metric: int, bits: int) -> None:
    masks = np.random.default_rng(5).random((1, N)) < 0.5
    check(codes_of(HELD[metric], bits), QUERIES, masks, 12)


@pytest.mark.parametrize("rotation", ["random", "opq"])
@pytest.mark.parametrize("bits", [4, 8])
def test_rotated_codes(rotation: str, bits: int) -> None:
    check(codes_of(HELD[L2], bits, rotation), QUERIES[:2], np.ones((1, N), bool), 9)


@pytest.mark.parametrize("bits", [4, 8])
def test_each_query_has_its_own_filter(bits: int) -> None:
    masks = np.random.default_rng(7).random((3, N)) < np.array([[0.0], [0.03], [0.8]])
    check(codes_of(HELD[L2], bits), QUERIES, masks, 12)


@pytest.mark.parametrize("n", [1, 65])
@pytest.mark.parametrize("parts", [1, 3])
def test_few_rows_and_dimensions(n: int, parts: int) -> None:
    rows = rows_of(n, n, 3, L2)
    queries = np.random.default_rng(n).standard_normal((2, 3)).astype(np.float32)
    for bits in (4, 8):
        check(codes_of(rows, bits, "none", parts), queries, np.ones((1, n), bool), 70)


def test_equal_keys_go_by_row_and_a_query_of_zeros_harms_nothing() -> None:
    rows = Rows(np.ones((130, 4), np.float32), L2)
    for query in (rows.array[:1], rows.array[:1] * 0):
        found, _ = on_device(codes_of(rows, 4), query, np.ones((1, 130), bool), 9)
        np.testing.assert_array_equal(found[0], np.arange(9))


def test_tables_that_do_not_fit_are_read_where_they_are() -> None:
    """Of 37 sub-quantizers of 8 bits, 38 KB of tables beside the lists."""
    held = codes_of(HELD[COSINE], 8, "none", D)
    check(held, QUERIES[:1], np.ones((1, N), bool), 600)
    check(held, QUERIES[:1], np.ones((1, N), bool), 5)


def test_what_does_not_fit_is_told() -> None:
    held, masks = codes_of(HELD[L2], 4), np.ones((1, N), bool)
    with pytest.raises(ValueError, match="k = 1025: scans on the device keep 1 to 1024"):
        on_device(held, QUERIES, masks, 1025)
    with pytest.raises(MemoryError, match="make one of at least"):
        on_device(held, QUERIES, masks, 5, workspace(nbytes=512))


def test_workspaces_are_as_large_as_they_are_told() -> None:
    held = codes_of(HELD[L2], 4)
    for m, k in ((1, 5), (3, 20)):
        shape, clusters = held.books.shape, len(held.centroids)
        blocks = -(-N // 64)
        nbytes = scan_pq_cuda.scan_pq_bytes(m, D, k, blocks, clusters, shape, workspace())
        masks = np.ones((1, N), bool)
        rows, _ = on_device(held, QUERIES[:m], masks, k, workspace(nbytes=nbytes))
        assert (rows >= 0).all()


def test_products_are_rounded_before_they_are_added() -> None:
    """In the simulator as numpy does it; the check of types compiles the instruction."""
    x = np.float32(1.0000001)
    assert pq_cuda.rounded32(x, x) == np.float32(x * x)
    assert pq_cuda.rounded64(0.1, 0.1) == 0.1 * 0.1
