"""An area whose eighth case ends the interpreter, to see that this is seen."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.fuzz_run import Case


def case(seed: int) -> str:
    if seed == 7:
        os.kill(os.getpid(), signal.SIGSEGV)
    return "well"


def prepare(_: Path) -> Case:
    """See `fuzz_run`."""
    return case
