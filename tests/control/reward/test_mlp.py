import dataclasses

import numpy as np
import pytest
import torch
from control.toys import seen

from prefrl.control.environments.rollout import Rollout
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.reward.mlp import MlpStepReward
from prefrl.control.segments import Segment
from prefrl.errors import ConfigError


def net(*, n_members=3, hidden=(8, 8), **options):
    made = MlpStepReward(
        2, 1, n_members=n_members, config=RewardNetConfig(hidden=hidden, **options)
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made.eval()


def segments(rng, n, length=5):
    return [
        Segment(
            f"s{i}",
            rng.normal(3.0, 2.0, size=(length, 2)).astype(np.float32),
            rng.normal(size=(length, 1)).astype(np.float32),
        )
        for i in range(n)
    ]


def test_members_in_one_kernel_equal_members_one_by_one(rng):
    made = net()
    made.standardize_inputs(segments(rng, 20))
    batch = made.collate(segments(rng, 4)).inputs
    rewards = made.step_rewards(batch)
    assert rewards.shape == (3, 4, 5)
    for member in range(3):
        hidden = (batch - made.input_shift) / made.input_scale
        for layer, (weight, bias) in enumerate(zip(made.weights, made.biases, strict=True)):
            hidden = hidden @ weight[member] + bias[member]
            if layer < 2:
                hidden = torch.nn.functional.leaky_relu(hidden, 0.01)
        assert torch.allclose(rewards[member], hidden.squeeze(-1), atol=1e-5)


def test_a_score_is_the_undiscounted_sum_of_step_rewards(rng):
    made = net()
    batch = made.collate(segments(rng, 4))
    assert torch.allclose(made.score(batch), made.step_rewards(batch.inputs).sum(-1))


def test_a_fresh_net_prefers_nothing(rng):
    made = net()
    made.reset(torch.Generator().manual_seed(3))
    assert made.score(made.collate(segments(rng, 4))).abs().max() == 0


def test_members_start_different_and_the_same_generator_gives_the_same():
    first, second = net(), net()
    for made in (first, second):
        made.reset(torch.Generator().manual_seed(3))
    assert torch.equal(first.weights[0], second.weights[0])
    assert not torch.equal(first.weights[0][0], first.weights[0][1])


def test_the_reward_has_mean_0_and_the_asked_std_over_what_it_was_calibrated_on(rng):
    made = net(n_members=1, reward_std=0.05)
    known = segments(rng, 50)
    made.calibrate(known)
    reward, raw = made.predict(
        seen(np.stack([s.observations for s in known]), np.stack([s.actions for s in known]))
    )
    assert (reward.shape, raw.shape) == ((50, 5), (1, 50, 5))
    assert reward.mean() == pytest.approx(0, abs=1e-5)
    assert reward.std() == pytest.approx(0.05, rel=1e-3)


def test_weights_carry_all_that_a_prediction_needs(rng):
    made, other = net(), net(n_members=3)
    known = segments(rng, 20)
    made.standardize_inputs(known)
    made.calibrate(known)
    other.load_state_dict(made.state_dict())
    same = seen(known[0].observations[:, None], known[0].actions[:, None])
    assert np.array_equal(made.predict(same)[0], other.predict(same)[0])


def test_noise_is_for_fitting_and_not_for_judging(rng):
    made = net(input_noise=1.0)
    with torch.no_grad():
        made.weights[-1].normal_()
    known = segments(rng, 3)
    same = seen(known[0].observations[:, None], known[0].actions[:, None])
    assert np.array_equal(made.predict(same)[1], made.predict(same)[1])
    batch = made.collate(known)
    made.train()
    assert not torch.equal(made.score(batch), made.score(batch))
    made.calibrate(known)
    constants = made.normalizer.scale.clone()
    made.calibrate(known)
    assert torch.equal(made.normalizer.scale, constants)


def test_constant_inputs_do_not_divide_by_zero(rng):
    made = net()
    still = [Segment("s", np.ones((5, 2), np.float32), np.ones((5, 1), np.float32))] * 3
    made.standardize_inputs(still)
    assert torch.isfinite(made.score(made.collate(still))).all()


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="at least one unit"):
        RewardNetConfig(hidden=(0,))
    with pytest.raises(ConfigError, match="reward_std > 0"):
        RewardNetConfig(reward_std=0.0)


def ending(segment, n_held):
    return dataclasses.replace(segment, n_held=n_held)


def test_steps_that_are_held_are_worth_nothing(rng):
    made, (one, other) = net(), segments(rng, 2)
    rewards = made.step_rewards(made.collate([one]).inputs)  # (M, 1, T)
    held = made.score(made.collate([ending(one, 2), other]))
    assert torch.allclose(held[:, 0], rewards[:, 0, :3].sum(-1), atol=1e-5)
    assert torch.allclose(held[:, 1], made.score(made.collate([other]))[:, 0], atol=1e-5)
    assert (made.score(made.collate([ending(one, 5)])) == 0).all()


def test_constants_are_of_steps_that_were_taken(rng):
    made, sample = net(), segments(rng, 30)
    made.standardize_inputs([ending(one, 2) for one in sample])
    taken = np.concatenate([np.concatenate([s.observations, s.actions], 1)[:3] for s in sample])
    assert made.input_shift.numpy() == pytest.approx(taken.mean(0), abs=1e-5)
    assert made.input_scale.numpy() == pytest.approx(taken.std(0), abs=1e-5)


def test_where_episodes_end_nothing_is_worth_nothing(rng):
    """Behind an ending each step is worth 0: normalising must not move that."""
    made, sample = net(), segments(rng, 30)
    made.calibrate(sample, fitted=sample)
    raw = made.step_rewards(made.collate(sample).inputs).flatten(1)
    assert made.normalizer.shift.numpy() == pytest.approx(raw.mean(1).detach().numpy(), abs=1e-5)
    made.calibrate(sample, fitted=[ending(one, 1) for one in sample])
    assert (made.normalizer.shift == 0).all()
    expected = raw.square().mean(1).sqrt().detach().numpy()
    assert made.normalizer.scale.numpy() == pytest.approx(expected, rel=1e-5)


def transitions(rng, n):
    for one in segments(rng, n):
        after = rng.normal(size=one.observations.shape).astype(np.float32)
        yield dataclasses.replace(one, next_observations=after)


def test_a_transition_is_how_the_observation_changed_and_whether_that_was_the_end(rng):
    made = net(inputs="transition")
    (one,) = transitions(rng, 1)
    (read,) = made.collate([ending(one, 2)]).inputs.numpy()
    assert read.shape == (5, 2 + 1 + 2 + 1)
    assert read[:, 3:5] == pytest.approx(one.next_observations - one.observations)
    assert read[:, 5].tolist() == [0, 0, 1, 0, 0]


def test_the_same_transitions_have_the_same_reward_in_rollouts_and_segments(rng):
    made, sample = net(inputs="transition"), list(transitions(rng, 3))
    sample = [ending(sample[0], 1), *sample[1:]]
    made.standardize_inputs(sample)
    assert (made.input_shift[-1], made.input_scale[-1]) == (0, 1)  # endings are as they are
    rows = {
        name: np.stack([getattr(one, name) for one in sample], axis=1)
        for name in ("observations", "actions", "next_observations", "ended")
    }
    played = Rollout(
        true_rewards=np.zeros((5, 3)), dones=np.zeros((5, 3), bool), states=None, **rows
    )
    _, raw = made.predict(played)  # (M, T, N)
    expected = made.step_rewards(made.collate(sample).inputs).detach().numpy()
    assert raw == pytest.approx(expected.swapaxes(1, 2), abs=1e-5)


def test_unknown_inputs_are_refused():
    with pytest.raises(ConfigError, match=r"expected net\.inputs to be one of auto, state"):
        RewardNetConfig(inputs="pictures")
