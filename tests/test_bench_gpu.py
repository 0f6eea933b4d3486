"""The proof on a GPU: its judgement, peers in processes of their own, a run in the simulator."""

import os
import signal
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fanns.bench.engines.batches import BatchEngine
from fanns.bench.engines.engine import Items, UnsupportedError
from fanns.bench.proofs import gpu_asks, gpu_builds, gpu_memory, gpu_runs
from fanns.bench.proofs.gpu_builds import Build
from fanns.bench.proofs.gpu_checked import DONE
from fanns.bench.proofs.gpu_memory import Checked
from fanns.bench.proofs.gpu_peers import Gone, Peer, Search
from fanns.bench.proofs.kernel_gpu import Bandwidth
from fanns.bench.proofs.large import prepare
from fanns.cli import run

gpu = pytest.importorskip("fanns.bench.proofs.gpu")
searching = pytest.importorskip("fanns.device.searching")
lanes = pytest.importorskip("fanns.device.lanes")

NAME = "tests.test_bench_gpu:Batches"
QUERIES = 3


class Batches(BatchEngine):
    """Exact, but for what a setting asks: to err, to crash, to refuse filters."""

    name = "batches"

    @classmethod
    def version(cls) -> dict[str, str]:
        return {"batches": "1"}

    def build(self, items: Items, folder: Path, threads: int) -> None:
        """Nothing to keep."""

    def open(self, items: Items, folder: Any) -> None:
        super().open(items, folder)
        self.vectors = np.array(items.vectors)

    def start(self, where: str | None) -> None:
        if where is not None and "group" in where:
            raise UnsupportedError("no groups")
        super().start(where)

    def bind_batch(self, params: Any) -> Any:
        if self.filter is None:
            return [np.ones(self.n, bool)]
        return [self.filter.find(one).mask() for one in params]

    def search_batch(self, queries: NDArray[np.float32], bound: Any, k: int) -> Any:
        if self.setting.get("crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        masks = np.stack(bound)
        if self.setting.get("ignore"):
            masks = np.ones_like(masks)
        keys = np.where(masks, queries @ self.vectors.T, -np.inf)
        order = np.argsort(-keys, axis=1)[:, :k]
        return np.where(np.isinf(np.take_along_axis(keys, order, axis=1)), -1, order)


def run_of(name: str = "fanns, GPU", recall: float = 1.0, wrong: int = 0, **more: Any) -> Any:
    ask = gpu_asks.Ask("interval", True, "x > :a", [], np.zeros((1, 2), "f4"), [], 0.1, 0.0, [])
    contender: Any = type("One", (), {"name": name})()
    made = gpu_runs.Run(ask, contender, 100, False, {"recall": 0.95}, recall, wrong, 1.0)
    made.path, made.seconds = "scan on cuda:0", [0.1, 0.2, 0.3]
    for key, value in more.items():
        setattr(made, key, value)
    return made


def judged(runs: Any, scan: float = 3e12, state: Any = "clean") -> Any:
    bandwidths = [Bandwidth("copy", 4e12, True), Bandwidth("scan", scan)]
    builds = [Build("cpu", 10, {"encode": 1.0, "total": 2.0})]
    checked = [Checked("memcheck", state, "told")]
    measured = gpu_runs.Measured(runs, [gpu_runs.Left("peer", "everything", "absent")])
    return gpu.judge("A chip", measured, bandwidths, builds, checked, ["how"])


def test_what_has_bars() -> None:
    found = judged([run_of(device={"scan": 0.05}), run_of("fanns, CPU", 0.5), run_of(bound=True)])
    assert found.passed and found.title.endswith("A chip")
    sheets = dict(found.sheets)
    assert sheets["Queries a second at recall 0.95"].rows[0][4:] == ["500", "500 (0.500)"]
    assert sheets["On the device and end to end"].rows[0][3:] == ["500.00", "2,000.00", "25 %"]
    assert sheets["Not run"].rows == [["peer", "everything", "absent"]]
    assert [bar.met for bar in judged([run_of()], scan=2e12).bars] == [True, True, False, True]
    assert not judged([run_of(recall=0.9)]).passed
    assert not judged([run_of(wrong=1)]).passed and not judged([]).passed
    assert judged([run_of()], state="errors").bars[-1].met is False
    assert judged([run_of()], state="absent").bars[-1].met is None
    cpu = dict(judged([run_of(path="scan", wrong=2)]).sheets)
    assert cpu["Queries a second at recall 0.95"].rows[0][4] == "500 by the CPU !"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return prepare(200, 8, gpu_asks.groups(200), tmp_path_factory.mktemp("sets"))


def test_families_are_asked_with_one_filter_and_with_many(held: Any) -> None:
    asks, told = gpu_asks.asks(held, QUERIES)
    assert asks[0].where is None and not asks[0].each
    kinds = {ask.kind for ask in asks}
    assert {"50 % by chance", "interval, 10 %", "all but a value, far from the query"} <= kinds
    assert len(kinds) + len(told) == 1 + len(gpu_asks.SHARES) + len(gpu_asks.CELLS)
    for ask in asks:
        assert len(ask.params) == (QUERIES if ask.each else 1)
        queries, params = ask.batch(7)
        assert len(queries) == 7 and len(params) == (7 if ask.each else 1)
        nothing = [np.empty(0, np.int64)] * QUERIES
        assert ask.judged(held.vectors(), nothing)[1] == 0
    first = next(ask for ask in asks if ask.each)
    every = [np.array([-1, 0, 0, 1, 200, *range(2, 200)])] * QUERIES
    recall, wrong = first.judged(held.vectors(), every)
    assert recall == 1.0 and wrong == sum(
        203 - int(np.unpackbits(bits, count=200, bitorder="little").sum()) for bits in first.bits
    )


def no_kernels(call: Callable[[], object]) -> Mapping[str, float]:
    call()
    return {}


def test_a_peer_that_errs_ends_or_refuses_leaves_the_rest_alone(held: Any) -> None:
    peer = Peer(NAME, held.folder, 60.0)
    try:
        asks, _ = gpu_asks.asks(held, QUERIES)
        chosen = [ask for ask in asks if ask.kind in ("no filter", "interval, 10 %")]
        chosen.append(next(ask for ask in asks if ask.kind == "10 % by chance"))
        peer.settings = [{"ignore": True}, {}]
        vectors, clock = held.vectors(), gpu_runs.Clock(30.0)
        found = gpu_runs.measure(
            chosen, [gpu_runs.FromPeer(peer)], vectors, [1, 5], 2, clock, no_kernels
        )
        filtered = [one for one in found.runs if one.ask.where is not None]
        assert filtered and all(not one.wrong and one.recall == 1.0 for one in found.runs)
        assert {one.setting.get("ignore") for one in filtered} == {None}
        assert {(one.batch, one.bound) for one in filtered} == {
            (size, bound) for size in (1, 5) for bound in (False, True)
        }
        assert [left.why for left in found.left] == ["no groups"]
        peer.settings = [{"ignore": True}]
        found = gpu_runs.measure(
            chosen[1:2], [gpu_runs.FromPeer(peer)], vectors, [1], 1, clock, no_kernels
        )
        assert all(one.wrong for one in found.runs) and found.runs
        peer.start(None, 10.0)
        peer.use({"crash": True}, 10.0)
        with pytest.raises(Gone, match="its process ended"):
            peer.search(Search(chosen[0].queries, [{}], 3, False), 10.0)
        contenders = [gpu_runs.FromPeer(peer)]
        found = gpu_runs.measure(chosen, contenders, vectors, [1], 1, clock, no_kernels)
        assert not found.runs and not contenders and len(found.left) == 1
    finally:
        peer.close()


def test_peers_that_are_absent_or_too_slow_are_gone(held: Any) -> None:
    with pytest.raises(Gone, match="no GPU part"):
        Peer("faiss-gpu-flat", held.folder, 10.0)
    with pytest.raises(Gone, match="more than the 0 s"):
        Peer(NAME, held.folder, 0.0)
    with pytest.raises(Gone, match="does not answer batches"):
        Peer("exact", held.folder, 60.0)


def test_without_time_everything_is_left_out_and_told(held: Any) -> None:
    asks, _ = gpu_asks.asks(held, QUERIES)
    one: Any = type("One", (), {"name": "slow", "binds": False, "most": None})()
    found = gpu_runs.measure(
        asks[:2], [one], held.vectors(), [1], 1, gpu_runs.Clock(0.0), no_kernels
    )
    assert not found.runs and len(found.left) == 2 and "no time" in found.left[0].why


GOOD = f"{DONE}\n========= ERROR SUMMARY: 0 errors\n"


def test_what_the_checker_says_is_read() -> None:
    judge = gpu_memory.judge
    assert judge("memcheck", 0, GOOD).state == "clean"
    assert judge("racecheck", 0, GOOD.replace("ERROR", "RACECHECK")).state == "clean"
    bad = judge(
        "memcheck",
        99,
        f"{DONE}\n========= Invalid read\n========= ERROR SUMMARY: 3 errors",
    )
    assert bad.state == "errors" and "3 errors: Invalid read" in bad.told
    assert judge("memcheck", 0, "========= ERROR SUMMARY: 0 errors").state == "failed"
    assert judge("memcheck", 1, "========= Error: Device not supported").state == "failed"
    assert "said nothing" in judge("memcheck", 1, "").told


def test_the_checker_is_found_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {one.state for one in gpu_memory.check(1.0)} == {"absent"}
    folder = tmp_path / "nvidia/cu13/compute-sanitizer"
    folder.mkdir(parents=True)
    program = folder / "compute-sanitizer"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{GOOD}E\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpu_memory.sanitizer() == program
    assert {one.state for one in gpu_memory.check(10.0)} == {"clean"}


def test_a_tiny_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(searching.DeviceSearch, "_sooner", lambda *args: None)
    costs = searching.DeviceCosts(*([0.0] * len(searching.DeviceCosts._fields)))
    monkeypatch.setattr(searching.DeviceSearch, "_measure", lambda *args: costs)
    made = lanes.Workspace
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 22, stream, 32, 2))
    monkeypatch.setattr(gpu_builds, "DEVICES", ("cpu",))  # builds on a GPU have tests of their own
    monkeypatch.setattr(gpu_asks, "SHARES", (0.1,))
    monkeypatch.setattr(gpu_asks, "CELLS", ("range_date-0.1-none",))
    command = "bench gpu --rows 100 --dimensions 8 --batch 1 --batch 2 --queries 2 --rounds 1"
    rest = ["-q", "--dir", str(tmp_path / "sets"), "-o", str(tmp_path / "out"), "--engine", "none"]
    status = run([*command.split(), *rest, "--time-limit", "60"])
    told = capsys.readouterr().out
    assert status == 0 and "recall@10 on the device" in told and "scan on cuda:0" in told
    assert "means nothing" in (tmp_path / "out" / "gpu.md").read_text()
    assert (tmp_path / "out" / "gpu.csv").exists()
