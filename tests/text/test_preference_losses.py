import math

import pytest
import torch

from prefrl.errors import ConfigError
from prefrl.text.preference_losses import (
    PAIR_METHODS,
    PairLossConfig,
    cdpo_loss,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_loss,
    orpo_loss,
    preference_margin,
    robust_dpo_loss,
    simpo_loss,
)

MARGINS = torch.tensor([-20.0, -10, 0, 10, 20], dtype=torch.float64)
BY_HAND = {
    "dpo": [2.126928, 1.313262, 0.693147, 0.313262, 0.126928],
    "cdpo": [1.926928, 1.213262, 0.693147, 0.413262, 0.326928],
    "robust-dpo": [2.376928, 1.438262, 0.693147, 0.188262, -0.123072],
    "ipo": [625, 225, 25, 25, 225],
    "hinge": [3, 2, 1, 0, 0],
}


@pytest.mark.parametrize("method", BY_HAND)
def test_the_losses_are_those_computed_by_hand(method):
    got = PAIR_METHODS[method].function(MARGINS, 0 * MARGINS, PairLossConfig())
    assert torch.allclose(got, torch.tensor(BY_HAND[method], dtype=torch.float64), atol=1e-6)


def test_unpaired_and_reference_free_losses_are_those_computed_by_hand():
    ratio = torch.tensor([10.0, 10.0])
    kto = kto_loss(ratio, torch.tensor([True, False]), baseline=0.0, beta=0.1)
    assert torch.allclose(kto, torch.tensor([0.268941, 0.731059]), atol=1e-6)
    chosen, rejected = torch.tensor([-1.0]), torch.tensor([-1.5])
    assert float(orpo_loss(chosen, rejected, weight=0.1)) == pytest.approx(1.040114, abs=1e-6)
    assert float(simpo_loss(chosen, rejected, beta=2, target=1)) == pytest.approx(math.log(2))


def test_at_the_reference_dpo_is_ln_2_with_a_gradient_of_half_of_beta():
    margin = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss = dpo_loss(margin, beta=0.1)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(math.log(2))
    assert float(margin.grad) == pytest.approx(-0.05)


def test_cdpo_is_least_where_the_preference_is_as_sure_as_the_answers():
    margin = torch.tensor([21.9722], dtype=torch.float64, requires_grad=True)
    cdpo_loss(margin, beta=0.1, flip_rate=0.1).sum().backward()
    assert float(margin.grad) == pytest.approx(0, abs=1e-6)


def test_robust_dpo_of_flipped_answers_is_dpo_of_the_true_ones_on_average():
    right = robust_dpo_loss(MARGINS, beta=0.1, flip_rate=0.2)
    wrong = robust_dpo_loss(-MARGINS, beta=0.1, flip_rate=0.2)
    assert torch.allclose(0.8 * right + 0.2 * wrong, dpo_loss(MARGINS, beta=0.1))


def test_ipo_on_sums_is_not_ipo_on_means_over_tokens():
    # Four tokens each: the reference code takes the sum, TRL the mean.
    sums = preference_margin(*(torch.tensor([v]) for v in (-4.0, -8.0, -6.0, -6.0)))
    assert float(ipo_loss(sums, beta=0.1)) == pytest.approx((4 - 5) ** 2)
    assert float(ipo_loss(sums / 4, beta=0.1)) == pytest.approx((1 - 5) ** 2)


@pytest.mark.parametrize("method", PAIR_METHODS)
def test_gradients_are_those_of_finite_differences(method):
    loss = PAIR_METHODS[method]
    chosen = torch.tensor([-1.3, -0.4, -2.0], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([-0.7, -1.9, -0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w, r: loss.function(w, r, PairLossConfig()), (chosen, rejected)
    )


def test_a_hinge_is_flat_beyond_its_margin():
    margin = torch.tensor([11.0], requires_grad=True)
    hinge_loss(margin, beta=0.1).sum().backward()
    assert float(margin.grad) == 0


@pytest.mark.parametrize(("name", "value"), [("beta", 0.0), ("flip_rate", 0.5)])
def test_numbers_that_cannot_work_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        PairLossConfig(**{name: value})


def test_orpo_has_a_gradient_where_rounding_makes_a_response_certain():
    chosen, rejected = torch.zeros(1, requires_grad=True), torch.tensor([-1.0], requires_grad=True)
    loss = orpo_loss(chosen, rejected, weight=0.1).sum()
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert bool(torch.isfinite(chosen.grad).all())
    assert bool(torch.isfinite(rejected.grad).all())
