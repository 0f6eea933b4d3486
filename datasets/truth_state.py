"""The state of exact answers on disk, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from fanns.errors import StorageError

from .best_rows import Best

NAME = "truth-state.npz"


class State:
    """A file in the folder `work` (which exists), replaced as a whole; `settings` is what it
    belongs to.
    """

    def __init__(self, work: Path, settings: Mapping[str, str]) -> None:
        self._path, self._settings = work / NAME, dict(settings)

    def load(self, best: Mapping[str, Best]) -> int:
        """Bring the saved state into `best`; the next row, 0 when there is none.

        Raises StorageError when it belongs to something else, naming what differs, or is damaged.
        """
        if not self._path.exists():
            return 0
        try:
            # Opened here, since np.load leaves a file open that it cannot read.
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                settings = json.loads(str(saved["settings"]))
                self._compare(settings)
                for number, one in enumerate(best.values()):
                    one.distances[:] = saved[f"distances-{number}"]
                    one.rows[:] = saved[f"rows-{number}"]
                    one.matches[:] = saved[f"matches-{number}"]
                return int(saved["next"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"{self._path} is damaged ({error}): remove it, exact answers then begin anew"
            ) from error

    def save(self, best: Mapping[str, Best], row: int) -> None:
        """Replace what is saved. Raises StorageError when that cannot be written."""
        arrays = {"settings": np.array(json.dumps(self._settings)), "next": np.array(row)}
        for number, one in enumerate(best.values()):
            arrays[f"distances-{number}"] = one.distances
            arrays[f"rows-{number}"] = one.rows
            arrays[f"matches-{number}"] = one.matches
        partial = self._path.with_name(f"{NAME}.partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise StorageError(
                f"the state of exact answers cannot be saved: {self._path}: {error}"
            ) from error

    def _compare(self, settings: Mapping[str, str]) -> None:
        for name in {**self._settings, **settings}:
            if settings.get(name) != self._settings.get(name):
                raise StorageError(
                    f"{self._path} is the state of another run: its {name} differ; "
                    "remove it, or go on with the settings of that run"
                )
