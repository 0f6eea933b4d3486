"""Streams of a device: while one computes, the host prepares the next batch for another."""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.device.products import Products
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Workspace
from fanns.once import once

LANES = 2


class Lane:
    """One stream, what its launches borrow, and page-locked memory that answers come back to.

    A lane has one batch under way at a time: its memory on the host holds that batch's answers.
    """

    def __init__(self, cuda: Any, nbytes: int) -> None:
        self.workspace = Workspace(nbytes, cuda.stream())
        self._cuda = cuda
        self._landing: Any = np.empty(0, np.uint8)

    @once
    def products(self) -> Products:
        """cuBLAS on this stream."""
        return Products(self.workspace)

    def fetch(self, answers: DeviceArray) -> Array:
        """Put a copy of uint8[bytes] behind what is on the stream; `wait` before it is read."""
        if self._landing.nbytes < answers.nbytes:
            self._landing = self._cuda.pinned_array(answers.nbytes, np.uint8)
        landing: Array = self._landing[: answers.nbytes]
        answers.copy_to_host(landing, stream=self.workspace.stream)
        return landing

    def wait(self) -> None:
        """Until all is done that was put on the stream."""
        self.workspace.stream.synchronize()
        self.workspace.sent.clear()
