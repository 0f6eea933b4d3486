"""Vectors at the door: what is accepted, what is refused and how the message says so."""

import numpy as np
import pytest

from fanns.errors import InputError
from fanns.kernels.distance import COSINE, IP, L2
from fanns.vectors import DenseVectors, accept_queries, accept_vectors, check_vectors


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("d", [1, 63, 64, 65])
def test_store_keeps_type_and_lengths(dtype: str, d: int) -> None:
    array = (np.random.default_rng(d).uniform(1, 100, (9000, d))).astype(dtype)
    store = DenseVectors.from_array(array, COSINE, threads=2)
    assert store.vectors.dtype == dtype
    assert (store.n, store.d, store.metric) == (9000, d, COSINE)
    np.testing.assert_allclose(store.norms, np.linalg.norm(array.astype(np.float64), axis=1))
    rows = np.array([8999, 0, 5])
    np.testing.assert_array_equal(store.decode(rows), array[rows].astype(np.float32))
    assert store.decode(rows).dtype == np.float32
    again = DenseVectors.load(store.arrays(), COSINE)
    np.testing.assert_array_equal(again.vectors, array)
    np.testing.assert_array_equal(again.take(rows).norms, store.norms[rows])
    assert store.nbytes == array.nbytes + 8 * 9000
    assert not store.vectors.flags.writeable


def test_lengths_do_not_depend_on_threads() -> None:
    array = np.random.default_rng(0).standard_normal((10_000, 37)).astype(np.float32)
    one, two = (check_vectors(array, L2, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("metric", [COSINE, L2, IP])
def test_not_a_number_names_the_first_row_and_counts(
    dtype: str, value: float, word: str, metric: int
) -> None:
    array = np.ones((9000, 5), dtype)
    array[[7001, 8000], [2, 4]] = value
    with pytest.raises(InputError, match=rf"row 7001 holds {word} \(2 rows"):
        check_vectors(array, metric)


def test_infinities_of_both_signs_in_one_row_are_found() -> None:
    array = np.ones((3, 2), np.float32)
    array[1] = [np.inf, -np.inf]
    with pytest.raises(InputError, match="row 1 holds infinity"):
        check_vectors(array, IP)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_zero_vector_is_refused_under_cosine_only(dtype: str) -> None:
    array = np.ones((10, 3), dtype)
    array[[4, 6]] = 0
    with pytest.raises(InputError, match=r"row 4 is zero \(2 rows\)"):
        check_vectors(array, COSINE)
    assert check_vectors(array, L2)[4] == 0
    assert check_vectors(array, IP)[4] == 0


def test_rows_can_be_named_by_the_caller() -> None:
    array = np.zeros((1, 3), np.float32)
    with pytest.raises(InputError, match="the vector of id 'a7' is zero"):
        check_vectors(array, COSINE, name=lambda row: "id 'a7'")


def test_smallest_and_largest_numbers_pass() -> None:
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    array = np.array([[tiny, 0], [huge, huge]], np.float32)
    assert (check_vectors(array, COSINE) > 0).all()
    half = np.array([[np.finfo(np.float16).smallest_subnormal, 0], [65_504, 65_504]], np.float16)
    np.testing.assert_allclose(check_vectors(half, COSINE), [2.0**-24, 65_504 * np.sqrt(2)])


def test_float64_is_rounded_and_overflow_refused() -> None:
    array = np.full((5, 2), 0.1)
    assert accept_vectors(array).dtype == np.float32
    array[3, 1] = 1e39
    with pytest.raises(InputError, match=r"row 3 holds a value beyond float32's range \(1 such"):
        accept_vectors(array)


def test_byte_order_and_layout_are_normalised() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::-1]
    result = accept_vectors(array)
    assert result.dtype == np.float32 and result.dtype.isnative
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "complex64", "object", "U3"])
def test_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(InputError, match=r"expected float32, float16 or int8.*astype"):
        accept_vectors(np.zeros((2, 2), dtype))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (3, 0), (1, 70_000)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="vectors: "):
        accept_vectors(np.zeros(shape, np.int8))


def test_no_rows() -> None:
    store = DenseVectors.from_array(np.empty((0, 4), np.float32), COSINE)
    assert (store.n, store.d) == (0, 4)
    assert len(store.norms) == 0


def test_queries_become_float32() -> None:
    for query in ([1, 2, 3], np.array([1, 2, 3], np.float16), np.array([[1.0, 2.0, 3.0]])):
        result = accept_queries(query, 3, COSINE)
        assert result.dtype == np.float32 and result.flags.c_contiguous
        np.testing.assert_array_equal(result, [[1, 2, 3]])


def test_read_only_queries_are_copied() -> None:
    query = np.ones((2, 3), np.float32)
    assert accept_queries(query, 3, L2) is query
    query.setflags(write=False)
    assert accept_queries(query, 3, L2).flags.writeable


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([1.0, 2.0], "expected 3 dimensions"),
        (np.zeros((2, 2, 3)), "expected 3 dimensions"),
        ([1.0, np.nan, 2.0], "query 0 holds NaN"),
        ([[1.0, 1.0, 1.0], [1.0, np.inf, 2.0]], "query 1 holds"),
        ([1.0, 1e39, 2.0], "beyond float32"),
        ([0.0, 0.0, 0.0], "query 0 is zero"),
        (["a", "b", "c"], "expected numbers"),
        ([True, False, True], "expected numbers"),
    ],
)
def test_bad_queries_are_refused(query: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        accept_queries(query, 3, COSINE)
