"""What a build is said to take, against what it takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.datasets import arxiv_like
from fanns.errors import InputError
from fanns.memory_model import RowBytes, Shape, build_bytes, rows_within
from fanns.planning import segment_seconds
from fanns.probing import Probe
from tests.storage_helpers import run_child
from tests.streamed_helpers import BUILD, rows, write

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PLAN = """
    import json, sys
    import fanns
    print(json.dumps(fanns.Index.plan_build(sys.argv[1], **json.loads(sys.argv[2]))))
"""
WHOLE = BUILD.replace("memory_limit=limit,", "")


def compare(source: Path, target: Path, limit: str | None, **options: Any) -> dict[str, float]:
    """Predicted over actual, each from a process of its own."""
    asked = {"threads": 1, **options} | ({} if limit is None else {"memory_limit": limit})
    planned = json.loads(run_child(PLAN, source, json.dumps(asked), seconds=900).splitlines()[-1])
    script = WHOLE if limit is None else BUILD
    given = (source, target, limit, json.dumps(options))
    made = json.loads(run_child(script, *given, seconds=1_800).splitlines()[-1])
    assert planned["segments"] == made["segments"]
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return {
        "memory": planned["peak_memory_bytes"] / made["peak"],
        "disk": planned["bytes"]["total"] / size,
    }


@LINUX
def test_within_a_quarter(tmp_path: Path) -> None:
    source = tmp_path / "x.parquet"
    write(source, rows(12_000, 64), group=5_000)
    options = {"vector": "v", "calibration": "default", "bits": 0}
    found = compare(source, tmp_path / "index", "350MB", **options)
    assert found["memory"] == pytest.approx(1, abs=0.25)
    assert found["disk"] == pytest.approx(1, abs=0.25)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, "500MB"])
@pytest.mark.parametrize(("n", "d"), [(20_000, 768), (60_000, 384), (150_000, 64)])
def test_larger_ones_within_a_quarter(tmp_path: Path, n: int, d: int, limit: str | None) -> None:
    source = tmp_path / "x.parquet"
    write(source, arxiv_like.items(n, d), group=30_000)
    found = compare(source, tmp_path / "index", limit, calibration="default")
    assert found["memory"] == pytest.approx(1, abs=0.25)
    assert found["disk"] == pytest.approx(1, abs=0.25)


def test_tables_in_memory_are_planned_too() -> None:
    table = rows(9_000, 32)
    planned = fanns.Index.plan_build(table, vector="v", bits=0, calibration="default")
    made = fanns.Index.build(table, vector="v", bits=0, calibration="default").info()
    assert planned["bytes"]["total"] == pytest.approx(made["bytes"]["total"], rel=0.1)
    assert planned["segments"] == 1 and planned["seconds"] > 0
    assert planned["stored"] == {"text": "string"} and planned["id"]["column"] == "id"


def test_ranks_are_seen_in_the_sample() -> None:
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((20, 256)).astype(np.float32)
    vectors = rng.standard_normal((9_000, 20)).astype(np.float32) @ basis
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(flat, 256)})
    planned = fanns.Index.plan_build(table, bits=0, calibration="default")
    made = fanns.Index.build(table, bits=0, calibration="default").info()
    assert made["segments"][0]["reduction"] is not None
    assert planned["bytes"]["vectors"] == pytest.approx(made["bytes"]["vectors"], rel=0.1)


def test_options_are_checked(tmp_path: Path) -> None:
    table = rows(100, 8)
    with pytest.raises(InputError, match="plan_build does not take path"):
        fanns.Index.plan_build(table, path="x")
    with pytest.raises(InputError, match="memory_limit is for Parquet files"):
        fanns.Index.plan_build(table, memory_limit="1GB")
    source = write(tmp_path / "x.parquet", table)
    with pytest.raises(InputError, match="give at least"):
        fanns.Index.plan_build(source, memory_limit="1MB")


def recipe(**options: Any) -> Any:
    from fanns.building import prepare_data
    from fanns.planning import DEFAULTS

    return prepare_data(rows(10, 128), **{**DEFAULTS, "vector": "v", **options})[0]


@pytest.mark.parametrize("options", [{}, {"bits": 0}, {"keep_originals": False}, {"reduce": "off"}])
def test_more_rows_need_more_memory(options: dict[str, Any]) -> None:
    per = RowBytes(8, 100, 120, 300, 200, 150)
    made = recipe(**options)
    before = 0
    for room in (1_000_000, 50_000_000, 51_000_000, 10**9):
        n = rows_within(made, per, room)
        assert n >= before
        before = n
        assert build_bytes(made, Shape(n, 128, 128, 4 if made.keep_originals else 2), per) <= room
    held = Probe(200_000_000, per, 4096, 128)
    for n in (1, 4_096, 100_000):
        least = held.least(made, n)
        assert held.segment_rows(made, least) >= n
        assert held.segment_rows(made, least - (8 << 20)) < max(n, 4_097)


def test_time_follows_the_stages() -> None:
    seconds = {"cluster": 0.1, "encode": 1.0, "attributes": 0.1, "graph": 2.0, "calibrate": 0.5}
    timed = Probe(0, RowBytes(8, 0, 0, 0, 0, 0), 8_192, 128, seconds)
    same = segment_seconds(recipe(), timed, 8_192)
    assert same == pytest.approx(sum(seconds.values()))
    assert 100 * same < segment_seconds(recipe(), timed, 100 * 8_192) < 1_000 * same
