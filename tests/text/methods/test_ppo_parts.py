"""What InstructGPT adds to PPO: values from the reward model, texts mixed in, averaged weights."""

import math
from dataclasses import replace

import pytest
import torch

from prefrl.errors import ConfigError
from prefrl.text.methods.ppo import Ppo, PpoConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.nets.values import ValueModel
from prefrl.text.responses import Response

WORDS = ("one", "two", "three", "four five")
CONFIG = PpoConfig(learning_rate=1e-3, n_epochs=2, microbatch=4)


@pytest.fixture
def language():
    return load_model("tiny")


@pytest.fixture
def responses(language):
    prompts = [language.prompt(word) for word in WORDS] * 4
    generator = torch.Generator().manual_seed(0)
    return Policy(language).sample(
        prompts, config=SamplingConfig(max_new_tokens=6), generator=generator
    )


def written(language, text, prompt="one "):
    return Response(prompt, text, language.prompt(prompt).tokens, language.response_tokens(text))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(language, responses, config, **more):
    """A reward model whose every constant differs from what it is at the start."""
    reward = TextReward(language, config, **more)
    with torch.no_grad():
        reward.weight.normal_(generator=generator(1))
        reward.bias.normal_(generator=generator(2))
    reward.standardize_inputs(responses)
    reward.reset(generator(3))
    with torch.no_grad():
        reward.weight.mul_(1.5)
        reward.bias.add_(0.3)
    reward.calibrate(responses[:8])
    return reward


@pytest.mark.parametrize(
    "config",
    [
        TextRewardConfig(members=3, train_layers=0),
        TextRewardConfig(members=3, train_layers=1),
        TextRewardConfig(members=1, ensemble="models", train_layers=None),
    ],
    ids=["frozen trunk", "heads", "one model"],
)
def test_a_value_is_what_the_reward_model_gives_the_response_so_far(language, responses, config):
    reward = fitted(language, responses, config)
    values = ValueModel(reward)
    batch = collate(responses)
    found = values(batch).detach()
    for row, response in enumerate(responses[:6]):
        for n in range(len(response.tokens)):
            so_far = replace(response, tokens=response.tokens[:n], text="")
            expected = reward.rewards([so_far])[0].mean()
            assert float(found[row, n]) == pytest.approx(float(expected), abs=2e-4)


def test_a_value_model_takes_what_the_reward_model_has_become_and_then_goes_its_own_way(
    language, responses
):
    reward = TextReward(language, TextRewardConfig(members=2, train_layers=1))
    values = ValueModel(reward, train_layers=1)
    reward = fitted(language, responses, reward.config)
    values.take(reward)
    batch = collate(responses)
    before, kept = values(batch).detach(), reward.weight.detach().clone()
    policy = Policy(language, value_model=values)
    ppo = Ppo(policy, config=CONFIG, n_updates=2)
    assert torch.allclose(policy.evaluate(batch).values, before)
    ppo.improve(responses, torch.randn(len(responses), generator=generator()), generator())
    assert not torch.allclose(values(batch), before)
    assert torch.equal(reward.weight, kept)
    assert not policy.value_head.weight.any()
    other = Policy(load_model("tiny"), value_model=ValueModel(reward, train_layers=1))
    Ppo(other, config=CONFIG, n_updates=2).load_state_dict(ppo.state_dict())
    assert torch.equal(other.evaluate(batch).values, policy.evaluate(batch).values)


def test_a_value_model_comes_back_whole_though_few_of_its_layers_are_trained(language, responses):
    reward = fitted(language, responses, TextRewardConfig(members=2, train_layers=None))
    with torch.no_grad():
        for p in reward.as_one_head()[0].parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator(4)))
    fresh = TextReward(load_model("tiny"), reward.config)
    policies = [
        Policy(load_model("tiny"), value_model=ValueModel(fresh, train_layers=1)) for _ in range(2)
    ]
    policies[0].value_model.take(reward)
    ppos = [Ppo(policy, config=CONFIG, n_updates=2) for policy in policies]
    ppos[0].improve(responses, torch.zeros(len(responses)), generator())
    ppos[1].load_state_dict(ppos[0].state_dict())
    batch = collate(responses)
    assert torch.equal(*(policy.evaluate(batch).values for policy in policies))


def test_values_may_have_a_learning_rate_of_their_own(language, responses):
    ppo = Ppo(Policy(language), config=replace(CONFIG, value_learning_rate=5e-4), n_updates=4)
    for share in (1, 0.75):
        ppo.improve(responses, torch.zeros(len(responses)), generator())
        rates = [group["lr"] for group in ppo._adam.param_groups]
        assert rates == pytest.approx([1e-3 * share, 5e-4 * share])


def test_demonstrations_score_zero(language, responses):
    demonstrations = [written(language, text) for text in ("two three", "four", "five six seven")]
    for config in (TextRewardConfig(members=3), TextRewardConfig(members=3, train_layers=1)):
        plain = fitted(language, responses, config)
        shifted = fitted(language, responses, config, zero_at=demonstrations)
        members, scores = shifted.rewards(demonstrations)
        assert members.mean(1).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
        difference = plain.rewards(responses)[0] - shifted.rewards(responses)[0]
        assert torch.allclose(difference, difference[:, :1], atol=1e-5)  # moved, not stretched
        assert float(difference.abs().min()) > 1e-3
        assert scores.shape == (3,)


@pytest.mark.parametrize("how", ["mean", "min", "mean-k-var"])
def test_demonstrations_score_zero_by_what_the_members_come_to_together(language, responses, how):
    demonstrations = [written(language, text) for text in ("two three", "four", "five six seven")]
    config = TextRewardConfig(members=3, aggregate=how, k=2.0)
    reward = fitted(language, responses, config, zero_at=demonstrations)
    members, scores = reward.rewards(demonstrations)
    assert float(scores.mean()) == pytest.approx(0, abs=1e-5)
    assert torch.allclose(members.mean(1), members.mean(), atol=1e-5)  # all moved by the same


def test_texts_are_mixed_into_each_gradient_step(language, responses):
    texts = [written(language, "abc"), written(language, "defgh")]
    policy = Policy(language)
    ppo = Ppo(
        policy, config=replace(CONFIG, ptx_coef=3.0, ptx_examples=8), n_updates=1, texts=texts
    )
    # Without advantages and with values that are right, the texts alone give a gradient.
    ppo._parameters[0].grad = None
    before = -(policy.logprobs(collate(texts)).sum(1) / collate(texts).mask.sum(1)).detach()
    ppo._adam.zero_grad()
    loss = ppo._learn_texts(generator(5))
    drawn = torch.randint(2, (8,), generator=generator(5))
    assert loss == pytest.approx(float(before[drawn].mean()), rel=1e-5)
    found = [p.grad.clone() for p in policy.trained]
    policy.zero_grad()
    batch = collate([texts[i] for i in drawn])
    (-3.0 * (policy.logprobs(batch).sum(1) / batch.mask.sum(1)).mean()).backward()
    assert all(
        torch.allclose(a, p.grad, atol=1e-5) for a, p in zip(found, policy.trained, strict=True)
    )


def test_texts_that_are_mixed_in_are_forgotten_less(language, responses):
    texts = [written(language, "abc")]

    def logloss(ptx_coef):
        policy = Policy(load_model("tiny"))
        config = replace(CONFIG, ptx_coef=ptx_coef, ptx_examples=2)
        ppo = Ppo(policy, config=config, n_updates=6, texts=texts)
        for number in range(6):
            scores = torch.tensor([float(len(r.tokens)) for r in responses])
            row = ppo.improve(responses, scores, generator(number))
        assert ("ptx" in row) == (ptx_coef > 0)
        return -float(policy.logprobs(collate(texts)).sum().detach())

    assert logloss(1.0) < logloss(0.0) - 1


def test_texts_are_learned_at_temperature_1_whatever_responses_are_drawn_at(language):
    texts = [written(language, "abc"), written(language, "defgh")]
    config = replace(CONFIG, ptx_coef=1.0, ptx_examples=4)
    losses = []
    for temperature in (1.0, 0.3):
        policy = Policy(language, temperature=temperature)
        ppo = Ppo(policy, config=config, n_updates=1, texts=texts)
        losses.append(ppo._learn_texts(generator()))
    assert losses[0] == losses[1]


def test_the_average_of_the_weights_after_updates_is_the_result(language, responses):
    policy = Policy(language)
    ppo = Ppo(policy, config=replace(CONFIG, ema=0.75), n_updates=8)
    start = [p.detach().clone() for p in policy.trained]
    ppo.take_average()  # of nothing: it stays as it is
    assert all(torch.equal(a, b) for a, b in zip(start, policy.trained, strict=True))
    after = []
    for number in range(3):
        ppo.improve(
            responses, torch.randn(len(responses), generator=generator()), generator(number)
        )
        after.append([p.detach().clone() for p in policy.trained])
        if number == 0:
            assert all(torch.equal(a, b) for a, b in zip(ppo._average, after[0], strict=True))
    weights = (0.75**2, 0.75, 1.0)
    expected = [
        sum(weight * p for weight, p in zip(weights, ps, strict=True)) / sum(weights)
        for ps in zip(*after, strict=True)
    ]
    state = ppo.state_dict()
    ppo.take_average()
    assert all(
        torch.allclose(e, p, atol=1e-6) for e, p in zip(expected, policy.trained, strict=True)
    )
    again = Policy(load_model("tiny"))
    other = Ppo(again, config=replace(CONFIG, ema=0.75), n_updates=8)
    other.load_state_dict(state)
    other.take_average()
    assert all(torch.equal(a, b) for a, b in zip(policy.trained, again.trained, strict=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ema", 1.0),
        ("ptx_coef", -1.0),
        ("ptx_examples", 0),
        ("value_learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("adam_eps", -1e-8),
        ("kl_coef", math.nan),
        ("kl_target", math.inf),
        ("kl_horizon", 0.0),
        ("vf_coef", math.nan),
        ("gamma", 1.5),
        ("gae_lambda", math.nan),
        ("clip_range", 0.0),
        ("clip_range_value", math.nan),
    ],
)
def test_numbers_that_cannot_work_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        PpoConfig(**{name: value})
