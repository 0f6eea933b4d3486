"""Builds on a device: the same files, but for the links of the graph."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.device.loops import SPARE, DeviceLoops
from fanns.errors import DeviceError, InputError
from fanns.kernels.distance import COSINE
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import cuda_host
from fanns.vectors import DenseVectors


def table(n: int, d: int = 8, dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    centres = rng.standard_normal((5, d))
    vectors = centres[rng.integers(0, 5, n)] + 0.3 * rng.standard_normal((n, d))
    return {"embedding": vectors.astype(dtype), "year": rng.integers(1990, 2020, n)}


def arrays_of(index: Any) -> list[dict[str, Array]]:
    segments = index._snapshot.segments
    return [{name: np.asarray(one.arrays[name]) for name in one.arrays} for one in segments]


def check_same(one: Any, other: Any) -> None:
    for a, b in zip(arrays_of(one), arrays_of(other), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize(
    ("metric", "dtype", "bits"),
    [("cosine", np.float32, 2), ("l2", np.float16, 4), ("ip", np.int8, 1)],
)
def test_the_same_arrays(metric: str, dtype: Any, bits: int) -> None:
    data = table(30, dtype=dtype)
    data["embedding"] = (table(30)["embedding"] * 9).astype(dtype) + np.array(1, dtype)
    options: dict[str, Any] = {"metric": metric, "bits": bits, "calibration": "default"}
    options["vector"] = "embedding"
    plain = fanns.Index.build(data, **options)
    heard: list[str] = []
    built = fanns.Index.build(
        data, device="cuda", progress=lambda stage, *_: heard.append(stage), **options
    )
    check_same(plain, built)
    assert built.info()["segments"][0]["built_on"] == "cuda:0" and built.info()["device"] == "cpu"
    assert plain.info()["segments"][0]["built_on"] == "cpu"
    assert "encode on cuda:0" in heard and "cluster on cuda:0" in heard


def test_the_same_file_and_few_rows(tmp_path: Path) -> None:
    for n in (1, 2, 5):
        data = pa.table({"embedding": list(table(n, 3)["embedding"]), "year": [2000] * n})
        file = tmp_path / f"{n}.parquet"
        pa.parquet.write_table(data, file)
        plain = fanns.Index.build(file, path=tmp_path / f"cpu-{n}", calibration="default")
        built = fanns.Index.build(
            file, path=tmp_path / f"gpu-{n}", calibration="default", device="cuda:0"
        )
        check_same(plain, built)
        assert built.info()["segments"][0]["built_on"] == "cuda:0"


def test_rows_that_do_not_fit_come_in_pieces() -> None:
    """A budget in which only a part of the rows fits at a time."""
    vectors = table(130, 5)["embedding"]
    store = DenseVectors.from_array(vectors, COSINE)
    plain = cluster_order(store, COSINE, 3, most=2)
    for budget in (SPARE + 12_000, SPARE + 30_000):
        loops = DeviceLoops(cuda_host, budget)
        heard: list[int] = []
        codes = Int8Codes.build(store, progress=heard.append, loops=loops)
        assert (len(heard) > 1) == (budget < SPARE + 20_000) and heard[-1] == 130
        np.testing.assert_array_equal(codes.codes, Int8Codes.build(store).codes)
        if budget > SPARE + 20_000:
            made = cluster_order(store, COSINE, 3, most=2, loops=loops)
            for a, b in zip(plain, made, strict=True):
                np.testing.assert_array_equal(a, b)


def test_too_little_memory_and_bad_names_are_told() -> None:
    data = table(40)
    with pytest.raises(DeviceError, match="needs 68 MB there, and 10 MB may be taken"):
        fanns.Index.build(data, device="cuda", device_memory="10MB")
    with pytest.raises(InputError, match="device is 'gpu'"):
        fanns.Index.build(data, device="gpu")
    with pytest.raises(InputError, match="device_memory"):
        fanns.Index.build(data, device="cuda", device_memory="much")
    with pytest.raises(DeviceError, match='"cuda:7"'):
        fanns.Index.build(data, device="cuda:7")
