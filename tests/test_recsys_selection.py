"""Selectors of fields: what is planted comes first, and a good order has the larger area."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fanns.cli import run
from fanns.cli_recsys_select import SELECTORS as NAMES
from fanns.errors import InputError, StorageError

torch = pytest.importorskip("torch")

from fanns.datasets import recsys_planted as planted  # noqa: E402
from fanns.datasets import recsys_selection_data as rows  # noqa: E402
from fanns.datasets.recsys_ctr import Logistic  # noqa: E402
from fanns.datasets.recsys_selection import Selector, Task, aukc, compare, ordered, split  # noqa: E402
from fanns.datasets.recsys_selectors import SELECTORS  # noqa: E402
from fanns.datasets.recsys_selectors_gates import AutoField, Polarizing  # noqa: E402
from fanns.datasets.recsys_trainer import Training  # noqa: E402
from tests.recsys_data import movielens  # noqa: E402

QUICK = Training(lr=1e-2, batch=256, epochs=8, eval_every=1, patience=3, threads=1)
# AutoField's gates step once in ten steps of the weights.
LONGER = {"autofield": replace(QUICK, epochs=16, patience=16)}
NEEDED = {"f0", "f1", "f2", "f3", "f4"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def task() -> Task:
    """Five fields decide, two of them only together; four are noise."""
    made = planted.interactions(6000, fields=9, values=6, strength=2.0)
    return split(made.table, made.labels, training=QUICK)


@pytest.mark.parametrize("name", [name for name in SELECTORS if name != "random"])
def test_noise_comes_last(name: str) -> None:
    if name == "gain":
        pytest.importorskip("lightgbm")
    given = replace(task(), training=LONGER.get(name, QUICK))
    importances = ordered(given.names, SELECTORS[name](given))
    assert set(list(importances)[:5]) == NEEDED, importances
    assert all(np.isfinite(list(importances.values())))


def needed_first(task: Task) -> NDArray[np.float64]:
    """What each selector finds, by the test before."""
    return np.array([float(name in NEEDED) for name in task.names])


def by_chance(seed: int) -> Selector:
    return lambda task: SELECTORS["random"](replace(task, seed=seed))


def test_a_good_order_has_the_larger_area() -> None:
    chances = {f"random {seed}": by_chance(seed) for seed in range(3)}
    found = compare(task(), {"planted": needed_first} | chances, counts=(5,))
    assert found[0].selector == "planted" and set(found[0].order[:5]) == NEEDED
    areas = {one.selector: one.aukc for one in found}
    random = [area for name, area in areas.items() if name != "planted"]
    assert areas["planted"] > np.mean(random) + 0.1, areas
    assert {one.counts for one in found} == {(5, 9)}
    assert len({one.aucs[-1] for one in found}) == 1, "all fields are the same fields in any order"


def test_the_area_by_hand() -> None:
    assert aukc((1, 2), (0.5, 0.75)) == pytest.approx(0.25)
    assert aukc((2,), (0.8,)) == pytest.approx(0.5), "a straight line"
    assert aukc((1, 2, 4), (0.9, 0.9, 0.9)) == pytest.approx(0.125 + 0.25 + 0.5)
    assert aukc((1, 2), (0.9, 0.7)) == pytest.approx(1.25), "a field that does harm"
    with pytest.raises(InputError, match="learned nothing"):
        aukc((1, 2), (0.6, 0.5))


def test_gates_do_what_they_are_called() -> None:
    gates = AutoField(task())
    gates.train(False)
    assert torch.allclose(gates.gates(), torch.full((9,), 0.5))
    gates.train(True)
    drawn = torch.stack([gates.gates().detach() for _ in range(500)])
    assert drawn.min() > 0 and drawn.max() < 1 and abs(float(drawn.mean()) - 0.5) < 0.02
    before = gates.choice.detach().clone()
    gates.after_step(1, None)
    assert torch.equal(gates.choice, before) and gates.temperature == pytest.approx(1 - 5e-5)
    gates.after_step(10, None)
    assert not torch.equal(gates.choice, before), "a step on validation"
    closed = Polarizing(task())
    with torch.no_grad():
        closed.strength[:] = torch.tensor([0.0, 1.0, -1.0, *[0.5] * 6])
    first = closed.gates().detach()
    assert first[0] == 0 and first[1] == -first[2] > 0
    assert float(first[1]) == pytest.approx(1 / 1.1 + 10 * 0.1**0.5 * np.pi / 4, rel=1e-5)
    closed.after_step(100, None)
    assert closed.epsilon == pytest.approx(0.09978)


def test_a_closed_gate_hides_a_field() -> None:
    closed = Polarizing(task())
    with torch.no_grad():
        closed.strength[0] = 0.0
        columns = task().valid.columns
        other = columns | {"f0": columns["f0"].flip(0)}
        assert torch.equal(closed(columns), closed(other))
        assert not torch.equal(closed.model.embedding(columns)[:, 1], torch.zeros(1))


def test_parts_and_models_of_ones_own() -> None:
    made = planted.interactions(1000, fields=5)
    held = split(made.table, made.labels, training=QUICK, model=lambda f, s: Logistic(f, seed=s))
    assert [len(part) for part in (held.train, held.valid, held.test)] == [700, 200, 100]
    assert isinstance(held.model(held.fields, 0), Logistic)
    with pytest.raises(InputError, match="expected 1 to 5 fields"):
        compare(held, {}, (1, 6))
    with pytest.raises(InputError, match="nothing to select from"):
        split(made.table.select(["f0"]), made.labels, training=QUICK)
    with pytest.raises(InputError, match="expected 1000"):
        split(made.table, made.labels[:7], training=QUICK)
    with pytest.raises(InputError, match="labels of one kind only"):
        split(made.table, np.zeros(1000, np.float32), training=QUICK)


def many_ratings(path: Path) -> Path:
    """Women like the even movies, men the odd ones."""
    random = np.random.default_rng(0)
    people = "".join(f"{u}::{'FM'[u % 2]}::{(1, 18)[u % 3 % 2]}::{u % 7}::{u}\n" for u in range(60))
    films = "".join(f"{m}::Film {m} (1990)::{('Drama', 'War|Drama')[m % 2]}\n" for m in range(40))
    lines = []
    for user in range(60):
        for movie in random.choice(40, 25, replace=False):
            stars = 5 if (user + movie) % 2 == 0 else 2
            lines.append(f"{user}::{movie}::{stars}::{978300000 + random.integers(10**6)}\n")
    return movielens(path, "".join(lines), people, films)


def test_the_protocol_of_the_paper_on_the_users_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped = many_ratings(tmp_path / "ml-1m.zip")
    table, labels = rows.ratings(zipped)
    assert table.column_names == [
        "user", "movie", "time", "title", "genres", "gender", "age", "occupation", "zip_code",
    ]  # fmt: skip
    assert len(table) == 60 * 25 and set(table["genres"].to_pylist()) == {"Drama", "War|Drama"}
    assert labels.mean() == pytest.approx(0.5, abs=0.1)
    words = ["--data", zipped, "--selector", "permutation", "--selector", "random", "-k", "2"]
    quick = ["--epochs", 12, "--batch", 128, "--lr", 0.01, "--threads", 1, "--format", "json", "-q"]
    assert run(["dataset", "recsys", "select", *map(str, [*words, *quick])]) == 0
    told = json.loads(capsys.readouterr().out)
    by_name = {one["selector"]: one for one in told["selectors"]}
    assert by_name["permutation"]["order"][0] in ("gender", "genres", "user", "movie", "title")
    assert [point["columns"] for point in by_name["random"]["curve"]] == [2, 9]
    assert told["rows"] == 1500 and 0 < by_name["permutation"]["aukc"] < 1.5


def test_rows_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = planted.interactions(600, fields=5)
    path = tmp_path / "clicks.parquet"
    pq.write_table(made.table.append_column("bought", pa.array(made.labels > 0)), path)
    table, labels = rows.read(str(path), "bought", ["f2", "f0"])
    assert table.column_names == ["f2", "f0"] and (labels == made.labels).all()
    with pytest.raises(InputError, match=r"no column 'label' that tells.*--label.*f0"):
        rows.read(str(path))
    with pytest.raises(InputError, match="more than 0 and 1"):
        rows.read(str(path), "f0")
    with pytest.raises(InputError, match="no column 'f7'; there are f0"):
        rows.read(str(path), "bought", ["f7"])
    with pytest.raises(StorageError, match="cannot read it as Parquet"):
        rows.read(str(tmp_path / "none.parquet"))
    likes = np.asarray(made.table["f1"]) > 5
    pq.write_table(made.table.append_column("bought", pa.array(likes)), path)
    command = ["dataset", "recsys", "select", "--data", str(path), "--label", "bought", "-k", "1"]
    quick = ["--epochs", "3", "--batch", "32", "--lr", "0.01", "--threads", "1", "-q"]
    assert run([*command, *quick, "--selector", "permutation", "--format", "table"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "AUKC" in shown[0] and shown[2].startswith("permutation") and "f1 f" in shown[2]


def test_planted_rows_and_the_names_of_the_command() -> None:
    table, labels = rows.read("synthetic")
    assert table.num_columns == 9 and len(table) == len(labels) == 20_000
    assert tuple(SELECTORS) == NAMES
