"""Builds on a device: the same files, but for the links of the graph."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.bench.build_stages import timed_build
from fanns.codes import Int8Codes
from fanns.computing import Processor
from fanns.device import loops as device_loops
from fanns.device.loops import SPARE, DeviceLoops
from fanns.device.residency import budget_on
from fanns.errors import DeviceError, InputError
from fanns.kernels.distance import COSINE
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import Workspace, cuda_host
from fanns.vectors import DenseVectors


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the simulator runs soonest."""
    monkeypatch.setattr(device_loops, "Workspace", partial(Workspace, threads=32))


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
    data = table(20, dtype=dtype)
    data["embedding"] = (table(20)["embedding"] * 9).astype(dtype) + np.array(1, dtype)
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
    """Budgets in which a part of the rows fits at a time, or all of them, or they may stay."""
    store = DenseVectors.from_array(table(130, 3)["embedding"], COSINE)
    expected, cpu = Int8Codes.build(store), Processor()
    rows = np.arange(1, 130, 2, dtype=np.int32)
    labels = (rows % 3).astype(np.int32)
    near = np.zeros((2, 64), np.int8), np.ones((2, PARAMETERS))
    coded = (expected.codes, expected.scale, expected.square)
    for budget, pieces in ((SPARE + 7_000, 3), (SPARE + 60_000, 1)):
        loops = DeviceLoops(cuda_host, budget)
        heard: list[int] = []
        codes = Int8Codes.build(store, progress=heard.append, loops=loops)
        assert len(heard) == pieces and heard[-1] == 130
        np.testing.assert_array_equal(codes.codes, expected.codes)
        sums = loops.add_rows(store, rows, labels, 3)
        np.testing.assert_array_equal(sums, cpu.add_rows(store, rows, labels, 3))
        for a, b in zip(loops.nearest(*coded, *near), cpu.nearest(*coded, *near), strict=True):
            np.testing.assert_array_equal(a, b)


def test_dropped_arrays_are_freed_before_more_is_taken() -> None:
    """numba waits until there are several: a piece would be held long after its turn."""

    class Pending:
        freed = 0

        def clear(self) -> None:
            self.freed += 1

    class Context:
        memory_manager = SimpleNamespace(deallocations=Pending())

        def get_memory_info(self) -> tuple[int, int]:
            return 1000, 2000

    context = Context()
    cuda = SimpleNamespace(current_context=lambda: context)
    assert budget_on(cuda, None) == 900
    loops = DeviceLoops(cuda, SPARE + 1000)
    assert len(list(loops._bounds(256, 4, 0))) == 4
    assert context.memory_manager.deallocations.freed == 5


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


def test_stages_are_timed() -> None:
    options: dict[str, Any] = {"calibration": "default", "bits": 0}
    for device in ("cpu", "cuda"):
        index, seconds = timed_build(table(9, 3), device=device, **options)
        assert len(index) == 9 and {"cluster", "encode", "attributes"} < seconds.keys()
        parts = [value for name, value in seconds.items() if name != "total"]
        assert min(parts) >= 0 and sum(parts) == pytest.approx(seconds["total"])
