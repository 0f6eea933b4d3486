"""Small sentence-transformers models with random weights, made in a second, and a fake encoder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

WORDS = """a of the black hole entropy graph neural network lattice gauge theory proof bound"""


def tiny_bert(
    folder: Path, prompts: dict[str, str] | None = None, heads: Sequence[int] = ()
) -> Path:
    """A BERT of 2 layers and 32 dimensions, 24 tokens at most; with linear layers of other widths
    in folders of their own, as Stella has them: the first is the one in use.
    """
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    raw = folder.with_name(folder.name + "-raw")
    raw.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    (raw / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizer(str(raw / "vocab.txt")).save_pretrained(raw)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=24,
    )
    BertModel(config).save_pretrained(raw)
    modules: list[Any] = [Transformer(str(raw), max_seq_length=16), Pooling(32)]
    layers = {width: Dense(32, width, activation_function=torch.nn.Identity()) for width in heads}
    modules += list(layers.values())[:1]
    library.SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder))
    for width, layer in layers.items():
        (folder / f"2_Dense_{width}").mkdir()
        layer.save(str(folder / f"2_Dense_{width}"))
    return folder


class FakeEncoder:
    """Vectors drawn from each text's hash; notes all texts that it is given."""

    def __init__(self, dimensions: int = 8, name: str = "fake", batch: int = 4) -> None:
        self.name, self.dimensions, self.batch = name, dimensions, batch
        self.settings: dict[str, str | int | float | bool | None] = {}
        self.settings |= {"name": name, "dimensions": dimensions}
        self.seen: list[str] = []

    def documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        return np.stack([self.vector(text) for text in texts])

    queries = documents

    def vector(self, text: str) -> NDArray[np.float32]:
        """float32[dimensions] of unit length."""
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        made = np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)
        return np.asarray(made / np.linalg.norm(made), np.float32)
