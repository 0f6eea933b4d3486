"""Who makes the vectors of a data set: an encoder of texts, or one that its texts train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from . import embedding, static_embedding
from .encoders import Encoder, load
from .static_embedding import Training

SIMULATED, STATIC = "simulated", "static"
STAGE = "vectors"
Floats = NDArray[np.float32]
Texts = Callable[[pa.Table], list[str]]
Report = Callable[[str, int, int], None]
Say = Callable[[str], None]


class VectorMaker(Protocol):
    """Makes vectors, float32 of unit length.

    name: what a manifest and an index record, which queries by text are encoded with.
    """

    @property
    def name(self) -> str: ...

    def identity(self) -> dict[str, Any]:
        """All that the vectors depend on, for JSON."""

    def documents(
        self,
        shards: Sequence[Path],
        text_of: Texts,
        folder: Path,
        say: Say,
        report: Report | None = None,
    ) -> list[Path]:
        """Shards in `folder` with the column embedding, one for each of `shards`, row by row."""

    def asked(self, count: int) -> pa.Table | None:
        """Queries with text and embedding that need no paper held out, if it has such."""

    def queries(self, texts: Sequence[str]) -> Floats:
        """The vectors [n, d] of search phrases."""


class Encoded:
    """The vectors that an encoder makes of texts.

    cache: a folder of vectors that other runs made with the same encoder; None: none is kept.
    """

    def __init__(self, encoder: Encoder, cache: Path | None = None) -> None:
        self.encoder, self.cache = encoder, cache

    @property
    def name(self) -> str:
        return self.encoder.name

    def identity(self) -> dict[str, Any]:
        return {"name": self.encoder.name, **self.encoder.settings}

    def documents(
        self,
        shards: Sequence[Path],
        text_of: Texts,
        folder: Path,
        say: Say,
        report: Report | None = None,
    ) -> list[Path]:
        return embedding.embed_shards(
            shards, text_of, self.encoder, folder, cache=self.cache, report=report, say=say
        )

    def asked(self, count: int) -> pa.Table | None:
        return None

    def queries(self, texts: Sequence[str]) -> Floats:
        return self.encoder.queries(texts)


class Trained:
    """The vectors of word vectors that are trained on the papers themselves (`static_embedding`).

    folder: where the encoder is saved. called: what manifests and indexes record, for it lies
    elsewhere in the end. options: as `encoders.load` takes them.
    """

    def __init__(
        self, folder: Path, called: str, training: Training, options: Mapping[str, Any]
    ) -> None:
        self.folder, self.called = folder, called
        self.training, self.options = training, dict(options)
        self._encoded: Encoded | None = None

    @property
    def name(self) -> str:
        return self._opened().name

    def identity(self) -> dict[str, Any]:
        options = {key: value for key, value in self.options.items() if value is not None}
        return {"name": STATIC, **asdict(self.training), **options}

    def documents(
        self,
        shards: Sequence[Path],
        text_of: Texts,
        folder: Path,
        say: Say,
        report: Report | None = None,
    ) -> list[Path]:
        static_embedding.train(shards, text_of, self.folder, self.training, report=report)
        return self._opened().documents(shards, text_of, folder, say, report)

    def asked(self, count: int) -> pa.Table | None:
        return None

    def queries(self, texts: Sequence[str]) -> Floats:
        return self._opened().queries(texts)

    def _opened(self) -> Encoded:
        """The encoder, once it is trained."""
        if self._encoded is None:
            made = load(str(self.folder), called=self.called, **self.options)
            self._encoded = Encoded(made)
        return self._encoded
