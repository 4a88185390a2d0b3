import math
from pathlib import Path

import pytest
import torch

from prefrl.errors import ConfigError
from prefrl.text.methods.preference_losses import (
    PAIR_METHODS,
    TUNING_METHODS,
    PairLossConfig,
    cdpo_loss,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_loss,
    orpo_loss,
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


@pytest.mark.parametrize("method", ["dpo", "cdpo", "robust-dpo", "ipo", "hinge", "simpo"])
def test_without_a_beta_each_method_takes_its_own(method):
    one = torch.tensor([-1.0]), torch.tensor([-1.5])
    own = 2.0 if method == "simpo" else 0.1
    got, expected = (
        float(PAIR_METHODS[method].function(*one, PairLossConfig(beta=beta)))
        for beta in (None, own)
    )
    assert got == pytest.approx(expected)
    assert got != float(PAIR_METHODS[method].function(*one, PairLossConfig(beta=0.3)))


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


def test_cdpo_is_not_what_trl_makes_of_label_smoothing():
    # In TRL 1.16 the loss "sigmoid" is -log sigmoid(beta h), whatever label_smoothing is.
    beta, flip_rate = 0.1, 0.2
    for h in (-7.0, 0.5, 30.0):
        p = 1 / (1 + math.exp(-beta * h))
        ours = -(1 - flip_rate) * math.log(p) - flip_rate * math.log(1 - p)
        trl = -math.log(p)
        margin = torch.tensor([h], dtype=torch.float64)
        assert float(cdpo_loss(margin, beta=beta, flip_rate=flip_rate)) == pytest.approx(ours)
        assert float(cdpo_loss(margin, beta=beta, flip_rate=0.0)) == pytest.approx(trl)
        # -log(1 - p) + log(p) = beta h: the whole of what TRL leaves out.
        assert ours - trl == pytest.approx(flip_rate * beta * h)


def test_ipo_is_of_sums_over_tokens_where_trl_takes_means():
    # Log-probabilities of policy and reference, and tokens, of a chosen and a rejected response.
    chosen, rejected = (-4.0, -6.0, 4), (-9.0, -8.0, 10)
    sums = (chosen[0] - chosen[1]) - (rejected[0] - rejected[1])
    means = (chosen[0] - chosen[1]) / chosen[2] - (rejected[0] - rejected[1]) / rejected[2]
    assert (sums, means) == (3, pytest.approx(0.6))
    assert float(ipo_loss(torch.tensor([sums]), beta=0.1)) == pytest.approx((sums - 5) ** 2)
    # TRL 1.16: each response's log-ratio is divided by its tokens before the same square.
    trl = (means - 1 / (2 * 0.1)) ** 2
    assert float(ipo_loss(torch.tensor([means]), beta=0.1)) == pytest.approx(trl)
    assert trl == pytest.approx(19.36)


SLOPES = {  # of the loss by h, or by the two means for those without a reference
    "dpo": lambda h: -0.3 * sigmoid(-0.3 * h),
    "cdpo": lambda h: 0.3 * (sigmoid(0.3 * h) - 0.9),
    "robust-dpo": lambda h: 0.3 * (-0.9 * sigmoid(-0.3 * h) - 0.1 * sigmoid(0.3 * h)) / 0.8,
    "ipo": lambda h: 2 * (h - 1 / 0.6),
    "hinge": lambda h: -0.3 if 0.3 * h < 1 else 0.0,
}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("method", SLOPES)
def test_gradients_of_losses_of_the_margin_are_those_derived_by_hand(method):
    margins = [-20.0, -1.0, 0.0, 2.0, 5.0, 20.0]
    h = torch.tensor(margins, dtype=torch.float64, requires_grad=True)
    PAIR_METHODS[method].function(h, 0 * h, PairLossConfig(beta=0.3)).sum().backward()
    assert h.grad.tolist() == pytest.approx([SLOPES[method](m) for m in margins])


def test_gradients_of_orpo_and_simpo_are_those_derived_by_hand():
    w, r = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (-1.3, -0.7))
    orpo_loss(w, r, weight=0.2).sum().backward()
    # d log-odds / d m = 1 / (1 - exp(m))
    odds = math.log(math.exp(-1.3) / (1 - math.exp(-1.3)))
    odds -= math.log(math.exp(-0.7) / (1 - math.exp(-0.7)))
    assert float(w.grad) == pytest.approx(-1 - 0.2 * sigmoid(-odds) / (1 - math.exp(-1.3)))
    assert float(r.grad) == pytest.approx(0.2 * sigmoid(-odds) / (1 - math.exp(-0.7)))
    w.grad = r.grad = None
    simpo_loss(w, r, beta=2.0, target=0.5).sum().backward()
    assert float(w.grad) == pytest.approx(-2 * sigmoid(0.5 - 2 * (-1.3 + 0.7)))
    assert float(r.grad) == -float(w.grad)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", 0.0),
        ("beta", math.inf),
        ("simpo_target", math.inf),
        ("simpo_target", math.nan),
        ("orpo_weight", -0.1),
        ("orpo_weight", math.nan),
        ("flip_rate", 0.5),
        ("kto_good_weight", -1.0),
        ("kto_bad_weight", math.nan),
        ("rrhf_weight", math.inf),
        ("pro_weight", -0.1),
    ],
)
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


def test_the_table_of_methods_in_the_docs_is_that_of_the_code():
    text = (Path(__file__).parents[3] / "docs" / "text.md").read_text()
    for name, method in TUNING_METHODS.items():
        reference = "yes" if method.needs_reference else "no"
        assert f"| `{name}` | {method.takes} | {reference} | {method.paper} |" in text
