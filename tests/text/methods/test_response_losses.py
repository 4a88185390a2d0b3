import math

import pytest
import torch

from prefrl.text.methods.preference_losses import TUNING_METHODS, PairLossConfig
from prefrl.text.methods.response_losses import kto_baseline, kto_loss


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_the_baseline_is_a_mean_that_is_not_negative_and_has_no_gradient():
    ratios = torch.tensor([3.0, -1.0, 4.0], requires_grad=True)
    assert float(kto_baseline(ratios)) == 2
    assert not kto_baseline(ratios).requires_grad
    assert float(kto_baseline(-ratios)) == 0


def test_kto_is_what_it_is_by_hand():
    ratio = torch.tensor([4.0, -3.0, 4.0], dtype=torch.float64)
    is_good = torch.tensor([True, True, False])
    got = kto_loss(ratio, is_good, baseline=2.0, beta=0.5, good_weight=1.5, bad_weight=0.5)
    by_hand = [1.5 * (1 - sigmoid(1)), 1.5 * (1 - sigmoid(-2.5)), 0.5 * (1 - sigmoid(-1))]
    assert got.tolist() == pytest.approx(by_hand)


def test_the_gradient_of_kto_is_the_one_derived_by_hand():
    values = [4.0, -3.0, 4.0, 0.0]
    ratio = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    is_good = torch.tensor([True, True, False, False])
    config = PairLossConfig(beta=0.5, kto_good_weight=1.5, kto_bad_weight=0.7)
    TUNING_METHODS["kto"].function(ratio, is_good, 2.0, config).sum().backward()
    weights = [-1.5, -1.5, 0.7, 0.7]
    slopes = [sigmoid(0.5 * (r - 2)) * sigmoid(0.5 * (2 - r)) for r in values]
    by_hand = [w * 0.5 * s for w, s in zip(weights, slopes, strict=True)]
    assert ratio.grad.tolist() == pytest.approx(by_hand)
    assert torch.autograd.gradcheck(
        lambda r: kto_loss(r, is_good, baseline=2.0, beta=0.5),
        (ratio.detach().clone().requires_grad_(),),
    )


def test_far_from_the_baseline_nothing_overflows():
    ratio = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = kto_loss(ratio, torch.tensor([True, True]), baseline=0.0, beta=1.0)
    loss.sum().backward()
    assert loss.tolist() == [0, 1]
    assert bool(torch.isfinite(ratio.grad).all())
