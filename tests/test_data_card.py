"""The data card: what it says is what pandas-free recounts of the tables say."""

import builtins
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns.datasets import arxiv_like, data_card, dataset
from fanns.datasets.dataset import Dataset, DatasetError
from fanns.errors import MissingDependencyError

pytest.importorskip("matplotlib", reason="data cards need matplotlib, of the extra datasets")


def vectors(rows: int, dimensions: int, rank: int | None = None) -> pa.Array:
    rng = np.random.default_rng(3)
    latent = rng.standard_normal((rows, rank or dimensions), np.float32)
    flat = latent @ rng.standard_normal((rank or dimensions, dimensions), np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), dimensions)


def hand_made(rows: int = 60) -> pa.Table:
    return pa.table(
        {
            "id": [f"p{n}" for n in range(rows)],
            "title": ["A | title `of` mine"] * rows,
            "has_comments": [n % 4 != 0 for n in range(rows)],
            "number_of_authors": pa.array([1 + n % 3 for n in range(rows)], pa.int32()),
            "main_categories": [["math"] if n % 2 else ["cs", "math"] for n in range(rows)],
            "license": [None if n % 3 else "a|b" for n in range(rows)],
            "update_date": pa.array([13655 + n for n in range(rows)], pa.int32()),
            "submitted_date": [date(2001 + n % 5, 1, 1) for n in range(rows)],
            "nothing": pa.nulls(rows, pa.string()),
            "embedding": vectors(rows, 12, 5),
        }
    )


def written(folder: Path, items: pa.Table, **more: Any) -> Path:
    return dataset.write(Dataset(items=items, source="made by hand", seed=7, **more), folder)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in [folder / "card.md", *(folder / "figures").iterdir()]}


def test_it_says_what_the_tables_hold(tmp_path: Path) -> None:
    written(tmp_path, hand_made())
    path = data_card.write_card(
        tmp_path, omitted={"submitter": "not | told"}, notes=["2 records were broken"]
    )
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# made by hand\n") and "- 2 records were broken\n" in text
    assert r"| submitter | not \| told |" in text
    assert r"| has\_comments | bool | 0.0 % | 2 | true for 75.0 % |" in text
    assert "2007-05-22 to 2007-07-20" in text  # update_date, in days
    assert "| math | 60 | 100.0 % |" in text and "| cs | 30 | 50.0 % |" in text
    assert r"| license | string | 66.7 % | 1 | most: a\|b |" in text
    assert "nothing but nulls" in text
    assert "| numerical rank (in float32) | 5 |" in text
    assert dataset.verify(tmp_path) == []


def test_every_picture_is_there_and_shown(tmp_path: Path) -> None:
    written(tmp_path, hand_made())
    text = data_card.write_card(tmp_path).read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\(figures/(.*?)\)", text))
    assert shown == {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"update_date.png", "spectrum.png", "correlation.png", "distances.png"} <= shown
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (tmp_path / "figures").iterdir())


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        data_card.write_card(written(tmp_path / name, hand_made()))
    assert files(tmp_path / "a") == files(tmp_path / "b")
    (tmp_path / "a" / "figures" / "stale.png").write_bytes(b"old")
    data_card.write_card(tmp_path / "a")
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows(tmp_path: Path, rows: int) -> None:
    written(tmp_path, hand_made().slice(0, rows))
    assert "Spectrum" in data_card.write_card(tmp_path).read_text(encoding="utf-8")


def test_simulated_papers(tmp_path: Path) -> None:
    written(tmp_path, arxiv_like.items(800, 16), queries=arxiv_like.queries(20, 16))
    heard: list[tuple[str, int, int]] = []
    text = data_card.write_card(
        tmp_path, title="Twin", report=lambda *told: heard.append(told)
    ).read_text(encoding="utf-8")
    assert text.startswith("# Twin\n")
    assert heard[0][1] == 0 and heard[-1][1] == heard[-1][2]


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="manifest"):
        data_card.write_card(tmp_path)
    written(tmp_path, hand_made())
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match="fanns\\[datasets\\]"):
        data_card.write_card(tmp_path)
    assert not (tmp_path / "card.md").exists()
