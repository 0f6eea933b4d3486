"""The proof on a GPU: its judgement, and a tiny run in the simulator."""

from pathlib import Path

import numpy as np
import pytest

from fanns.bench.proofs.kernel_gpu import Bandwidth
from fanns.cli import run

gpu = pytest.importorskip("fanns.bench.proofs.gpu")
lanes = pytest.importorskip("fanns.device.lanes")
searching = pytest.importorskip("fanns.device.searching")


def place(device: str, recall: float = 1.0) -> object:
    return gpu.Place("no filter", 100, device, np.full(5, recall), "scan", [0.1, 0.2, 0.3])


def test_recall_and_bandwidth_have_bars() -> None:
    copy = Bandwidth("copy", 4e12, True)
    found = gpu.judge([place("cuda"), place("cpu", 0.5)], [copy, Bandwidth("scan", 3e12)], ["how"])
    assert found.passed and found.sheets[0][1].rows[0][5] == "500"
    slow = gpu.judge([place("cuda")], [copy, Bandwidth("scan", 2e12)], ["how"])
    assert [bar.met for bar in slow.bars] == [True, False]
    assert not gpu.judge([place("cuda", 0.9)], [copy, Bandwidth("scan", 3e12)], ["how"]).passed


def test_a_tiny_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = searching.DeviceCosts(0.0, 0.0, 0.0, 0.0, 1.0)
    monkeypatch.setattr(searching.DeviceSearch, "_sooner", lambda *args: None)
    monkeypatch.setattr(searching.DeviceSearch, "_measure", lambda *args: costs)
    made = lanes.Workspace
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 22, stream, 32, 2))
    monkeypatch.setattr(gpu, "SHARES", (0.1,))
    command = "bench gpu --rows 100 --dimensions 8 --batch 1 --batch 2 --queries 1 --rounds 1 -q"
    status = run([*command.split(), "--dir", str(tmp_path / "sets"), "-o", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert status == 0 and "recall@10 on the device" in told and "scan on cuda:0" in told
    assert (tmp_path / "out" / "gpu.md").exists() and (tmp_path / "out" / "gpu.csv").exists()
