"""Text encoders: texts in, vectors out, and every setting that the vectors depend on.

    encoder = load("minilm", max_length=128)
    vectors = encoder.documents(abstracts)        # float32[n, d]
    asked = encoder.queries(["black hole entropy"])
    load(encoder.name)                            # the same encoder again

Models are sentence-transformers' (Reimers and Gurevych 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .encoder_names import DEFAULT, Options, over, parse, written
from .model_files import fingerprint, open_model, use_head

Floats = NDArray[np.float32]
JSON = str | int | float | bool | None
BATCH = {"cpu": 32, "cuda": 256}  # texts at a time, unless told otherwise
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # sentence-transformers' order


class Encoder(Protocol):
    """What makes vectors of texts.

    Attributes:
        name: what `load` takes to make the same encoder, and what manifests and indexes record.
        dimensions: of the vectors.
        settings: all that the vectors depend on, and nothing else: not where the model lies, nor
            device and batch, which change vectors by rounding only.
        batch: how many texts of like length to encode at a time.
    """

    @property
    def name(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def settings(self) -> Mapping[str, JSON]: ...
    @property
    def batch(self) -> int: ...

    def documents(self, texts: Sequence[str]) -> Floats:
        """The vectors float32[n, d] of texts to be found."""

    def queries(self, texts: Sequence[str]) -> Floats:
        """The vectors float32[n, d] of texts to search by."""


def load(
    model: str = DEFAULT,
    *,
    document_prompt: str | None = None,
    query_prompt: str | None = None,
    max_length: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    dimensions: int | None = None,
    normalize: bool | None = None,
    trust_remote_code: bool = False,
    called: str | None = None,
) -> Encoder:
    """A sentence-transformers model as an encoder.

    model: a folder, a hub's name, a preset (`encoder_names.PRESETS`), or the `name` of an encoder,
        whose options hold where the arguments below say nothing.
    document_prompt, query_prompt: text before every document or query, or the name of one of the
        model's prompts; by default the model's own, "" for none.
    max_length: tokens after which texts are cut; by default, and at most, what the model takes.
    batch_size: texts at a time; by default 32, on a GPU 256.
    dtype: "float32" (default) or "bfloat16", of the transformer's layers. Pooling and what follows
        it stay in float32.
    device: "cpu", "cuda:1", ...; by default a GPU where there is one.
    dimensions: the first so many of each vector, for models trained to be cut (Matryoshka).
    normalize: scale to unit length (default), after the cut.
    trust_remote_code: run the Python code that some models come with.
    called: the name to record in place of the model's, for files that will lie elsewhere.

    Raises InputError when the model is not there or does not fit what is asked, telling what to
    do; MissingDependencyError without sentence-transformers.
    """
    name, options = parse(model)
    options = over(
        options,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
        max_length=max_length,
        dtype=dtype,
        dimensions=dimensions,
        normalize=normalize,
    )
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, expected a whole number above 0")
    if name == "static":
        raise InputError(
            "the word vectors `static` were trained on a data set's texts: give the folder they "
            "were saved in (the data set's `encoder`)"
        )
    opened = open_model(
        name, dtype=options.dtype, device=device, trust_remote_code=trust_remote_code
    )
    if options.head is not None:
        use_head(opened, name, options.head, trust_remote_code)
    return SentenceEncoder(opened, called or name, options, batch_size)


class SentenceEncoder:
    """An `Encoder` over a loaded SentenceTransformer."""

    def __init__(self, model: Any, called: str, options: Options, batch: int | None) -> None:
        found = fingerprint(model)
        if options.weights not in (None, found):
            raise InputError(
                f"the model {called!r} is not the one that made the vectors: the fingerprint of "
                f"its parameters is {found}, expected {options.weights}; give the right one's "
                "folder"
            )
        self._model = model
        self._normalize = options.normalize
        _cut_texts(model, called, options.max_length)
        _keep_float32_after_first(model)
        self._document_prompt = _prompt(model, options.document_prompt, DOCUMENT_PROMPTS)
        self._query_prompt = _prompt(model, options.query_prompt, ("query",))
        self.dimensions = _dimensions(model, called, options.dimensions)
        self.batch = batch or BATCH.get(model.device.type, BATCH["cpu"])
        self.name = written(called, over(options, weights=found))
        self.settings: dict[str, JSON] = asdict(options) | {
            "document_prompt": self._document_prompt,
            "query_prompt": self._query_prompt,
            "max_length": _max_length(model),
            "dimensions": self.dimensions,
            "weights": found,
        }

    def documents(self, texts: Sequence[str]) -> Floats:
        """The vectors float32[n, d] of texts to be found."""
        return self._encode(self._model.encode_document, texts, self._document_prompt)

    def queries(self, texts: Sequence[str]) -> Floats:
        """The vectors float32[n, d] of texts to search by."""
        return self._encode(self._model.encode_query, texts, self._query_prompt)

    def _encode(self, encode: Any, texts: Sequence[str], prompt: str) -> Floats:
        if not len(texts):
            return np.empty((0, self.dimensions), np.float32)
        # An empty text has no word, and a table of word vectors would give nothing; see
        # static_embedding for what a blank has.
        texts = [text or " " for text in texts]
        made = encode(texts, prompt=prompt, batch_size=self.batch, show_progress_bar=False).astype(
            np.float32, copy=False
        )[:, : self.dimensions]
        _check_finite(made, texts)
        if not self._normalize:
            return np.ascontiguousarray(made)
        lengths = np.sqrt(np.einsum("ij,ij->i", made, made, dtype=np.float64))
        lengths[lengths == 0] = 1.0
        return np.asarray(made / lengths[:, None], np.float32)


def _check_finite(vectors: Floats, texts: Sequence[str]) -> None:
    odd = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(odd):
        raise InputError(
            f"the model gives NaN or infinity for {len(odd)} of {len(texts)} texts, the first "
            f"being {texts[int(odd[0])][:80]!r}; try dtype float32"
        )


def _cut_texts(model: Any, called: str, length: int | None) -> None:
    if length is None:
        return
    own = _max_length(model)
    if own is None:
        raise InputError(f"the model {called!r} reads texts of any length: leave out max_length")
    limit = getattr(getattr(model[0].auto_model, "config", None), "max_position_embeddings", own)
    if length > max(own, limit):
        raise InputError(
            f"max_length is {length}, but the model {called!r} takes at most {max(own, limit)} "
            "tokens"
        )
    model.max_seq_length = length


def _max_length(model: Any) -> int | None:
    """Tokens after which texts are cut; None for models that read all of a text."""
    length = model.max_seq_length
    return int(length) if length is not None and np.isfinite(length) else None


def _keep_float32_after_first(model: Any) -> None:
    """Lets all modules after the first work in float32, on its outputs in that precision.

    Sums over hundreds of tokens, projections and unit lengths lose most of what bfloat16 loses,
    and take next to no time.
    """
    import torch

    for module in list(model)[1:]:
        module.to(torch.float32)

    def widen(_: Any, __: Any, features: dict[str, Any]) -> dict[str, Any]:
        for key, value in features.items():
            if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
                features[key] = value.float()
        return features

    model[0].register_forward_hook(widen)


def _prompt(model: Any, given: str | None, names: tuple[str, ...]) -> str:
    """The text to put before: as given or by the name given, else the model's first of `names`."""
    prompts: dict[str, str | None] = model.prompts or {}
    if given is not None:
        return prompts.get(given) or given
    for name in names:
        if name in prompts:
            return prompts[name] or ""
    return ""


def _dimensions(model: Any, called: str, wanted: int | None) -> int:
    own = model.get_embedding_dimension()
    if own is None:
        own = len(model.encode_document(["x"], show_progress_bar=False)[0])
    if wanted is not None and wanted > own:
        raise InputError(f"dimensions is {wanted}, but vectors of the model {called!r} have {own}")
    return wanted or int(own)
