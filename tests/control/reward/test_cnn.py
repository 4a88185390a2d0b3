import numpy as np
import pytest
import torch
from control.toys import picture_rollout

from prefrl.control.environments.rollout import Rollout
from prefrl.control.environments.spaces import Layout
from prefrl.control.reward.cnn import CnnStepReward
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.segments import SegmentSampler
from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.ensemble import score_items
from prefrl.core.trainer import FitConfig, fit
from prefrl.errors import ConfigError

LAYOUT = Layout(0, (1, 12, 12))
SMALL = {"convolutions": ((3, 2, 4), (3, 2, 4)), "hidden": (8,), "mixed_precision": False}


def net(layout=LAYOUT, *, n_members=2, n_action=0, seed=1, **options):
    made = CnnStepReward(
        layout, n_action, n_members=n_members, config=RewardNetConfig(**{**SMALL, **options})
    )
    made.reset(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for last in (made.weights[-1], made.biases[-1]):
            last.normal_(generator=torch.Generator().manual_seed(2))
    return made


def rollout(rng, n_steps=6, n_envs=2, *, n_before=3, dones=None, width=0, n_action=0):
    return Rollout(
        observations=rng.normal(size=(n_steps, n_envs, width)).astype(np.float32),
        actions=rng.normal(size=(n_steps, n_envs, n_action)).astype(np.float32),
        true_rewards=np.zeros((n_steps, n_envs)),
        dones=np.zeros((n_steps, n_envs), bool) if dones is None else dones,
        states=None,
        frames=rng.integers(256, size=(n_before + n_steps, n_envs, 1, 12, 12)).astype(np.uint8),
    )


def test_a_member_is_the_net_that_it_would_be_alone(rng):
    """The grouped convolutions and batched layers against plain ones, member by member."""
    together, seen = net(n_members=3), rollout(rng)
    _, raw = together.predict(seen)
    windows = np.stack([seen.frames[t : t + 4] for t in range(6)])  # (T, K + 1, N, C, H, W)
    pixels = torch.from_numpy(windows[:, :, :, 0].transpose(0, 2, 1, 3, 4).copy()).float() / 255
    for member in range(3):
        hidden = pixels.flatten(0, 1)
        filters = slice(4 * member, 4 * member + 4)
        for convolution in (together.convolutions[0], together.convolutions[2]):
            weight, bias = convolution.weight[filters], convolution.bias[filters]
            hidden = torch.nn.functional.conv2d(hidden, weight, bias, stride=2)
            hidden = torch.nn.functional.leaky_relu(hidden, 0.01)
        hidden = hidden.flatten(1)
        for layer in range(2):
            hidden = hidden @ together.weights[layer][member] + together.biases[layer][member]
            hidden = torch.nn.functional.leaky_relu(hidden, 0.01) if layer == 0 else hidden
        expected = hidden.view(6, 2).detach().numpy()
        assert raw[member] == pytest.approx(expected, abs=1e-5)


def test_a_segment_scores_what_its_steps_are_worth_in_the_rollout(rng):
    """Segments, joined over rollouts and cut at episodes, against the scored rollout itself."""
    judge, sampler = net(), SegmentSampler(4, 2)
    frames = rng.integers(1, 256, size=(3 + 24, 2, 1, 12, 12)).astype(np.uint8)
    dones = rng.random((24, 2)) < 0.1
    scored, cut = [], []
    before = np.zeros_like(frames[:3])
    for start in (0, 8, 16):
        steps = slice(start, start + 8)
        part = rollout(rng, 8, dones=dones[steps])
        own = frames[3:][steps]
        part = Rollout(**{**vars(part), "frames": np.concatenate([before, own])})
        scored.append(judge.predict(part)[1])
        cut += [segment for segment, _ in sampler.cut(part, env_steps=start)]
        before = part.frames[-3:].copy()
        for env in range(2):
            ends = np.flatnonzero(dones[steps, env])
            if len(ends):
                before[: max(0, 3 - (7 - ends[-1])), env] = 0
    whole = np.concatenate(scored, axis=1)  # (M, 24, N)
    assert len(cut) >= 6
    scores = score_items(judge, cut).numpy()
    expected = []
    for env in range(2):
        start = 0
        for end in [*(np.flatnonzero(dones[:, env]) + 1).tolist(), 24]:
            firsts = list(range(start, end - 3, 4))
            if end < 24 and firsts and (end - start) % 4:
                firsts.append(end - 4)  # what is left reaches back
            expected += [whole[:, t : t + 4, env].sum(1) for t in firsts]
            start = end
    found = sorted(scores[0].tolist())
    assert found == pytest.approx(sorted(e[0] for e in expected), abs=1e-4)


def test_what_was_before_an_episode_does_not_matter(rng):
    dones = np.zeros((6, 2), bool)
    dones[2, 0] = True
    seen = rollout(rng, dones=dones)
    other = Rollout(**{**vars(seen), "frames": seen.frames.copy()})
    other.frames[: 3 + 3, 0] = 255 - other.frames[: 3 + 3, 0]
    _, one = net().predict(seen)
    _, two = net().predict(other)
    assert one[:, 3:, 0] == pytest.approx(two[:, 3:, 0], abs=1e-6)
    assert one[:, :3, 0] != pytest.approx(two[:, :3, 0], abs=1e-3)


def test_numbers_and_actions_go_in_where_they_should(rng):
    layout = Layout(2, (1, 12, 12), "picture")
    seen = rollout(rng, width=2, n_action=3)
    changed = Rollout(**{**vars(seen), "actions": seen.actions + 1})
    for inputs in ("action", "state"):
        judge = net(layout, n_action=3, inputs=inputs)
        same = np.allclose(judge.predict(seen)[1], judge.predict(changed)[1])
        assert same is (inputs == "state")
    judge = net(layout, n_action=3)
    segments = [s for s, _ in SegmentSampler(3, 2).cut(seen, env_steps=0)]
    judge.standardize_inputs(segments)
    numbers = judge.collate(segments).numbers.flatten(0, 1)
    standard = (numbers - judge.input_shift) / judge.input_scale
    assert standard.mean(0).numpy() == pytest.approx(0, abs=1e-5)
    assert standard.std(0, correction=0).numpy() == pytest.approx(1, abs=1e-5)


def test_some_steps_stand_for_all_while_fitting_and_are_right_on_average(rng):
    judge = net(fit_frames=2)
    segments = [s for s, _ in SegmentSampler(6, 2).cut(rollout(rng), env_steps=0)]
    batch = judge.collate(segments)
    judge.eval()
    exact = judge.score(batch)
    judge.train()
    torch.manual_seed(0)
    with torch.no_grad():
        drawn = torch.stack([judge.score(batch) for _ in range(1500)])
    assert drawn.std(0).min() > 0
    error = drawn.std(0) / 1500**0.5
    assert ((drawn.mean(0) - exact).abs() < 4 * error).all()


def test_dropout_noise_and_batch_norm_work_while_fitting_and_not_while_judging(rng):
    judge = net(dropout=0.5, batch_norm=True, input_noise=0.1)
    seen = rollout(rng)
    batch = judge.collate([s for s, _ in SegmentSampler(6, 2).cut(seen, env_steps=0)])
    judge.train()
    assert not torch.equal(judge.score(batch), judge.score(batch))
    assert np.array_equal(judge.predict(seen)[1], judge.predict(seen)[1])
    assert judge.training
    statistics = judge.convolutions[1].running_mean
    assert statistics.abs().sum() > 0
    judge.reset(torch.Generator().manual_seed(0))
    assert statistics.abs().sum() == 0


def test_mixed_precision_is_close(rng):
    seen = rollout(rng)
    exact, mixed = net(), net(mixed_precision=True)
    mixed.load_state_dict(exact.state_dict())
    one, two = exact.predict(seen)[1], mixed.predict(seen)[1]
    assert np.abs(one - two).max() < 0.05 * np.abs(one).max()


def bright(n, rng):
    """Segments of pictures, of which the brighter one is better."""
    cut = []
    for i in range(n):
        seen = picture_rollout(3, start=int(rng.integers(5, 200)), n_before=0)
        ((segment, _),) = SegmentSampler(3, 1).cut(seen, env_steps=i)
        cut.append(segment)
    return cut


def test_a_fit_learns_what_can_be_seen(rng):
    judge = CnnStepReward(
        Layout(0, (1, 2, 2)),
        0,
        n_members=3,
        config=RewardNetConfig(
            frame_stack=1, convolutions=((2, 1, 4),), hidden=(8,), inputs="state"
        ),
    )
    items = {segment.id: segment for segment in bright(60, rng)}
    names = sorted(items)
    comparisons = []
    for _ in range(80):
        left, right = rng.choice(names, 2, replace=False)
        better = items[left].frames.unpack().mean() > items[right].frames.unpack().mean()
        query = Query(f"{left}{right}", str(left), str(right))
        comparisons.append(Comparison(query, Answer.LEFT if better else Answer.RIGHT))
    config = FitConfig(max_steps=150, min_steps=150, learning_rate=1e-2)
    report = fit(judge, comparisons, items, config=config, rng=rng)
    assert report.holdout_accuracy > 0.9
    judge.calibrate(list(items.values()))
    raw = judge.step_rewards(judge.collate(list(items.values())))
    rewards = judge.normalizer(raw)
    assert rewards.mean().item() == pytest.approx(0, abs=1e-4)
    assert rewards.flatten(1).std(1, correction=0).tolist() == pytest.approx([1] * 3, abs=1e-3)


def test_two_fits_from_one_seed_are_the_same_whatever_was_drawn_before(rng):
    items = {segment.id: segment for segment in bright(10, rng)}
    first, second, *_ = sorted(items)
    comparisons = [Comparison(Query("q", first, second), Answer.LEFT)]
    weights = []
    for before in (1, 2):
        torch.manual_seed(before)
        judge = net(Layout(0, (1, 2, 2)), convolutions=((2, 1, 4),), dropout=0.5, fit_frames=1,
                    frame_stack=1, inputs="state")  # fmt: skip
        fit(judge, comparisons, items, config=FitConfig(max_steps=3, min_steps=3),
            rng=np.random.default_rng(0))  # fmt: skip
        weights.append(torch.cat([p.flatten() for p in judge.parameters()]))
        assert torch.initial_seed() == before
    assert torch.equal(*weights)


def test_a_reward_of_small_pictures_sees_all_of_them(rng):
    """Each pixel matters, at the rims as well; the papers' own kernels would not fit."""
    judge = net(Layout(0, (1, 12, 12)), convolutions=((7, 3, 16), (5, 2, 16), (3, 1, 16)))
    seen = rollout(rng, 1, 1)
    _, raw = judge.predict(seen)
    for row, column in ((0, 0), (11, 11), (5, 6)):
        frames = seen.frames.copy()
        frames[-1, 0, 0, row, column] ^= 0xFF
        assert (judge.predict(Rollout(**{**vars(seen), "frames": frames}))[1] != raw).all()


def test_pictures_too_small_and_layers_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="large enough"):
        net(Layout(0, (1, 50, 84)), convolutions=((60, 4, 16),))
    for wrong in ({"convolutions": ()}, {"convolutions": ((3, 0, 4),)}, {"dropout": 1.0},
                  {"fit_frames": 0}, {"frame_stack": 0}):  # fmt: skip
        with pytest.raises(ConfigError):
            RewardNetConfig(**wrong)
