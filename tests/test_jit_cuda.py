"""Launches, workspaces and the simulator that CUDA kernels are proved in."""

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.kernels import jit_cuda
from fanns.kernels.jit_cuda import ALL_LANES, SIMULATED, bytes_of, cuda, kernel
from tests.cuda_helpers import to_device, to_host, workspace

simulated = pytest.mark.skipif(not SIMULATED, reason="there is a GPU: this is about the simulator")


def test_importing_fanns_leaves_cuda_alone() -> None:
    """Neither numba's CUDA target nor a driver is touched before somebody asks for a device."""
    code = "import sys, fanns; print(sorted(m for m in sys.modules if 'cuda' in m or 'gpu' in m))"
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_a_workspace_lends_the_same_memory_again() -> None:
    space = workspace(nbytes=4096)
    with space.frame():
        first = space.take((3, 5), np.float64)
        second = space.take((7,), np.int32)
        assert first.shape == (3, 5) and second.shape == (7,)
        with space.frame():
            third = space.take((2,), np.uint8)
        assert space.take((2,), np.uint8) is third
    with space.frame():
        assert space.take((3, 5), np.float64) is first
    assert bytes_of(((3, 5), np.float64), ((7,), np.int32), ((0,), np.int8)) == 512


def test_a_workspace_that_is_too_small_says_how_large_it_must_be() -> None:
    space = workspace(nbytes=4096)
    with space.frame():
        space.take((1024,), np.uint8)
        with pytest.raises(MemoryError, match=r"4096 bytes is too small .* at least 9024 bytes"):
            space.take((1000,), np.float64)


def test_a_workspace_keeps_so_many_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit_cuda, "VIEWS", 3)
    space = workspace(nbytes=4096)
    for size in [*range(1, 9), 1]:
        with space.frame():
            assert space.take((size,), np.int32).shape == (size,)
        assert len(space._views) <= 3


def test_small_launches_do_not_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba warns of fewer than 128 blocks, when a launch is configured."""
    name = "CUDA_LOW_OCCUPANCY_WARNINGS"
    seen = []

    class Asking:
        label = "asking"

        def __getitem__(self, configuration: tuple[object, ...]) -> Callable[[], None]:
            seen.append(getattr(numba.config, name))
            return lambda: seen.append(getattr(numba.config, name))

    monkeypatch.setattr(numba.config, name, 1)
    workspace().launch(Asking(), 1)
    assert seen == [0, 1]


def test_odd_sizes_of_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="48 threads a block: not one of"):
        workspace(threads=48)


@kernel
def _each_step(values: np.ndarray, out: np.ndarray) -> None:
    value, lane = values[cuda.threadIdx.x], cuda.laneid
    out[0, cuda.threadIdx.x] = cuda.shfl_xor_sync(ALL_LANES, value, 5)
    out[1, cuda.threadIdx.x] = cuda.shfl_sync(ALL_LANES, value, 3)
    out[2, cuda.threadIdx.x] = np.float64(cuda.ballot_sync(ALL_LANES, lane % 3 == 0))
    out[3, cuda.threadIdx.x] = cuda.syncthreads_or(np.int32(cuda.threadIdx.x == 40))


def test_warps_and_blocks_exchange_values() -> None:
    values, out = to_device(np.arange(64, dtype=np.float64) * 10, np.empty((4, 64)))
    workspace(64).launch(_each_step, 1, values, out)
    xor, third, ballot, both = to_host(out)[0]
    number = np.arange(64)
    assert (xor == (number ^ 5) * 10).all()
    assert (third == (number // 32 * 32 + 3) * 10).all()
    assert (ballot == sum(1 << i for i in range(0, 32, 3))).all()
    assert (both == 1).all()


@kernel
def _without_a_barrier(out: np.ndarray) -> None:
    values = cuda.shared.array(64, np.int64)
    values[cuda.threadIdx.x] = cuda.threadIdx.x
    out[cuda.threadIdx.x] = values[63 - cuda.threadIdx.x]


@kernel
def _at_different_barriers(out: np.ndarray) -> None:
    if cuda.threadIdx.x == 0:
        cuda.syncwarp()
    else:
        cuda.syncthreads()


@simulated
def test_the_simulator_shows_what_is_wrong_on_a_device() -> None:
    (out,) = to_device(np.empty(64, np.int64))
    workspace(64).launch(_without_a_barrier, 1, out)
    assert (to_host(out)[0] != np.arange(64)[::-1]).any()
    with pytest.raises(RuntimeError, match="threads wait at different barriers"):
        workspace(64).launch(_at_different_barriers, 1, out)
    with pytest.raises(TypeError, match=r"a host array int64\[64\] given to a kernel"):
        workspace(64).launch(_without_a_barrier, 1, np.empty(64, np.int64))


@simulated
def test_the_simulator_refuses_launches_that_no_device_takes() -> None:
    (out,) = to_device(np.empty(64, np.int64))
    with pytest.raises(TypeError, match="launches take Python's integers"):
        workspace(64).launch(_without_a_barrier, np.int64(1), out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a launch of"):
        workspace(64).launch(_without_a_barrier, (1, 65_536), out)


@kernel
def _ballot(out: np.ndarray) -> None:
    found = cuda.ballot_sync(ALL_LANES, cuda.threadIdx.x == 31)
    out[cuda.threadIdx.x] = found


def test_ballots_are_signed() -> None:
    """As numba types them: who widens one without a sign makes it unsigned first."""
    (out,) = to_device(np.empty(32, np.int64))
    workspace(32).launch(_ballot, 1, out)
    assert to_host(out)[0].tolist() == [-(2**31)] * 32


def test_kernels_are_kept_by_their_sources_and_what_compiled_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Device:
        compute_capability = (9, 0)

    name = "get_current_device"  # which the simulator has not
    monkeypatch.setattr(jit_cuda.cuda_host, name, lambda: Device, raising=False)
    disk = jit_cuda._Disk("test")
    keys = [disk._key("signature")]
    for name in ("_sources", "_compiler"):
        monkeypatch.setattr(jit_cuda, name, lambda: "another")
        keys.append(disk._key("signature"))
    assert len(set(keys)) == 3


@simulated
@given(*[st.floats(-1e30, 1e30, allow_subnormal=False)] * 3)
def test_fused_multiply_add_rounds_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if abs(a * b) > 1e-290 or a * b == exact == 0:
        assert cuda.fma(a, b, c) == float(exact)
