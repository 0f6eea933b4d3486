"""The product-key memory layer: exact, learning where it looked, and cured of dead keys."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fanns.errors import InputError

torch = pytest.importorskip("torch")

from fanns.datasets.recsys_memory import ProductKeyMemory  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(rows: int, width: int = 10, seed: int = 0) -> Any:
    return torch.randn((rows, width), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalise", [True, False])
def test_forward_is_that_of_all_keys_looked_at(normalise: bool) -> None:
    """Every pair of half keys scored densely, the best k by a sort."""
    memory = ProductKeyMemory(10, 6, halves=9, heads=3, k=5, key=8, normalise=normalise, seed=1)
    given = inputs(20)
    memory(given)
    memory.train(False)
    queries = memory.norm(memory.query(given)).view(20, 3, 8)
    expected = torch.zeros((20, 6))
    for head in range(3):
        first = queries[:, head, :4] @ memory.keys_a[head].T
        second = queries[:, head, 4:] @ memory.keys_b[head].T
        scores, best = (first[:, :, None] + second[:, None, :]).flatten(1).sort(descending=True)
        weights = scores[:, :5].softmax(dim=-1)
        expected = expected + (weights.unsqueeze(-1) * memory.values[best[:, :5]]).sum(dim=1)
    assert torch.allclose(memory(given), expected, atol=1e-6)


def test_gradients_reach_the_values_and_keys_that_were_found_and_no_others() -> None:
    memory = ProductKeyMemory(10, 6, halves=8, heads=2, k=3, key=8)
    memory(inputs(4)).square().sum().backward()
    found = memory.counts > 0
    assert 0 < int(found.sum()) <= 24 and memory.usage().lookups == 24
    assert torch.equal(memory.values.grad.abs().sum(dim=1) > 0, found)
    for keys, counts in ((memory.keys_a, memory.halves_a), (memory.keys_b, memory.halves_b)):
        assert torch.equal(keys.grad.abs().sum(dim=2) > 0, counts > 0)
    assert memory.query.weight.grad.abs().sum() > 0


def test_it_learns() -> None:
    """More clusters than a linear layer of this width can tell apart."""
    memory = ProductKeyMemory(10, 1, halves=16, heads=2, k=4, key=16)
    given = inputs(256)
    goal = (given[:, :1] * given[:, 1:2]).sign()
    optimizer = torch.optim.Adam(memory.parameters(), lr=2e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (memory(given) - goal).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def dying(seed: int = 0) -> ProductKeyMemory:
    """A memory whose half keys but two of each table point away from all queries."""
    memory = ProductKeyMemory(6, 4, halves=16, heads=1, k=2, key=6, normalise=False, seed=seed)
    with torch.no_grad():
        memory.query.weight.copy_(torch.eye(6))
        memory.query.bias.zero_()
        for keys in (memory.keys_a, memory.keys_b):
            keys[0, 2:] = -keys[0, 2:].abs() - 1
            keys[0, :2] = keys[0, :2].abs() + 0.5
    return memory


def test_dead_keys_come_back_to_life() -> None:
    memory, given = dying(), inputs(300, 6).abs() + 0.2
    optimizer = torch.optim.Adam(memory.parameters(), lr=1e-2)
    memory(given).sum().backward()
    optimizer.step()
    memory.forget_usage()
    memory(given)
    before = memory.usage()
    assert before.utilisation <= 4 / 256 and before.perplexity <= 4
    assert memory.reinitialise(optimizer, noise=0.5, seed=1) == 28
    assert memory.usage() == (0.0, 0.0, 0)
    for name in ("exp_avg", "exp_avg_sq"):
        assert not optimizer.state[memory.keys_a][name][0, 2:].any()
        assert not optimizer.state[memory.values][name][5 * 16 + 5].any()
    memory(given)
    after = memory.usage()
    assert after.utilisation > 3 * before.utilisation
    assert after.perplexity > 2 * before.perplexity


def test_values_are_copied_with_the_keys_where_no_head_needs_them() -> None:
    memory, given = dying(), inputs(50, 6).abs() + 0.2
    memory(given)
    used = memory.counts.clone() > 0
    before = memory.values.detach().clone()
    memory.reinitialise(noise=0.0)
    assert torch.equal(memory.values.detach()[used], before[used])
    alive = {tuple(row) for row in before.view(16, 16, 4)[:2, :2].reshape(4, 4).tolist()}
    assert {tuple(row) for row in memory.values.detach().tolist()} == alive


def test_nothing_is_replaced_where_all_keys_are_used() -> None:
    memory = ProductKeyMemory(6, 4, halves=3, heads=2, k=9, key=4)
    memory(inputs(20, 6))
    keys = memory.keys_a.detach().clone()
    assert memory.usage().utilisation == 1.0
    assert memory.reinitialise() == 0 and torch.equal(keys, memory.keys_a)


def test_evaluation_counts_nothing_and_odd_arguments_are_told() -> None:
    memory = ProductKeyMemory(6, 4, halves=3, heads=1, k=2, key=4)
    memory.train(False)
    memory(inputs(5, 6))
    assert memory.usage().lookups == 0 and not np.any(memory.halves_a.numpy())
    with pytest.raises(InputError, match="even key"):
        ProductKeyMemory(6, 4, key=5)
    with pytest.raises(InputError, match="k: expected 1 to 9"):
        ProductKeyMemory(6, 4, halves=3, k=10)
