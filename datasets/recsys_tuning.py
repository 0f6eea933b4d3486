"""A sentence encoder fine-tuned on behaviour, after EasyRec (Ren and Huang, EMNLP 2025).

    folder = tune("minilm", texts, interactions, Path("encoder"))
    fit("text", ..., options=Options(encoder=str(folder)))

A user is told by the texts of some of their items, drawn anew at every step (the paper has profiles
written by a language model, in several wordings). Their text is to be nearest, by cosine, to the
text of another item of theirs, among those of all items of the batch. The paper's second loss, of
words that are masked, is left out: it keeps a language model one, which nothing here needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from . import recsys_sampling as sampling
from .model_files import open_model
from .recsys_interactions import Interactions
from .recsys_report import FitReport
from .recsys_torch import torch
from .recsys_trainer import Say, Training, fit

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """temperature: what cosines are divided by. told: items that a user's text has, at most.

    training: how long, how fast; the paper has lr 5e-5 and batches of 32 on each of 8 devices.
    """

    temperature: float = 0.05
    told: int = 8
    training: Training = field(
        default_factory=lambda: Training(lr=5e-5, batch=32, epochs=3, weight_decay=0.0)
    )


class Tuned(torch.nn.Module):
    """An encoder and the texts that it is shown."""

    def __init__(self, encoder: Any, texts: Sequence[str], temperature: float) -> None:
        super().__init__()
        self.encoder, self._texts, self._temperature = encoder, texts, temperature

    def encoded(self, texts: Sequence[str]) -> Any:
        """float32[n, d] of unit length, to be differentiated."""
        features = self.encoder.preprocess(list(texts))
        found = self.encoder(features)["sentence_embedding"]
        return torch.nn.functional.normalize(found, dim=1)

    def loss(self, told: list[list[int]], positives: Any, negatives: Any) -> Any:
        users = self.encoded([" ".join(self._texts[item] for item in items) for items in told])
        items = torch.cat([positives, negatives]).tolist()
        logits = users @ self.encoded([self._texts[item] for item in items]).T
        return torch.nn.functional.cross_entropy(
            logits / self._temperature, torch.arange(len(told))
        )


def tune(
    model: str,
    texts: Sequence[str],
    data: Interactions,
    folder: Path,
    settings: Settings | None = None,
    *,
    say: Say | None = None,
) -> FitReport:
    """Trains a sentence-transformers model further and saves it in `folder`.

    model: a folder, or a hub's name. texts: of the items, in the order of their rows.

    Raises InputError for texts that do not fit the items, or users of too few; StorageError where
    the folder cannot be written; MissingDependencyError without sentence-transformers.
    """
    settings = settings or Settings()
    if len(texts) != data.n_items:
        raise InputError(f"{len(texts)} texts for {data.n_items} items")
    if folder.exists():
        raise StorageError(f"{folder} exists: choose another folder for the encoder")
    encoder = open_model(model, dtype="float32", device="cpu", trust_remote_code=False)
    tuned = Tuned(encoder, [text or " " for text in texts], settings.temperature)
    random = np.random.default_rng(settings.training.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        report = fit(
            tuned,
            lambda _: batches(data, settings, random),
            settings.training,
            name="tuned encoder",
            config={"model": model, "temperature": settings.temperature, "told": settings.told},
            data_hash=data.data_hash,
            say=say,
        )
    try:
        encoder.save(str(folder), create_model_card=False)
    except OSError as error:
        raise StorageError(f"cannot write the encoder {folder}: {error}") from error
    return report


def batches(
    data: Interactions, settings: Settings, random: np.random.Generator
) -> Iterator[tuple[list[list[int]], Ints, Ints]]:
    """Of an epoch: the items that tell of each user, an item to be found, and one that is not.

    The item to be found is never among those that tell of its user.
    """
    for triples in sampling.epoch(data, settings.training.batch, random, way="interaction"):
        keep = data.user_counts[triples.users] > 1
        users, positives, negatives = (part[keep] for part in triples)
        told = []
        for user, own in zip(users, positives, strict=True):
            others = data.items_of(int(user))
            others = others[others != own]
            count = min(settings.told, len(others))
            told.append(random.choice(others, count, replace=False).tolist())
        if told:
            yield told, positives, negatives
