"""Small indexes to damage, and child processes to kill."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.testing import assert_array_equal

from fanns import catalog
from fanns.storage import Directory
from fanns.stored_segment import SegmentFiles

ROOT = Path(__file__).resolve().parents[1]
BULK = {"vectors/data", "texts"}


def sample_arrays(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of every kind a segment holds, small."""
    rng = np.random.default_rng(seed)
    return {
        "vectors/data": rng.standard_normal((40, 8)).astype(np.float32),
        "vectors/norms": rng.random(40),
        "graph/links": rng.integers(0, 40, (40, 6), dtype=np.int32),
        "attributes/year/codes": rng.integers(-1, 5, 40, dtype=np.int32),
        "attributes/year/words": rng.integers(0, 2**63, 3, dtype=np.uint64),
    }


def sample_tables() -> dict[str, pa.Table]:
    """A structural table and a bulk one."""
    return {
        "dates": pa.table({"day": pa.array([1, None, 3], pa.int32())}),
        "texts": pa.table({"text": ["eins", "zwei", None], "tags": [["a"], None, []]}),
    }


def make_index(path: Path, **options: Any) -> Path:
    """A complete index of one segment at `path`."""
    with Directory.create(path, **options) as directory:
        directory.add_segment({"rows": 40}, sample_arrays(), sample_tables(), BULK, {"seed": 7})
        directory.commit_new()
    return path


def touch_all(segment: SegmentFiles) -> dict[str, Any]:
    """Every array and table of a segment."""
    arrays = {name: segment.array(name) for name in segment.names()}
    return arrays | {name: segment.table(name) for name in segment.table_names()}


def assert_is_sample(path: Path) -> None:
    """The index at `path` is the one that make_index made, to the last byte."""
    with Directory.open(path, check=True) as directory:
        assert directory.settings == {"seed": 7}
        (segment,) = directory.segments
        for name, array in sample_arrays().items():
            assert_array_equal(segment.array(name), array)
        for name, table in sample_tables().items():
            assert segment.table(name).equals(table)


def forge(path: Path, *statements: str) -> None:
    """Changes the catalog with SQL and makes all checksums right again, as an attacker would."""
    (path / catalog.SEAL).unlink(missing_ok=True)
    connection = sqlite3.connect(path / catalog.CATALOG, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("PRAGMA synchronous=OFF")
        for statement in statements:
            connection.execute(statement)
        for number, meta in connection.execute("SELECT id, meta FROM segment").fetchall():
            files = connection.execute(
                "SELECT name, bytes, checksum, bulk FROM file WHERE segment = ? ORDER BY name",
                (number,),
            ).fetchall()
            arrays = connection.execute(
                "SELECT name, file, dtype, shape, offset, bytes, checksum, bulk "
                "FROM array WHERE segment = ? ORDER BY name",
                (number,),
            ).fetchall()
            checksum = catalog.segment_checksum(number, meta, files, arrays)
            connection.execute("UPDATE segment SET checksum = ? WHERE id = ?", (checksum, number))
        settings = connection.execute("SELECT value FROM state WHERE key='settings'").fetchone()[0]
        rows = connection.execute("SELECT id, meta, checksum FROM segment ORDER BY id").fetchall()
        connection.execute(
            "UPDATE state SET value = ? WHERE key = 'checksum'",
            (catalog.state_checksum(settings, rows),),
        )


def child(script: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A Python process that runs `script` with fanns and these helpers importable."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [*prefix, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run_child(
    script: str, *arguments: object, prefix: tuple[str, ...] = (), seconds: float = 120
) -> str:
    """What the script printed; an AssertionError with its stderr if it failed."""
    process = child(script, *arguments, prefix=prefix)
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return output


def can_mount() -> bool:
    """Whether a child may mount small file systems of its own (Linux user namespaces)."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def leftovers(folder: Path) -> list[str]:
    """Names of temporary directories in a folder."""
    return [p.name for p in folder.iterdir() if p.name.endswith((".building", ".replaced"))]
