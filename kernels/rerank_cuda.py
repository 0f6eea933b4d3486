"""Full-precision distances of shortlists on the device: the twin of `rerank`, for a whole batch."""

from __future__ import annotations

import numpy as np

from fanns.kernels.exact_scan_cuda import scan_full, scan_full_bytes
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Workspace, bytes_of, cuda, kernel
from fanns.kernels.masked_scan_cuda import Answers
from fanns.kernels.scan import ROWS
from fanns.kernels.selection_cuda import Selection


@kernel
def _ends_of_lists(width: int, counts: Array, starts: Array, stops: Array) -> None:
    """Where the first counts[i] of `width` places of each query start and stop."""
    number = cuda.grid(1)
    if number < counts.shape[0]:
        starts[number] = np.int64(number) * width
        stops[number] = np.int64(number) * width + counts[number]


def rerank_bytes(m: int, k: int, width: int, workspace: Workspace) -> int:
    """What `rerank` borrows from a workspace, for lists of so many places."""
    ends = bytes_of(*[((m,), np.int64)] * 2)
    return ends + scan_full_bytes(m, k, width, False, workspace)


def rerank(
    queries: DeviceArray,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    rows: DeviceArray,
    counts: DeviceArray,
    ties: DeviceArray,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """The best k of the first counts[i] of rows[i] for each query, by (distance, tie).

    rows int32[m, width], counts int32[m]; the rest as `scan_cuda.scan_exact`.
    """
    m, width = rows.shape
    with workspace.frame():
        starts, stops = (workspace.take((m,), np.int64) for _ in range(2))
        blocks = -(-m // workspace.threads)
        workspace.launch(_ends_of_lists, blocks, width, counts, starts, stops)
        flat, no_words = rows.reshape(m * width), workspace.take((0, 0), np.uint32)
        selection = Selection(ROWS, flat, starts, stops, no_words, width)
        answers = Answers(out_rows, out_distances, out_found, out_status, out_work)
        scan_full(queries, selection, vectors, norms, metric, ties, answers, workspace)
