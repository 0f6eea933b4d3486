"""Damaged files under a whole index: an error of ours that names the file, or nothing changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import fanns
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors as vectors_of
from fanns.errors import CorruptIndexError, StorageError

WHERE = "versions > 1 AND list_contains(categories, 'cs.LG') OR title LIKE '%graph%'"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "papers.fanns"
    table = arxiv_like.items(5_000, 32, seed=4)
    fanns.Index.build(table, store=["title"], calibration="default", path=path).close()
    return path


def use(path: Path) -> list[list[str]]:
    """Everything that reads arrays: both paths, filters, columns, keys, vectors."""
    queries = vectors_of(arxiv_like.queries(3, 32, seed=4))
    with fanns.open(path) as index:
        out = [index.search(queries, 5, plan=plan).ids for plan in ("scan", "graph")]
        hits = index.search(queries[0], 5, WHERE, exact=True)
        out.append(hits.ids)
        hits.to_arrow(columns=list(index.schema))
        index.get(hits.ids, vector=True)
        index.facets("categories", limit=3)
        index.rows("versions > 3", order_by="submitted_date", limit=3)
        return out


def test_any_flipped_byte_is_refused_or_harmless(saved: Path, tmp_path: Path) -> None:
    expected = use(saved)
    rng = np.random.default_rng(0)
    files = sorted(file for file in saved.rglob("*") if file.is_file() and file.stat().st_size)
    refused = found = 0
    for number in range(48):
        copy = tmp_path / f"{number}.fanns"
        shutil.copytree(saved, copy)
        file = copy / files[number % len(files)].relative_to(saved)
        data = bytearray(file.read_bytes())
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
        try:
            answer = use(copy)
        except CorruptIndexError:
            refused += 1
        else:
            bulk = "bulk" in file.name
            assert bulk or answer == expected, file.name
            if bulk:
                with pytest.raises(CorruptIndexError, match=file.name):
                    fanns.open(copy, check=True)
                found += 1
        shutil.rmtree(copy)
    assert refused >= 20 and found >= 2


@pytest.mark.parametrize("name", ["catalog.sqlite", "graph.bin", "vectors-bulk.bin", "ids.bin"])
def test_truncated_files_are_refused(saved: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "cut.fanns"
    shutil.copytree(saved, copy)
    (file,) = copy.rglob(name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(StorageError):
        use(copy)


def test_settings_of_another_kind_are_refused(saved: Path, tmp_path: Path) -> None:
    from fanns.building import Recipe

    with fanns.open(saved) as index:
        good = index._recipe.to_json()
    for key, value in (
        ("metric", "manhattan"),
        ("dimensions", 0),
        ("schema", {"versions": {"kind": "tensor"}}),
        ("attributes", None),
    ):
        with pytest.raises(CorruptIndexError, match="settings"):
            Recipe.from_json({**good, key: value})
    with pytest.raises(CorruptIndexError, match="settings"):
        Recipe.from_json({})
