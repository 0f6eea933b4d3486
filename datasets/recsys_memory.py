"""Product-key memories: a layer that looks up a few of very many values by learned keys.

Lample et al., "Large memory layers with product keys" (2019); half keys that nothing finds any more
are made anew from used ones as in Karimov et al., "CNN with large memory layers" (2021). The search
is the library's own (`fanns.ProductKeys`), exact over all pairs of half keys.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.product_keys import ProductKeys

from .recsys_torch import array, forget, functional, generator, nn, normal, torch


class Usage(NamedTuple):
    """How evenly keys are used.

    Attributes:
        utilisation: share of the keys that were found at all. perplexity: exp of the entropy of
            how often each was: how many keys, used evenly, would be as diverse.
        lookups: keys found, over all heads.
    """

    utilisation: float
    perplexity: float
    lookups: int


class ProductKeyMemory(torch.nn.Module):
    """float32[n, inputs] to float32[n, width]: each head finds the k best of `halves` ** 2 keys and
    adds their values, weighed by the softmax of their scores.

    Attributes:
        keys_a, keys_b: float32[heads, halves, key / 2]; key i * halves + j is halves i and j.
        values: float32[halves ** 2, width], shared by the heads.
        counts: int64[halves ** 2], how often training found each key; `halves_a`, `halves_b`:
            int64[heads, halves], the same for half keys of each head.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        halves: int = 512,
        heads: int = 4,
        k: int = 32,
        key: int = 128,
        normalise: bool = True,
        seed: int = 0,
    ) -> None:
        """normalise: batch normalisation of queries, which spreads them over the keys."""
        super().__init__()
        if key % 2 or min(inputs, width, halves, heads, key) < 1:
            raise InputError(f"expected an even key and positive sizes, got key={key}")
        if not 1 <= k <= halves * halves:
            raise InputError(f"k: expected 1 to {halves * halves}, got {k}")
        random = generator(seed)
        self.halves, self.heads, self.k, self.key = halves, heads, k, key
        self.query = nn.Linear(inputs, heads * key)
        reach = inputs**-0.5
        with torch.no_grad():
            for parameter in self.query.parameters():
                parameter.uniform_(-reach, reach, generator=random)
        self.norm = nn.BatchNorm1d(heads * key) if normalise else nn.Identity()
        bound = 1 / math.sqrt(key // 2)
        self.keys_a, self.keys_b = (
            nn.Parameter((torch.rand(heads, halves, key // 2, generator=random) * 2 - 1) * bound)
            for _ in range(2)
        )
        self.values = normal((halves * halves, width), width**-0.5, random)
        self.register_buffer("counts", torch.zeros(halves * halves, dtype=torch.int64))
        for name in ("halves_a", "halves_b"):
            self.register_buffer(name, torch.zeros(heads, halves, dtype=torch.int64))

    def forward(self, inputs: Any) -> Any:
        queries = self.norm(self.query(inputs)).view(len(inputs), self.heads, self.key)
        total = inputs.new_zeros((len(inputs), self.values.shape[1]))
        for head in range(self.heads):
            query = queries[:, head]
            found = self._found(head, query)
            if self.training:
                self._count(head, found)
            scores = self._scores(head, query, found)
            total = total + functional.embedding_bag(
                found, self.values, mode="sum", per_sample_weights=scores.softmax(dim=-1)
            )
        return total

    def _found(self, head: int, queries: Any) -> Any:
        """int64[n, k], the best keys of each query, exactly."""
        keys = ProductKeys(array(self.keys_a[head]), array(self.keys_b[head]))
        hits = keys.topk(np.ascontiguousarray(queries.detach().numpy(), np.float32), self.k)
        return torch.from_numpy(np.asarray(hits.ids, np.int64).reshape(len(queries), self.k))

    def _scores(self, head: int, queries: Any, found: Any) -> Any:
        """float32[n, k] of found keys, through which queries and keys learn."""
        first, second = queries.split(self.key // 2, dim=-1)
        a = functional.embedding(torch.div(found, self.halves, rounding_mode="floor"),
                                 self.keys_a[head])  # fmt: skip
        b = functional.embedding(found % self.halves, self.keys_b[head])
        return (a * first.unsqueeze(1)).sum(-1) + (b * second.unsqueeze(1)).sum(-1)

    def _count(self, head: int, found: Any) -> None:
        flat = found.reshape(-1)
        self.counts += flat.bincount(minlength=len(self.counts))
        a, b = torch.div(flat, self.halves, rounding_mode="floor"), flat % self.halves
        self.halves_a[head] += a.bincount(minlength=self.halves)
        self.halves_b[head] += b.bincount(minlength=self.halves)

    def usage(self) -> Usage:
        """Of the look-ups in training since the last `reinitialise` or `forget_usage`."""
        counts = self.counts.numpy().astype(np.float64)
        total = counts.sum()
        if not total:
            return Usage(0.0, 0.0, 0)
        shares = counts[counts > 0] / total
        entropy = float(-(shares * np.log(shares)).sum())
        return Usage(len(shares) / len(counts), math.exp(entropy), int(total))

    def forget_usage(self) -> None:
        """Count from zero."""
        for counts in (self.counts, self.halves_a, self.halves_b):
            counts.zero_()

    def reinitialise(
        self, optimizer: Any = None, *, floor: float = 0.01, noise: float = 0.01, seed: int = 0
    ) -> int:
        """Makes half keys anew that were found less than `floor` times the mean, and says how many.

        Each becomes a noisy copy of a used one of its head, and the values of its pairs, where no
        head found them, those of the pairs it was copied from. The optimiser forgets the moments of
        all of these. Counts start from zero.
        """
        made = 0
        unused = self.counts.numpy().reshape(self.halves, self.halves) == 0
        for head in range(self.heads):
            keys = ProductKeys(array(self.keys_a[head]), array(self.keys_b[head]), usage="halves")
            assert keys.usage is not None
            keys.usage.a[:], keys.usage.b[:] = self.halves_a[head], self.halves_b[head]
            mean = float(self.halves_a[head].double().mean())
            new = keys.reinitialise_dead(floor * mean, seed=seed + head, noise=noise)
            for parameter, table, dead in (
                (self.keys_a, keys.keys_a, new.dead_a), (self.keys_b, keys.keys_b, new.dead_b)
            ):  # fmt: skip
                with torch.no_grad():
                    parameter[head].copy_(torch.from_numpy(np.array(table)))
                width = self.key // 2
                rows = (head * self.halves + dead)[:, None] * width + np.arange(width)
                self._forget(optimizer, parameter, rows)
                made += len(dead)
            self._copy_values(optimizer, new.dead_a, new.donors_a, unused, by_row=True)
            self._copy_values(optimizer, new.dead_b, new.donors_b, unused, by_row=False)
        self.forget_usage()
        return made

    def _copy_values(
        self,
        optimizer: Any,
        dead: NDArray[np.int64],
        donors: NDArray[np.int64],
        unused: NDArray[np.bool_],
        *,
        by_row: bool,
    ) -> None:
        """Gives unused pairs of dead half keys the values of the same pairs of their donors."""
        others = np.arange(self.halves)
        if by_row:
            to, source = (half[:, None] * self.halves + others for half in (dead, donors))
        else:
            to, source = (others * self.halves + half[:, None] for half in (dead, donors))
        free = unused.reshape(-1)[to]
        width = self.values.shape[1]
        with torch.no_grad():
            self.values[torch.from_numpy(to[free])] = self.values[torch.from_numpy(source[free])]
        self._forget(optimizer, self.values, to[free][:, None] * width + np.arange(width))

    def _forget(self, optimizer: Any, parameter: Any, entries: NDArray[np.int64]) -> None:
        if optimizer is not None:
            forget(optimizer, parameter, torch.from_numpy(entries.reshape(-1)))
