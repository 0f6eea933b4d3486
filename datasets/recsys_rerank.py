"""Second stages: order a shortlist by more than a vector can hold.

Two kinds over the same columns (`recsys_frame`): boosted trees and a small network. Which is
worth its time is a question of the data (Jeunen et al. 2023, "On Gradient Boosted Decision Trees
and Neural Rankers"), so that both tell their seconds. `recsys_rerank_training` makes them.

A folder holds a reranker: `columns.json`, `reranker.json` (kind, settings, checksum) and the model,
as LightGBM's text or as plain arrays. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from .recsys_frame import NULL, FrameColumns

Floats = NDArray[np.float32]
KINDS = ("lightgbm", "mlp")
FORMAT = 1
HIDDEN = (64, 32)


@dataclass(frozen=True)
class Examples:
    """Shortlists with what was taken of them.

    features float32[n, f]; labels float32[n], 1 where the user took the candidate; sizes int64[g]:
    candidates of each shortlist, which stand one after the other, best first.
    """

    features: Floats
    labels: Floats
    sizes: NDArray[np.int64]

    def parted(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """Two parts of different shortlists, the first of about this share."""
        first = np.random.default_rng(seed).random(len(self.sizes)) < share
        if first.all() or not first.any():
            first[0] = not first[0]
        return self.chosen(first), self.chosen(~first)

    def chosen(self, keep: NDArray[np.bool_]) -> Examples:
        """The shortlists that a mask bool[g] keeps."""
        rows = np.repeat(keep, self.sizes)
        return Examples(self.features[rows], self.labels[rows], self.sizes[keep])


class Model(Protocol):
    """What scores rows of features; larger is better."""

    kind: str

    def predict(self, features: Floats) -> NDArray[np.float64]:
        """float64[n]."""

    def dump(self) -> bytes:
        """To be written down."""


class Trees:
    """LightGBM's booster."""

    kind = "lightgbm"

    def __init__(self, booster: Any) -> None:
        self.booster = booster

    def predict(self, features: Floats) -> NDArray[np.float64]:
        """See `Model`; one thread."""
        return np.asarray(self.booster.predict(features, num_threads=1), np.float64)

    def dump(self) -> bytes:
        """LightGBM's own text."""
        return str(self.booster.model_to_string()).encode()

    @classmethod
    def load(cls, raw: bytes) -> Trees:
        """Raises MissingDependencyError without LightGBM."""
        from .recsys_lightgbm import lightgbm

        return cls(lightgbm.Booster(model_str=raw.decode()))


class Network:
    """Two hidden layers with ReLU over standardised numbers and one-hot codes; numpy alone.

    `arrays`: "mean" and "scale" float32[f] of the numbers, "sizes" int64[f] (codes of a coded
    feature, 0 of a number), then "w0", "b0", ... of the layers.
    """

    kind = "mlp"

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    def predict(self, features: Floats) -> NDArray[np.float64]:
        """See `Model`."""
        wide = spread(features, self.arrays)
        for layer in range(len(HIDDEN) + 1):
            wide = wide @ self.arrays[f"w{layer}"].T + self.arrays[f"b{layer}"]
            if layer < len(HIDDEN):
                wide = np.maximum(wide, 0.0)
        return np.asarray(wide[:, 0], np.float64)

    def dump(self) -> bytes:
        """The arrays as .npz."""
        out = io.BytesIO()
        np.savez(out, **self.arrays)  # type: ignore[arg-type]
        return out.getvalue()

    @classmethod
    def load(cls, raw: bytes) -> Network:
        """Raises ValueError or KeyError for other bytes."""
        with np.load(io.BytesIO(raw), allow_pickle=False) as held:
            return cls({name: held[name] for name in held.files})


def spread(features: Floats, arrays: dict[str, NDArray[Any]]) -> Floats:
    """Numbers standardised, the missing ones at their mean; codes one-hot, float32[n, w]."""
    sizes, parts = arrays["sizes"], []
    plain = sizes == 0
    numbers = (features[:, plain] - arrays["mean"][plain]) / arrays["scale"][plain]
    parts.append(np.nan_to_num(numbers, nan=0.0))
    for place in np.flatnonzero(~plain):
        # NULL, OTHER, then the values.
        codes = (features[:, place] - NULL).astype(np.int64)
        parts.append(np.eye(int(sizes[place]) + 2, dtype=np.float32)[codes])
    return np.ascontiguousarray(np.concatenate(parts, axis=1), np.float32)


@dataclass(frozen=True)
class Reranker:
    """A model and the columns that it learned from.

    Attributes:
        report: settings, rounds or epochs, seconds of processor.
    """

    columns: FrameColumns
    model: Model
    report: dict[str, Any]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a folder, which is made; raises StorageError where that fails."""
        path = Path(folder)
        raw = self.model.dump()
        told = {
            "format": FORMAT,
            "kind": self.model.kind,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "report": self.report,
        }
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "model").write_bytes(raw)
            (path / "columns.json").write_text(self.columns.to_json(), encoding="utf-8")
            (path / "reranker.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path}: cannot write the reranker: {error}") from error
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Reranker:
        """Raises InputError where there is no reranker, or a damaged one."""
        path = Path(folder)
        try:
            told = json.loads((path / "reranker.json").read_text(encoding="utf-8"))
            columns = FrameColumns.from_json((path / "columns.json").read_text(encoding="utf-8"))
            raw = (path / "model").read_bytes()
            kind, report = str(told["kind"]), dict(told["report"])
            whole = told["format"] == FORMAT and told["sha256"] == hashlib.sha256(raw).hexdigest()
        except FileNotFoundError as error:
            raise InputError(
                f"{path}: no reranker here ({error.filename}); "
                "make one with fanns dataset recsys rerank"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a reranker: {error!r}") from error
        if kind not in KINDS or not whole:
            raise InputError(f"{path}: the reranker is damaged, or of another version")
        try:
            model: Model = Trees.load(raw) if kind == "lightgbm" else Network.load(raw)
        except (ValueError, KeyError, OSError) as error:
            raise InputError(f"{path}: the reranker is damaged: {error}") from error
        return cls(columns, model, report)
