import math
from dataclasses import replace

import pytest
import torch

from prefrl.errors import ConfigError, NonFiniteError
from prefrl.text.methods.finetune import FinetuneConfig, on_demonstrations
from prefrl.text.methods.raft import Raft, RaftConfig, best_of_each, check_raft
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy

FINETUNE = FinetuneConfig(batch_size=4, learning_rate=1e-3, schedule="constant")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(policy, per_prompt=3):
    prompts = [policy.language.prompt(word) for word in ("one", "two", "three", "four five")]
    repeated = [prompt for prompt in prompts for _ in range(per_prompt)]
    config = SamplingConfig(max_new_tokens=6)
    return policy.sample(repeated, config=config, generator=generator())


def raft(policy, *, kept=1, n_updates=4, finetune=FINETUNE):
    return Raft(
        policy,
        config=RaftConfig(kept),
        finetune=finetune,
        n_prompts=4,
        n_updates=n_updates,
        seed=0,
    )


def same(policy, other):
    pairs = zip(policy.trained_state().items(), other.trained_state().items(), strict=True)
    return all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in pairs)


def test_the_best_of_each_prompt_is_chosen_and_of_equal_ones_the_first():
    scores = torch.tensor([1.0, 3.0, 2.0, -1.0, -2.0, -1.0, 0.0, 0.0, 5.0])
    assert best_of_each(scores, 3, 1) == [1, 3, 8]
    assert best_of_each(scores, 3, 2) == [1, 2, 3, 5, 8, 6]


@pytest.mark.parametrize("kept", [1, 2])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_exactly_the_best_of_each_prompt_are_learned(kept, temperature):
    policy = Policy(load_model("tiny"), temperature=temperature)
    responses = drawn(policy)
    scores = torch.tensor([0.0, 2, 1, 9, 8, 7, -3, -2, -1, 1, 0, 2])
    raft(policy, kept=kept).improve(responses, scores)
    best = [1, 3, 8, 11] if kept == 1 else [1, 2, 3, 4, 8, 7, 11, 9]
    other = Policy(load_model("tiny"))
    training = on_demonstrations(other, [responses[i] for i in best], config=FINETUNE, seed=0)
    while not training.done:
        training.step()
    assert same(policy, other)


def test_what_is_learned_becomes_likelier_and_the_kl_is_of_the_policy_that_drew():
    policy = Policy(load_model("tiny"))
    training = raft(policy, n_updates=8)
    responses = drawn(policy)
    scores = torch.tensor([0.0, 1.0, 0.0] * 4)
    rows = [training.improve(responses, scores) for _ in range(8)]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert rows[0]["loss"] == pytest.approx(math.log(257), rel=0.1)
    losses = [row["loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    before = {name: value.clone() for name, value in policy.trained_state().items()}
    row = training.improve(responses, scores)
    policy.load_trained_state(before)
    batch = collate(responses)
    with torch.no_grad():
        ratios = policy.logprobs(batch).sum(1) - policy.reference_logprobs(batch).sum(1)
    assert row["kl"] == pytest.approx(float(ratios.mean()), rel=1e-4)


def test_all_batches_are_one_training_whose_learning_rate_falls():
    policy = Policy(load_model("tiny"))
    finetune = replace(FINETUNE, learning_rate=0.4, schedule="linear", epochs=2, batch_size=2)
    training = raft(policy, n_updates=2, finetune=finetune)
    responses = drawn(policy)
    rates = []
    for _ in range(2):
        training.improve(responses, torch.arange(12.0))
        rates.append(training.state_dict()["adam"]["param_groups"][0]["lr"])
    assert rates == pytest.approx([0.4 * 5 / 8, 0.4 * 1 / 8])  # after 4 of 8 steps, and after all


def test_a_training_that_is_taken_up_again_goes_on_bit_for_bit():
    whole = Policy(load_model("tiny"))
    responses = drawn(whole)
    scores = [torch.randn(12, generator=generator(seed)) for seed in range(4)]
    first = raft(whole)
    for score in scores[:2]:
        first.improve(responses, score)
    state = first.state_dict()
    for score in scores[2:]:
        first.improve(responses, score)
    other = Policy(load_model("tiny"))
    second = raft(other)
    second.load_state_dict(state)
    for score in scores[2:]:
        second.improve(responses, score)
    assert same(whole, other)


def test_scores_and_gradients_that_are_not_finite_leave_the_policy_as_it_was():
    policy, untouched = Policy(load_model("tiny")), Policy(load_model("tiny"))
    responses = drawn(policy)
    with pytest.raises(NonFiniteError, match="finite scores to choose responses by"):
        raft(policy).improve(responses, torch.tensor([0.0, math.nan, 1.0] * 4))
    assert same(policy, untouched)
    training = raft(policy)
    for parameter in policy.trained:
        parameter.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteError, match="finite gradient in step 1"):
        training.improve(responses, torch.arange(12.0))
    assert same(policy, untouched)


def test_settings_that_choose_nothing_or_never_end_their_warm_up_are_refused():
    with pytest.raises(ConfigError, match="kept must be at least 1, got 0"):
        RaftConfig(kept=0)
    counts = {"per_prompt": 4, "n_prompts": 8, "n_updates": 10}
    check_raft(RaftConfig(kept=3), FINETUNE, **counts)
    with pytest.raises(ConfigError, match="kept to be fewer than per_prompt = 4"):
        check_raft(RaftConfig(kept=4), FINETUNE, **counts)
    slow = replace(FINETUNE, warmup_steps=20)
    with pytest.raises(ConfigError, match="fewer than the 20 gradient steps of raft, got 20"):
        check_raft(RaftConfig(), slow, **counts)
    check_raft(RaftConfig(), replace(slow, epochs=2), **counts)
