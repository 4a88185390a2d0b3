import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import NatureCNN

from prefrl.control.agent import mixed_cnn
from prefrl.control.agent.mixed_cnn import MixedNatureCNN

PICTURES = gym.spaces.Box(0, 255, (4, 84, 84), dtype="uint8")


def nets():
    theirs, ours = NatureCNN(PICTURES), MixedNatureCNN(PICTURES)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def test_in_bfloat16_the_features_are_nearly_those_of_stable_baselines(monkeypatch):
    monkeypatch.setattr(mixed_cnn, "computes_in_bfloat16", lambda device: True)
    theirs, ours = nets()
    pictures = torch.rand(8, 4, 84, 84)
    expected, got = theirs(pictures), ours(pictures)
    assert got.dtype == torch.float32
    assert not torch.equal(got, expected)
    assert (got - expected).norm() < 0.02 * expected.norm()


def test_without_instructions_for_it_nothing_changes(monkeypatch):
    monkeypatch.setattr(mixed_cnn, "computes_in_bfloat16", lambda device: False)
    theirs, ours = nets()
    pictures = torch.rand(8, 4, 84, 84)
    assert torch.equal(ours(pictures), theirs(pictures))
