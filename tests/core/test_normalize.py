import pytest
import torch

from prefrl.core.normalize import MemberNormalizer


def test_each_member_is_normalised_on_its_own():
    normalizer = MemberNormalizer(2, target_std=0.05)
    rewards = torch.tensor([[1.0, 3.0], [10.0, 30.0]])
    normalizer.calibrate(rewards)
    # mean 2 and 20, std 1 and 10: both become -0.05 and 0.05
    assert normalizer(rewards).tolist() == [pytest.approx([-0.05, 0.05])] * 2


def test_groups_count_the_same_however_large_they_are():
    normalizer = MemberNormalizer(1)
    few, many = torch.tensor([[1.0, 3.0]]), torch.tensor([[6.0, 8.0]]).repeat(1, 50)
    normalizer.calibrate(few, many)
    # Means 2 and 7, 4.5 together; squares around it 12.25 and 2.25, 2.25 and 12.25: 7.25.
    assert normalizer.shift.tolist() == [4.5]
    assert normalizer.scale.tolist() == [pytest.approx(7.25**0.5)]


def test_rescaling_one_member_does_not_move_the_mean():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(3, 50, 4, generator=generator)
    scaled = rewards * torch.tensor([1.0, 10.0, 1.0]).view(3, 1, 1)
    means = []
    for raw in (rewards, scaled):
        normalizer = MemberNormalizer(3)
        normalizer.calibrate(raw)
        means.append(normalizer(raw).mean(0))
    assert torch.allclose(*means, atol=1e-5)


def test_constants_stay_until_the_next_calibration_and_travel_with_the_weights():
    normalizer = MemberNormalizer(1)
    normalizer.calibrate(torch.tensor([[0.0, 2.0]]))
    before = normalizer(torch.tensor([[5.0]]))
    normalizer(torch.full((1, 100), 1e6))  # whatever passes through moves nothing
    assert torch.equal(normalizer(torch.tensor([[5.0]])), before)
    other = MemberNormalizer(1)
    other.load_state_dict(normalizer.state_dict())
    assert torch.equal(other(torch.tensor([[5.0]])), before)


def test_a_member_without_variation_adds_nothing_and_stays_finite():
    normalizer = MemberNormalizer(1)
    normalizer.calibrate(torch.full((1, 10), 4.0))
    assert normalizer(torch.full((1, 3), 4.0)).tolist() == [[0.0, 0.0, 0.0]]
