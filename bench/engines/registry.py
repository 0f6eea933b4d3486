"""The engines by name, loaded when asked for, and their settings from peers.toml.

Nothing here imports an engine's package: names are listed without it, and an engine whose package
is missing says so itself (`Engine.version` raises AbsentError).
"""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from fanns.bench.engines.engine import Engine
from fanns.errors import InputError

_ENGINES = {
    "fanns": "fanns.bench.engines.ours:Fanns",
    "exact": "fanns.bench.engines.exact:Exact",
    "faiss-flat": "fanns.bench.engines.faiss_flat:FaissFlat",
    "faiss-hnsw": "fanns.bench.engines.faiss_hnsw:FaissHNSW",
    "faiss-ivf": "fanns.bench.engines.faiss_ivf:FaissIVF",
    "faiss-ivfpq": "fanns.bench.engines.faiss_codes:FaissIVFPQ",
    "faiss-rabitq": "fanns.bench.engines.faiss_codes:FaissRaBitQ",
    "hnswlib": "fanns.bench.engines.hnswlib_graph:Hnswlib",
    "usearch": "fanns.bench.engines.usearch_graph:USearch",
    "lancedb": "fanns.bench.engines.lancedb_table:LanceDB",
    "zvec": "fanns.bench.engines.zvec_collection:Zvec",
    "turbovec": "fanns.bench.engines.turbovec_index:Turbovec",
    "qdrant-edge": "fanns.bench.engines.qdrant_edge_shard:QdrantEdge",
    "duckdb": "fanns.bench.engines.duckdb_table:DuckDB",
    "pgvector": "fanns.bench.engines.pgvector_server:PGVector",
    "faiss-gpu-flat": "fanns.bench.engines.faiss_gpu:FaissGpuFlat",
    "faiss-gpu-ivf": "fanns.bench.engines.faiss_gpu:FaissGpuIVF",
    "faiss-gpu-ivfpq": "fanns.bench.engines.faiss_gpu:FaissGpuIVFPQ",
    "cuvs-brute-force": "fanns.bench.engines.cuvs_index:CuvsBruteForce",
    "cuvs-cagra": "fanns.bench.engines.cuvs_index:CuvsCagra",
    "slice": "fanns.bench.engines.oracles:Slice",
    "subindex": "fanns.bench.engines.oracles:SubIndex",
}


def names() -> list[str]:
    """Every engine, in the order in which tables show them."""
    return list(_ENGINES)


def load(name: str) -> type[Engine]:
    """The class of an engine: a known name, or "module:Class" for one of the caller's own.

    Raises:
        InputError: no engine has this name.
    """
    place = _ENGINES.get(name, name)
    module, _, attribute = place.partition(":")
    if not attribute:
        raise InputError(
            f"no engine {name!r}: expected one of {', '.join(names())}, or module:Class"
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"engine {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise InputError(f"engine {name!r} is not a class derived from {Engine.__module__}.Engine")
    return found


def settings_file() -> Path:
    """The reviewed settings of all engines."""
    return Path(__file__).parents[1] / "peers.toml"


def options(name: str, path: str | Path | None = None) -> dict[str, Any]:
    """An engine's section [engines.<name>]: `build` (a table) and `settings` (a list of tables).

    A file given by the caller replaces whole sections; engines that it does not name keep theirs.

    Raises:
        InputError: the file cannot be read, or its section has another form.
    """
    sections = _sections(settings_file())
    if path is not None:
        sections |= _sections(Path(path))
    section = sections.get(name, {})
    build, settings = section.get("build", {}), section.get("settings", [{}])
    tables = isinstance(settings, list) and all(isinstance(one, dict) for one in settings)
    if not isinstance(build, dict) or not tables or not settings:
        raise InputError(
            f"section [engines.{name}]: expected build = {{...}} and settings = [{{...}}, ...]"
        )
    return {**section, "build": build, "settings": settings}


def _sections(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the settings file {path} cannot be read: {error}") from error
    sections = found.get("engines", {})
    if not isinstance(sections, dict) or not all(
        isinstance(one, dict) for one in sections.values()
    ):
        raise InputError(f"{path}: expected sections [engines.<name>]")
    return sections
