"""Kernels have types that numba can compile for a device, which the simulator does not look at."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanns.codes import Int8Codes
from fanns.kernels import bitset, bitset_cuda
from fanns.kernels.bits import BITS
from fanns.kernels.distance import COSINE, L2
from fanns.kernels.filter_cuda import filter_rows
from fanns.kernels.filter_program import AND, CODES, LISTS
from fanns.kernels.graph_answer import ONE_HOP, TWO_HOP
from fanns.kernels.jit_cuda import SIMULATED, Workspace
from fanns.kernels.turns_cuda import add_work, assign_plans, fall_back
from fanns.paths.clusters import ClusterParameters
from fanns.vectors import DenseVectors
from tests import (
    test_codes_cuda,
    test_graph_search_cuda,
    test_native_cuda,
    test_product_keys_cuda,
    test_product_scan_cuda,
    test_scan_bits_cuda,
    test_scan_clusters_cuda,
    test_scan_cuda,
    test_scan_pq_cuda,
)
from tests import test_encode_cuda as encoding
from tests import test_graph_building_cuda as graph_building
from tests import test_kmeans_cuda as clustering
from tests.cuda_helpers import bitmaps, to_device, workspace
from tests.graph_helpers import clustered
from tests.store_helpers import make as make_store

ROOT = Path(__file__).resolve().parents[1]
PROBE = """
import numba.cuda as cuda
def nothing(x):
    x[0] = 1
cuda.compile_ptx(nothing, "void(int32[::1])", cc=(9, 0))
"""


def without_simulator(script: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, *script]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env=environment
    )


def told(argument: Any) -> Any:
    """An argument's type as cuda_compile.py reads it."""
    if isinstance(argument, tuple):
        kind = type(argument)
        name = [kind.__module__, kind.__name__] if hasattr(argument, "_fields") else None
        return ["tuple", name, [told(part) for part in argument]]
    if hasattr(argument, "dtype") and hasattr(argument, "shape") and argument.shape != ():
        return ["array", str(argument.dtype), len(argument.shape)]
    return "float64" if isinstance(argument, float) else "int64"


def place_of(kernel: Any) -> tuple[str, str, Any]:
    """Module, name and key by which a kernel is found."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("fanns.kernels.") and module_name.endswith("_cuda"):
            for name, value in vars(module).items():
                if value is kernel and module_name == kernel.py_func.__module__:
                    return module_name, name, None
                for key in value if isinstance(value, dict) and name == "_SCANNERS" else ():
                    if value[key] is kernel:
                        return module_name, name, key
    raise LookupError(kernel.__name__)


def run_everything() -> None:
    """Launch every kernel with all the types that it is made for, on very little."""
    masks = np.ones((1, 40), bool)
    for dtype in test_scan_cuda.TYPES:
        for m in (1, 2):
            queries, array, ties = test_scan_cuda.batch(1, m, 40, 5, dtype)
            test_scan_cuda.on_device(queries, array, masks, "words", COSINE, 3, ties)
            store = DenseVectors.from_array(array, L2)
            test_codes_cuda.check(store, queries, masks, "words", 2, 8, ties)
    for kind in encoding.TYPES:
        array = encoding.rows(3, 5, kind)
        encoding.check_int8(array, COSINE)
        encoding.check_bits(array, L2, 2)
        encoding.check_products(array, COSINE)
        clustering.check_sums(array, COSINE)
    codes = Int8Codes.build(DenseVectors.from_array(encoding.rows(3, 5), L2))
    clustering.check_nearest(codes, np.ones((2, 5)))
    for m in (1, 2):
        queries, array, _ = test_scan_cuda.batch(1, m, 40, 5, "float32")
        test_product_scan_cuda.both(queries, array, masks[0], COSINE, 3, 8, 2)
    for mode in (ONE_HOP, TWO_HOP):
        graph = test_graph_search_cuda.graph(L2)
        test_graph_search_cuda.on_device(graph, L2, None, mode)
    rows = test_scan_clusters_cuda.HELD[L2]
    parameters = ClusterParameters((9.0, 5.0), 9.0, 8)
    test_scan_clusters_cuda.on_device(rows, rows.array[:1], None, parameters, 2)
    for width in BITS:
        held = test_scan_bits_cuda.codes_of(rows, width)
        for m in (1, 2):
            asked, every = rows.array[:m], np.ones((1, len(rows.array)), bool)
            test_scan_bits_cuda.on_device(rows, held, asked, every, "all", 2, 8)
    for width in (4, 8):
        products = test_scan_pq_cuda.codes_of(rows, width, "random")
        test_scan_pq_cuda.on_device(
            products, rows.array[:1], np.ones((1, len(rows.array)), bool), 2
        )
    for name in ("concat", "stored", "masked"):
        table = make_store(name, 10, np.random.default_rng(1), 12)[0]
        for m in (1, 2):
            some: Any = (np.ones((1, 10), bool), "words", 3, np.arange(10))
            test_native_cuda.scanned(table, np.ones((m, 12), np.float32), L2, *some)
    keys = test_product_keys_cuda.tables(1, (5, 4, 3, 2))
    asked = test_product_keys_cuda.asked(keys, 1)
    test_product_keys_cuda.on_device(asked, L2, keys, 3)
    for way in test_product_keys_cuda.ways(np.ones(20, bool)):
        test_product_keys_cuda.on_device(asked, L2, keys, 3, *way)
    words, listed, out = to_device(bitmaps(masks), np.empty(40, np.int32), np.empty(2, np.int64))
    space = workspace()
    bitset_cuda.count(words, out, space)
    bitset_cuda.rows_of_words(words, listed, out, space)
    bitset_cuda.set_rows(listed, out, words, space)
    bitset_cuda.combine(words, words, bitset.AND, words, space)
    bitset_cuda.invert(words, 40, words, space)
    (counts,) = to_device(np.empty((1, 1), np.int64))
    bitset_cuda.count_ranges(words, out, counts, space)
    program = np.array([[CODES, 0, 0, 2], [LISTS, 0, 0, 2], [AND, 0, 0, 0]], np.int32)
    starts, bounds = np.array([0, 3], np.int32), np.array([0, 5], np.int32)
    columns, lists = np.ones((1, 40), np.int32), np.arange(41)[None]
    given: Any = to_device(program, starts, bounds, columns, lists, columns[0], bitmaps(masks))
    rest: Any = (40, words, space)
    filter_rows(*given, *rest)
    plans, work = to_device(np.empty(2, np.int8), np.empty((2, 4), np.int64))
    assign_plans(counts[0], out, plans, work, space)
    fall_back(plans, 2, 0, plans, space)
    add_work(plans, 0, work, work, space)


@pytest.mark.slow
@pytest.mark.skipif(not SIMULATED, reason="there is a GPU: the kernels' own tests compile them")
def test_every_kernel_compiles_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    if without_simulator(["-c", PROBE]).returncode:
        pytest.skip("numba finds no NVVM; pip install numba-cuda[cu13] in an environment apart")
    launched: dict[str, list[Any]] = {}
    launch = Workspace.launch

    def recorded(self: Workspace, kernel: Any, blocks: Any, *arguments: Any, **more: Any) -> None:
        entry = [*place_of(kernel), [told(argument) for argument in arguments]]
        launched[json.dumps(entry)] = entry
        launch(self, kernel, blocks, *arguments, **more)

    monkeypatch.setattr(Workspace, "launch", recorded)
    graph_building.shrink(monkeypatch)
    graph_building.on_device(*clustered(4, 3, 2), L2)
    run_everything()
    assert len({(entry[0], entry[1], entry[2]) for entry in launched.values()}) >= 39
    script = str(ROOT / "tests" / "cuda_compile.py")
    done = without_simulator([script], json.dumps(list(launched.values())))
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == len(launched)
