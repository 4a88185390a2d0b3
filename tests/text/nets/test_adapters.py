import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.trainer import FitConfig, fit
from prefrl.errors import ConfigError, MissingExtraError
from prefrl.text.methods.finetune import FinetuneConfig, demonstration_loss, on_demonstrations
from prefrl.text.methods.ppo import Ppo, PpoConfig
from prefrl.text.nets.adapters import AdapterConfig, add_adapters, dropping_out, plain
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.logprobs import collate, token_logprobs
from prefrl.text.nets.models import LanguageModel, load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.nets.values import ValueModel

LORA = AdapterConfig(rank=4)
REWARD = TextRewardConfig(members=3, ensemble="models", train_layers=None, lora=LORA)
WORDS = ("one", "two", "three", "four five")


@pytest.fixture
def language():
    return load_model("tiny")


@pytest.fixture
def responses(language):
    prompts = [language.prompt(word) for word in WORDS for _ in range(4)]
    return Policy(load_model("tiny")).sample(
        prompts, config=SamplingConfig(max_new_tokens=6), generator=generator()
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def disturb(module, size=0.1):
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad:
                p.add_(size * torch.randn(p.shape, generator=generator(3)))


def trained(policy, responses):
    steps = on_demonstrations(
        policy, responses, config=FinetuneConfig(epochs=5, learning_rate=1e-2), seed=0
    )
    while not steps.done:
        steps.step()
    return policy


def test_fresh_adapters_change_nothing_and_the_loss_is_that_of_full_training(language, responses):
    full = demonstration_loss(Policy(load_model("tiny")), responses)
    adapted = Policy(language, lora=LORA)
    assert torch.equal(demonstration_loss(adapted, responses), full)
    n_trained = sum(p.numel() for p in adapted.trained)
    assert n_trained == 2 * 2 * (4 * 64 + 64 * 4)  # two layers in two blocks, A and B of each


def test_with_adapters_off_the_policy_is_its_reference_bit_for_bit(language, responses):
    batch = collate(responses)
    base = token_logprobs(load_model("tiny"), batch).detach()
    policy = trained(Policy(language, lora=LORA), responses)
    ppo = Ppo(policy, config=PpoConfig(learning_rate=1e-2), n_updates=2)
    ppo.improve(responses, torch.randn(len(responses), generator=generator()), generator())
    assert torch.equal(policy.reference_logprobs(batch), base)
    assert not torch.allclose(policy.logprobs(batch), base, atol=0.1)
    assert policy.reference.model is policy.model  # no copy
    assert all(p.requires_grad for p in policy.trained)


def test_adapters_come_back_on_when_the_reference_fails(language, responses):
    policy = trained(Policy(language, lora=LORA), responses)
    before = policy.logprobs(collate(responses)).detach()
    with pytest.raises(AttributeError):
        policy.reference_logprobs(None)
    assert torch.equal(policy.logprobs(collate(responses)), before)


@pytest.mark.parametrize("modules", [None, "all-linear"])
def test_the_merged_model_says_the_same_and_opens_without_adapters(
    language, responses, tmp_path, modules, monkeypatch
):
    policy = trained(Policy(language, lora=AdapterConfig(rank=4, modules=modules)), responses)
    batch = collate(responses)
    before = policy.logprobs(batch).detach()
    plain(policy.model).save_pretrained(tmp_path)
    assert torch.equal(policy.logprobs(batch), before)
    monkeypatch.setitem(sys.modules, "peft", None)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".md") == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    opened, about = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(about.values())
    merged = token_logprobs(LanguageModel(opened.eval(), language.tokenizer, "merged"), batch)
    torch.testing.assert_close(merged, before, atol=1e-5, rtol=1e-5)


def test_a_model_without_adapters_is_its_own_plain_model(language):
    assert plain(language.model) is language.model


def test_the_copy_in_bfloat16_follows_the_adapters(language, responses, monkeypatch):
    monkeypatch.setattr("prefrl.text.nets.policy.computes_in_bfloat16", lambda kind: True)
    policy = trained(Policy(language, lora=LORA), responses)
    prompts = [language.prompt(word) for word in WORDS]
    policy.sample(prompts, config=SamplingConfig(max_new_tokens=2), generator=generator())
    with torch.no_grad():
        there = policy._sampler.model(torch.tensor([[1, 2, 3]])).logits.float()
        here = policy.model(torch.tensor([[1, 2, 3]])).logits
        base = load_model("tiny").model(torch.tensor([[1, 2, 3]])).logits
    assert (there - here).abs().max() < 0.1 * (base - here).abs().max()


def test_a_checkpoint_keeps_adapters_and_value_head_alone(language, responses):
    policy = trained(Policy(language, lora=LORA), responses)
    state = policy.trained_state()
    assert all("lora" in name or name.startswith("value_head") for name in state)
    whole = sum(p.numel() for p in load_model("tiny").model.parameters())
    assert sum(t.numel() for t in state.values()) < whole / 20
    again = Policy(load_model("tiny"), lora=LORA, seed=5)
    again.load_trained_state(state)
    batch = collate(responses)
    assert torch.equal(again.logprobs(batch), policy.logprobs(batch))


def test_only_the_last_layers_have_adapters(language):
    Policy(language, lora=LORA, train_layers=1)
    first, last = language.model.model.layers
    assert not any("lora" in name for name, _ in first.named_parameters())
    assert any("lora" in name for name, _ in last.named_parameters())


def test_seeds_give_other_adapters_and_leave_the_random_state_as_it_was():
    before = torch.get_rng_state()
    first, second, other = (
        add_adapters(load_model("tiny").model, LORA, generator=generator(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])


def test_gpt2_has_adapters_too():
    small = GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(small).eval()
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    added = add_adapters(model, AdapterConfig(rank=2), generator=generator())
    assert torch.equal(model(ids).logits, before)
    with torch.no_grad():
        for p in added:
            p.add_(0.3)
    assert not torch.allclose(model(ids).logits, before, atol=0.01)
    torch.testing.assert_close(plain(model)(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)


def test_adapters_drop_out_only_where_they_are_told_to(language, responses):
    policy = trained(Policy(language, lora=AdapterConfig(rank=4, dropout=0.5)), responses)

    @torch.no_grad()
    def loss():
        return float(demonstration_loss(policy, responses))

    calm, state = loss(), torch.get_rng_state()
    with dropping_out(policy.model, seed=1):
        one = loss()
    with dropping_out(policy.model, seed=1):
        assert loss() == one
    with dropping_out(policy.model, seed=2):
        assert loss() != one
    assert one != calm
    assert loss() == calm
    assert torch.equal(torch.get_rng_state(), state)


# The reward


def comparisons_of(responses):
    """Of two responses the one with the higher ids is the better one."""
    found = []
    for number, (left, right) in enumerate(zip(responses[::2], responses[1::2], strict=True)):
        answer = Answer.LEFT if sum(left.tokens) > sum(right.tokens) else Answer.RIGHT
        found.append(Comparison(Query(f"q{number}", left.id, right.id), answer))
    return found


@pytest.mark.parametrize(
    ("ensemble", "n_trunks"), [("heads", 1), ("models", 3)], ids=["heads", "models"]
)
def test_a_reward_ensemble_with_adapters_learns_and_keeps_adapters_and_heads_alone(
    language, responses, ensemble, n_trunks
):
    config = TextRewardConfig(
        members=3, ensemble=ensemble, train_layers=None, lora=AdapterConfig(rank=4, dropout=0.1)
    )
    reward = TextReward(language, config)
    items = {r.id: r for r in responses}
    how = FitConfig(epochs=25, batch_size=8, learning_rate=2e-2, noise=0.0, l2=0.0, bagging=False)
    rng = np.random.default_rng(0)
    report = fit(reward, comparisons_of(responses), items, config=how, rng=rng)
    assert report.train_loss < 0.3
    state = reward.state_dict()
    kinds = {name.split(".")[0] for name in state}
    assert kinds == {"weight", "bias", "input_shift", "input_scale", "before", "after", "trained"}
    n_adapters = sum(t.numel() for name, t in state.items() if name.startswith("trained"))
    assert n_adapters == n_trunks * 2 * 2 * (4 * 64 + 64 * 4)


def test_fresh_adapters_of_a_reward_change_nothing(language, responses):
    config = replace(REWARD, ensemble="heads")
    full = replace(config, lora=AdapterConfig())
    reward, other = TextReward(language, config), TextReward(language, full)
    other.weight.data.copy_(reward.weight)
    assert torch.equal(reward.rewards(responses)[0], other.rewards(responses)[0])
    fresh = reward.state_dict()["trained.0.layers_0_self_attn_q_proj.A.weight"].clone()
    disturb(reward)
    reward.reset(generator(1))
    other.weight.data.copy_(reward.weight)
    other.bias.data.copy_(reward.bias)
    assert torch.equal(reward.rewards(responses)[0], other.rewards(responses)[0])
    assert not torch.equal(reward.trained[0]["layers_0_self_attn_q_proj"]["A"].weight, fresh)


def test_members_share_the_base_and_have_adapters_of_their_own(language, responses):
    reward = TextReward(language, REWARD)
    first, second, _ = reward._trunks
    frozen = [(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True)]
    assert all((p is q) != p.requires_grad for p, q in frozen)
    parts = [part["layers_1_self_attn_v_proj"]["A"].weight for part in reward.trained]
    assert not torch.equal(parts[0], parts[1])
    own = {id(p) for p in language.model.parameters()}
    assert not any(id(p) in own for p in first.parameters())
    shared = TextReward(language, REWARD, shares=True)
    assert all((id(p) in own) != p.requires_grad for p in shared._trunks[1].parameters())
    assert torch.equal(shared.rewards(responses)[0], reward.rewards(responses)[0])


def test_a_trunk_that_is_trained_never_shares(language):
    reward = TextReward(language, replace(REWARD, lora=AdapterConfig()), shares=True)
    own = {id(p) for p in language.model.parameters()}
    assert not any(id(p) in own for p in reward.parameters())


def test_policy_and_reward_on_one_base_do_not_disturb_each_other(language, responses):
    reward = TextReward(language, REWARD, shares=True)
    disturb(reward)
    before = reward.rewards(responses)[0]
    policy = trained(Policy(language, lora=LORA), responses)
    assert torch.equal(reward.rewards(responses)[0], before)
    own = {id(p): p.numel() for module in (policy, reward) for p in module.parameters()}
    own |= {id(p): p.numel() for trunk in reward._trunks for p in trunk.parameters()}
    whole = sum(p.numel() for p in load_model("tiny").model.parameters())
    assert sum(own.values()) < 1.2 * whole


@pytest.mark.parametrize("ensemble", ["heads", "models"])
def test_published_weights_give_the_same_scores(language, responses, ensemble):
    config = replace(REWARD, ensemble=ensemble)
    first, second = TextReward(language, config), TextReward(language, config)
    disturb(first)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.rewards(responses)[0], second.rewards(responses)[0])


def test_adapters_of_a_reward_drop_out_while_it_learns_and_not_while_it_judges(language, responses):
    config = replace(REWARD, lora=AdapterConfig(rank=4, dropout=0.5))
    reward = TextReward(language, config)
    disturb(reward)
    batch = reward.collate(responses)
    assert not torch.equal(reward.score(batch), reward.score(batch))
    assert torch.equal(reward.rewards(responses)[0], reward.rewards(responses)[0])
    assert not torch.equal(reward.score(batch), reward.score(batch))


def test_values_start_from_a_reward_with_adapters_and_train_adapters_of_their_own(
    language, responses
):
    config = replace(REWARD, members=1, lora=AdapterConfig(rank=4, dropout=0.5))
    reward = TextReward(language, config)
    values = ValueModel(reward)
    disturb(reward)
    values.take(reward)
    batch = collate(responses)
    expected = reward.rewards([replace(r, tokens=()) for r in responses])[0][0]
    assert torch.allclose(values(batch)[:, 0], expected, atol=1e-5)
    before = reward.rewards(responses)[0]
    policy = Policy(language, value_model=values, lora=LORA)
    ppo = Ppo(policy, config=PpoConfig(learning_rate=1e-2), n_updates=2)
    ppo.improve(responses, torch.randn(len(responses), generator=generator()), generator())
    assert not torch.allclose(values(batch)[:, 0], expected, atol=1e-3)
    assert torch.equal(reward.rewards(responses)[0], before)
    assert all(
        "lora" in n or n in {"weight", "bias"}
        for n, p in values.named_parameters()
        if p.requires_grad
    )


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank must be at least 1, got 0; None leaves adapters out"),
        ({"rank": 4, "alpha": 0}, "alpha must be positive"),
        ({"rank": 4, "dropout": 1.0}, "dropout is a share"),
        ({"rank": 4, "modules": "q_proj,,v_proj"}, "modules with commas between them"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AdapterConfig(**settings)


def test_layers_that_are_not_there_are_refused(language):
    with pytest.raises(ConfigError, match="expected linear layers c_attn in the blocks of"):
        Policy(language, lora=AdapterConfig(rank=4, modules="q_proj,c_attn"))
    with pytest.raises(ConfigError, match="1 to 2 of the last layers, got train_layers 0"):
        Policy(language, lora=LORA, train_layers=0)


def test_a_kind_of_model_that_peft_does_not_know_needs_names(language):
    language.model.config.model_type = "unheard-of"
    with pytest.raises(ConfigError, match="got one of type 'unheard-of'; name its linear layers"):
        Policy(language, lora=LORA)
    assert Policy(language, lora=replace(LORA, modules="q_proj")).trained


def test_without_peft_the_extra_is_named(language, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="prefrl\\[text\\]"):
        Policy(language, lora=LORA)
    assert Policy(language).trained


def test_adapters_on_no_layer_of_a_reward_are_refused():
    with pytest.raises(ConfigError, match="got 0, where no layer has adapters"):
        TextRewardConfig(lora=LORA)
