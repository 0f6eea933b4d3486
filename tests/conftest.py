"""What all tests share: the kernel cache, hypothesis profiles and the real data."""

import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import ModuleType

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# CUDA kernels run in numba's simulator where there is no GPU; numba looks when it is imported.
if not any(map(os.path.exists, ("/dev/nvidiactl", "/proc/driver/nvidia/version"))):
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")

from fanns import adding

ROOT = Path(__file__).resolve().parents[1]

# A script that runs without the simulator, in a process of its own.
collect_ignore = ["cuda_compile.py"]

# Compiled kernels are kept between runs; the cache itself is keyed by a hash of the kernel sources.
os.environ.setdefault("FANNS_CACHE_DIR", str(ROOT / ".fanns-cache"))


class NoFolderNamedDatasets(FileFinder):
    """`import datasets` is Hugging Face's library, or fails: never the folder of this repository.

    The tests have the repository's root in their path. Libraries that only look whether the other
    one is installed would find that folder, and LanceDB then takes it for the real one.
    """

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        return None if fullname == "datasets" else super().find_spec(fullname, target)

    @classmethod
    def hook(cls, path: str) -> FileFinder:
        """What sys.path_hooks asks; ImportError hands a folder on to the next hook."""
        if Path(path).resolve() != ROOT:
            raise ImportError(path)
        return cls(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceFileLoader, [".py"]))


sys.path_hooks.insert(0, NoFolderNamedDatasets.hook)
sys.path_importer_cache.clear()

# "quick" is what a plain run uses: seeded and small, so that two runs do the same work.
hypothesis.settings.register_profile(
    "quick", derandomize=True, max_examples=50, deadline=None, print_blob=True
)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def data_folder(name: str) -> Path:
    """A folder of real data, or a skip that says where it was looked for."""
    base = Path(os.environ.get("FANNS_TEST_DATA", ROOT.parent / "shared" / "data"))
    folder = base / name
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set FANNS_TEST_DATA to the folder above it")
    return folder


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are taken up by larger ones alone, so that small indexes have several segments."""
    monkeypatch.setattr(adding, "FEW", 0)
    monkeypatch.setattr(adding, "FACTOR", 1)


@pytest.fixture(scope="session")
def arxiv_folder() -> Path:
    """The folder that holds papers-*.parquet and queries.parquet."""
    return data_folder("arxiv")


@pytest.fixture(scope="session")
def arxiv_table(arxiv_folder: Path) -> pa.Table:
    """100,000 arXiv records; embedding is fixed_size_list<float>[384] of unit length."""
    files = sorted(arxiv_folder.glob("papers-*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files])


@pytest.fixture(scope="session")
def arxiv_sample(arxiv_folder: Path) -> pa.Table:
    """The first 10,000 of the arXiv records: for tests that build an index."""
    return pq.read_table(arxiv_folder / "papers-0.parquet").slice(0, 10_000)


@pytest.fixture(scope="session")
def arxiv_queries(arxiv_folder: Path) -> pa.Table:
    """1,000 other arXiv records, whose embedding is that of the title alone."""
    return pq.read_table(arxiv_folder / "queries.parquet")


@pytest.fixture(scope="session")
def gowalla() -> Path:
    """train.txt and test.txt, one line a user: NGCF's and LightGCN's split of Gowalla."""
    return data_folder("gowalla")


@pytest.fixture(scope="session")
def lastfm() -> Path:
    """train.txt, valid.txt and test.txt, one line an interaction: LightGCN++'s split 7:1:2."""
    return data_folder("lastfm")
