import math

import pytest
import torch

from prefrl.core.loss import best_of_k_loss, bradley_terry_loss, preference_probability


def test_probability_by_hand():
    left, right = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    # 1 / (1 + e^-1) and one half
    assert preference_probability(left, right).tolist()[0] == pytest.approx([0.7310586, 0.5])
    # 0.9 * 0.7310586 + 0.05
    noisy = preference_probability(left, right, noise=0.1)
    assert noisy.tolist()[0] == pytest.approx([0.7079527, 0.5])


def test_noise_bounds_the_probability():
    certain = preference_probability(torch.tensor(1e4), torch.tensor(0.0), noise=0.1)
    assert float(certain) == pytest.approx(0.95)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("preference", [0.0, 0.5, 1.0])
def test_equal_scores_cost_ln_2(noise, preference):
    scores = torch.full((3, 4), 7.0)
    loss = bradley_terry_loss(scores, scores, torch.full((4,), preference), noise=noise)
    assert loss.shape == (3, 4)
    assert loss.flatten().tolist() == pytest.approx([math.log(2)] * 12)


def test_loss_by_hand():
    left, right = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    # -ln sigmoid(1), -ln (1 - sigmoid(1)), and their mean for a tie
    for preference, expected in [(1.0, 0.3132617), (0.0, 1.3132617), (0.5, 0.8132617)]:
        loss = bradley_terry_loss(left, right, torch.tensor([preference]))
        assert float(loss) == pytest.approx(expected)
    # -ln 0.7079527 with the noise model
    noisy = bradley_terry_loss(left, right, torch.tensor([1.0]), noise=0.1)
    assert float(noisy) == pytest.approx(0.3453780, abs=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_confident_wrong_answer_has_finite_loss_and_gradient(noise):
    left = torch.tensor([[500.0]], requires_grad=True)
    loss = bradley_terry_loss(left, torch.zeros(1, 1), torch.tensor([0.0]), noise=noise)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(left.grad).all()
    if noise:  # Ibarz et al. 2018, appendix A: at most -ln 0.05
        assert float(loss.detach()) == pytest.approx(-math.log(0.05), rel=1e-3)


def test_a_constant_added_to_both_sides_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 3, 5, generator=generator)
    preference = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0])
    plain = bradley_terry_loss(left, right, preference, noise=0.1)
    shifted = bradley_terry_loss(left + 3, right + 3, preference, noise=0.1)
    assert torch.allclose(plain, shifted, atol=1e-6)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape for both sides"):
        bradley_terry_loss(torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(2))


def test_the_best_of_k_by_hand():
    scores = torch.tensor([[[0.0, 1.0, 2.0], [0.0, 3.0, 99.0]]])
    shares = torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]])
    there = torch.tensor([[True, True, True], [True, True, False]])
    losses = best_of_k_loss(scores, shares, there)
    log = math.log
    first = log(1 + math.e + math.e**2) - 2
    second = log(1 + math.e**3) - 1.5
    assert losses.tolist() == [pytest.approx([first, second], rel=1e-6)]
    noisy = best_of_k_loss(scores, shares, there, noise=0.3)
    share = math.e**2 / (1 + math.e + math.e**2)
    assert float(noisy[0, 0]) == pytest.approx(-log(0.7 * share + 0.1), rel=1e-6)
