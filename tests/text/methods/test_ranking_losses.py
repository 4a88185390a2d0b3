import math

import pytest
import torch

from prefrl.text.methods.preference_losses import TUNING_METHODS, PairLossConfig
from prefrl.text.methods.ranking_losses import pro_loss, rrhf_loss

# Two rankings: of three responses, the second one best; and of two that are in order already.
LOGPROBS = [[-2.0, -9.0, -4.0], [-1.0, -8.0, 0.0]]
LENGTHS = [[2.0, 3.0, 2.0], [1.0, 4.0, 1.0]]
RANKS = [[2.0, 1.0, 3.0], [1.0, 2.0, math.nan]]
# Means over tokens: -1, -3, -2 and -1, -2.


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def test_rrhf_is_what_it_is_by_hand():
    # The best has -3: behind -1 by 2, behind -2 by 1; -1 stands above -2, as it should.
    first = (2 + 1 + 0) + 9
    second = 0 + 1
    got = rrhf_loss(*tensors(LOGPROBS, LENGTHS, RANKS))
    assert got.tolist() == pytest.approx([first, second])
    got = rrhf_loss(*tensors(LOGPROBS, LENGTHS, RANKS), weight=100.0)
    assert got.tolist() == pytest.approx([309, 1])


def test_pro_is_what_it_is_by_hand():
    total = math.exp(-3) + math.exp(-1) + math.exp(-2)
    first = -math.log(math.exp(-3) / total)
    first += -math.log(math.exp(-1) / (math.exp(-1) + math.exp(-2)))
    second = -math.log(math.exp(-1) / (math.exp(-1) + math.exp(-2)))
    got = pro_loss(*tensors(LOGPROBS, LENGTHS, RANKS), weight=0.05)
    # The log-loss of the best by 0.05 (K - 1)^2.
    assert got.tolist() == pytest.approx([first + 0.05 * 4 * 9, second + 0.05 * 1])


def test_of_a_tie_neither_is_worse():
    logprobs, lengths, ranks = tensors([[-1.0, -2.0, -4.0]], [[1.0] * 3], [[1.0, 1.0, 2.0]])
    assert float(rrhf_loss(logprobs, lengths, ranks)) == pytest.approx(1)
    assert float(rrhf_loss(-3 - logprobs, lengths, ranks)) == pytest.approx((3 + 2) + 2)
    by_hand = sum(-math.log(math.exp(p) / (math.exp(p) + math.exp(-4))) for p in (-1, -2))
    assert float(pro_loss(logprobs, lengths, ranks, weight=0.0)) == pytest.approx(by_hand)


def test_the_order_in_which_responses_come_does_not_matter():
    order = [2, 0, 1]
    turned = [[[row[i] for i in order] for row in rows] for rows in (LOGPROBS, LENGTHS, RANKS)]
    for loss in (rrhf_loss, pro_loss):
        assert torch.allclose(loss(*tensors(*turned)), loss(*tensors(LOGPROBS, LENGTHS, RANKS)))


def test_pro_of_two_without_its_log_loss_is_a_sigmoid_of_means():
    logprobs, lengths, ranks = tensors([[-6.0, -2.0]], [[3.0, 2.0]], [[1.0, 2.0]])
    by_hand = -math.log(1 / (1 + math.exp(-(-2 - -1))))
    assert float(pro_loss(logprobs, lengths, ranks, weight=0.0)) == pytest.approx(by_hand)


def rrhf_again(logprobs, lengths, ranks, weight):
    """The formula once more, by loops over one ranking."""
    p = [logprobs[i] / lengths[i] for i in range(len(ranks))]
    pairs = [(i, j) for i in range(len(p)) for j in range(len(p)) if ranks[i] > ranks[j]]
    hinge = sum(torch.relu(p[i] - p[j]) for i, j in pairs)
    return weight * hinge - logprobs[ranks.index(min(ranks))]


def pro_again(logprobs, lengths, ranks, weight):
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    p = [logprobs[i] / lengths[i] for i in order]
    n = len(p)
    contrast = sum(-torch.log(p[k].exp() / sum(q.exp() for q in p[k:])) for k in range(n - 1))
    return contrast - weight * (n - 1) ** 2 * logprobs[order[0]]


@pytest.mark.parametrize(
    ("loss", "again", "weight"), [(rrhf_loss, rrhf_again, 2.0), (pro_loss, pro_again, 0.05)]
)
def test_gradients_are_those_of_the_formula(loss, again, weight):
    logprobs, lengths, ranks = tensors(LOGPROBS, LENGTHS, RANKS)
    ours, theirs = logprobs.clone().requires_grad_(), logprobs.clone().requires_grad_()
    value = loss(ours, lengths, ranks, weight=weight)
    value.sum().backward()
    whole = again(theirs[0], lengths[0], RANKS[0], weight)
    whole = whole + again(theirs[1, :2], lengths[1, :2], RANKS[1][:2], weight)
    whole.backward()
    assert float(value.sum().detach()) == pytest.approx(float(whole.detach()))
    assert torch.allclose(ours.grad, theirs.grad)
    assert float(ours.grad[1, 2]) == 0  # a place without a response
    assert torch.autograd.gradcheck(
        lambda x: loss(x, lengths, ranks, weight=weight), (logprobs.clone().requires_grad_(),)
    )


@pytest.mark.parametrize("method", ["rrhf", "pro"])
def test_the_numbers_reach_the_losses(method):
    values = [
        TUNING_METHODS[method].function(*tensors(LOGPROBS, LENGTHS, RANKS), config).sum()
        for config in (PairLossConfig(), PairLossConfig(rrhf_weight=3.0, pro_weight=0.2))
    ]
    assert values[0] != values[1]
