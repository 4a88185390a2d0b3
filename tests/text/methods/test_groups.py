"""GRPO and RLOO on a tiny model: the gradient that the formulas give, and what is carried on."""

import copy
from dataclasses import replace

import pytest
import torch

from prefrl.errors import ConfigError, NonFiniteError
from prefrl.text.methods.groups import GroupConfig, Groups, GrpoConfig, RlooConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

SCORES = torch.tensor([0.0, 2.0, 1.0, 3.0, 3.0, -1.0])


def policy_apart():
    """A policy that has left its reference."""
    policy = Policy(load_model("tiny"), temperature=0.7)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for p in policy.trained:
            p += 0.02 * torch.randn(p.shape, generator=generator)
    return policy


def drawn(policy, n_each=3):
    prompts = [policy.language.prompt(word) for word in ("one", "two three")]
    repeated = [prompt for prompt in prompts for _ in range(n_each)]
    config = SamplingConfig(max_new_tokens=5, temperature=0.7)
    responses = policy.sample(repeated, config=config, generator=torch.Generator().manual_seed(3))
    # Of different lengths; the second one and the last come to their end.
    end = policy.language.end_token
    cut = [(5, ()), (2, (end,)), (1, ()), (4, ()), (3, ()), (2, (end,))]
    return [
        Response(r.prompt, r.text, r.prompt_tokens, (*r.tokens[:n], *more))
        for r, (n, more) in zip(responses, cut, strict=True)
    ]


def groups(policy, config, **changes):
    sizes = {"n_each": 3, "longest": 5, "n_updates": 4} | changes
    return Groups(policy, config=config, **sizes)


def gradient(policy):
    return torch.cat([p.grad.flatten() for p in policy.trained])


def expected_gradient(policy, responses, config):
    """By the formulas of the papers, token by token; where it was drawn, all ratios are 1."""
    batch = collate(responses)
    with torch.no_grad():
        reference = policy.reference_logprobs(batch)
    logprobs = policy.logprobs(batch)
    n = [len(r.tokens) for r in responses]
    total = torch.zeros(())
    kls = [(logprobs[i] - reference[i])[: n[i]].sum().item() for i in range(6)]
    for i in range(6):
        start = i // 3 * 3
        group = SCORES[start : start + 3].tolist()
        own = logprobs[i, : n[i]]
        if isinstance(config, RlooConfig):
            group = [s - config.kl_coef * kl for s, kl in zip(group, kls[start:], strict=False)]
            others = (sum(group) - group[i - start]) / 2
            total = total - (group[i - start] - others) * own.sum() / 6
            continue
        mean = sum(group) / 3
        std = (sum((s - mean) ** 2 for s in group) / 2) ** 0.5
        advantage = group[i - start] - mean
        if config.scale_rewards == "group":
            advantage /= std + 1e-4
        d = reference[i, : n[i]] - own
        ratio = (own - own.detach()).exp() if config.use_bias_correction_kl else 1
        tokens = -advantage * own + config.kl_coef * ratio * (d.exp() - d - 1)
        if config.mask_truncated_completions and i not in (1, 5):
            continue
        learned = 6 if config.mask_truncated_completions else sum(n)
        weight = {"grpo": 1 / (6 * n[i]), "dapo": 1 / learned, "dr_grpo": 1 / 30}[config.loss_type]
        total = total + weight * tokens.sum()
    policy.zero_grad()
    total.backward()
    return gradient(policy)


@pytest.mark.parametrize(
    "config",
    [
        RlooConfig(kl_coef=0.3),
        GrpoConfig(kl_coef=0.3, loss_type="grpo", use_bias_correction_kl=False),
        GrpoConfig(kl_coef=0.3, loss_type="dapo"),
        GrpoConfig(kl_coef=0.3, loss_type="dr_grpo", scale_rewards="none"),
        GrpoConfig(kl_coef=0.3, loss_type="dapo", mask_truncated_completions=True),
    ],
    ids=["rloo", "grpo", "dapo", "dr_grpo", "truncated masked"],
)
def test_the_first_gradient_is_that_of_the_formula(config):
    policy = policy_apart()
    responses = drawn(policy)
    expected = expected_gradient(policy, responses, config)
    config = replace(config, learning_rate=1e-12, max_grad_norm=None, microbatch=4)
    row = groups(policy, config).improve(responses, SCORES, torch.Generator().manual_seed(0))
    torch.testing.assert_close(gradient(policy), expected, rtol=1e-3, atol=1e-5)
    assert row["clip_fraction"] == 0
    batch = collate(responses)
    with torch.no_grad():
        ratios = policy.logprobs(batch) - policy.reference_logprobs(batch)
    assert row["kl"] == pytest.approx(float(ratios.sum(1).mean()), rel=1e-4)


@pytest.mark.parametrize("config", [RlooConfig(), GrpoConfig()], ids=["rloo", "grpo"])
def test_good_responses_become_likelier_and_bad_ones_less(config):
    policy = policy_apart()
    responses = drawn(policy)
    batch = collate(responses)
    with torch.no_grad():
        before = policy.logprobs(batch).sum(1)
    config = replace(config, learning_rate=1e-3, kl_coef=0.0, n_epochs=3)
    groups(policy, config).improve(responses, SCORES, torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = policy.logprobs(batch).sum(1) - before
    assert change[1] > 0 > change[0]
    assert min(change[3], change[4]) > 0 > change[5]


@pytest.mark.parametrize("config", [RlooConfig(), GrpoConfig()], ids=["rloo", "grpo"])
def test_where_all_score_the_same_only_the_kl_is_learned(config):
    policy = policy_apart()
    responses = drawn(policy)
    config = replace(config, kl_coef=0.0)
    groups(policy, config).improve(responses, torch.ones(6), torch.Generator().manual_seed(0))
    assert float(gradient(policy).abs().max()) == 0


@pytest.mark.parametrize("config", [RlooConfig(), GrpoConfig()], ids=["rloo", "grpo"])
def test_a_training_that_is_taken_up_again_goes_on_bit_for_bit(config):
    config = replace(config, learning_rate=1e-3, n_epochs=2, n_minibatches=2)

    def improve(training, responses, n):
        for number in range(n, n + 2):
            generator = torch.Generator().manual_seed(number)
            training.improve(responses, SCORES.roll(number), generator)

    whole, other = policy_apart(), policy_apart()
    responses = drawn(whole)
    first = groups(whole, config)
    first.skip()
    improve(first, responses, 0)
    state = copy.deepcopy(first.state_dict())
    second = groups(other, config)
    second.load_state_dict(state)
    improve(second, responses, 2)
    improve(first, responses, 2)
    pairs = zip(whole.trained, other.trained, strict=True)
    assert second.n_updates == first.n_updates == 4
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_what_is_not_finite_leaves_the_policy_as_it_was():
    policy, untouched = policy_apart(), policy_apart()
    scores = SCORES.clone()
    scores[2] = float("nan")
    with pytest.raises(NonFiniteError, match="finite gradient in batch 1"):
        groups(policy, GrpoConfig()).improve(drawn(policy), scores, torch.Generator())
    pairs = zip(policy.trained, untouched.trained, strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="loss_type to be one of grpo, bnpo, dr_grpo, dapo"):
        GrpoConfig(loss_type="drgrpo")
    with pytest.raises(ConfigError, match="scale_rewards to be one of group, batch, none"):
        GrpoConfig(scale_rewards="std")
    with pytest.raises(ConfigError, match="n_epochs must be at least 1, got 0"):
        RlooConfig(n_epochs=0)
    with pytest.raises(ConfigError, match="kl_coef must be finite and not negative, got -1"):
        GroupConfig(kl_coef=-1)
    with pytest.raises(ConfigError, match="clip_range_high must be positive, got 0"):
        GrpoConfig(clip_range_high=0)
