"""The N implementation details of RLHF with PPO (Huang et al. 2023): those not tested elsewhere.

docs/text.md says which line of the checklist is tested where.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.examples import examples_of
from prefrl.core.oracle import OracleConfig
from prefrl.core.store import LabelStore
from prefrl.core.trainer import FitConfig, fit
from prefrl.errors import ConfigError
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.questioner import Questioner
from prefrl.text.candidates import ResponsePool, ResponseSource, TextQueryConfig
from prefrl.text.data.prompts import PromptConfig, cut_prompt
from prefrl.text.gold import text_oracle
from prefrl.text.methods.adam import TensorFlowAdam
from prefrl.text.methods.ppo import Ppo, PpoConfig
from prefrl.text.nets.generate import SamplingConfig, sample_responses
from prefrl.text.nets.layers import trunk_of
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.nets.scoring import ScoringConfig, scored_part, scores_of
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.responses import Response, Responses
from prefrl.text.train import align

WORDS = ("one", "two", "three", "four five")


@pytest.fixture
def language():
    return load_model("tiny")


@pytest.fixture
def responses(language):
    prompts = [language.prompt(word) for word in WORDS] * 8
    generator = torch.Generator().manual_seed(0)
    sampling = SamplingConfig(max_new_tokens=8)
    return Policy(language).sample(prompts, config=sampling, generator=generator)


def written(language, text, prompt="one "):
    """A response without an end token."""
    tokens = language.response_tokens(text)[:-1]
    return Response(prompt, text, language.prompt(prompt).tokens, tokens)


# G: both nets


def test_g4_without_an_end_every_response_has_all_its_tokens(language):
    sampling = SamplingConfig(max_new_tokens=24, stop_at_end=False)
    prompts = [language.prompt(word) for word in WORDS] * 64
    drawn = Policy(language).sample(
        prompts, config=sampling, generator=torch.Generator().manual_seed(0)
    )
    assert {len(r.tokens) for r in drawn} == {24}
    assert any(language.end_token in r.tokens for r in drawn)  # it is drawn, and ends nothing
    assert all(token < language.n_vocabulary for r in drawn for token in r.tokens)  # C5


def test_sampling_stops_at_the_end_token_and_is_the_same_for_the_same_seed(language):
    prompts = [language.prompt(word) for word in WORDS] * 64
    draws = [
        Policy(language).sample(
            prompts,
            config=SamplingConfig(max_new_tokens=24),
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    for response in draws[0]:
        assert language.end_token not in response.tokens[:-1]
    assert any(len(r.tokens) < 24 for r in draws[0])


def test_what_is_drawn_has_the_probabilities_of_the_model(language):
    prompt = language.prompt("two ")
    sampling = SamplingConfig(max_new_tokens=1, temperature=0.7)
    drawn = Policy(language, fast_sampling=False).sample(
        [prompt] * 20_000, config=sampling, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        logits = language.model(torch.tensor([prompt.tokens])).logits[0, -1] / 0.7
    counts = np.bincount([r.tokens[0] for r in drawn], minlength=257)
    expected = logits.softmax(0).double().numpy() * 20_000
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 257 + 5 * (2 * 257) ** 0.5


def test_filled_up_prompts_are_gone_on_from_as_if_they_were_alone(language):
    sampling = SamplingConfig(max_new_tokens=1, temperature=1e-4)  # always the likeliest
    prompts = [language.prompt(word) for word in ("a", "longer than that", "two")]
    policy = Policy(language, fast_sampling=False)
    together = policy.sample(prompts, config=sampling, generator=torch.Generator())
    for prompt, response in zip(prompts, together, strict=True):
        alone = policy.sample([prompt], config=sampling, generator=torch.Generator())
        assert alone == [response]


def test_g5_the_learning_rate_falls_to_nothing(language, responses):
    ppo = Ppo(Policy(language), config=PpoConfig(n_epochs=1), n_updates=4)
    rates = []
    for _ in range(4):
        ppo.improve(responses, torch.zeros(len(responses)), torch.Generator())
        rates.append(ppo._adam.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-5, 0.75e-5, 0.5e-5, 0.25e-5])


# R: the reward model


def test_r1_a_response_is_scored_at_its_last_token_alone(language):
    reward = TextReward(language, TextRewardConfig(members=2, train_layers=None))
    short, longer = written(language, "abc"), written(language, "abc, and so on")
    alone = reward.score(reward.collate([short]))
    assert torch.allclose(reward.score(reward.collate([longer, short]))[:, 1:], alone, atol=1e-5)


def test_r2_heads_begin_with_a_standard_deviation_of_one_over_the_root_of_d_plus_one(language):
    reward = TextReward(language, TextRewardConfig(members=400))
    assert float(reward.weight.detach().std()) == pytest.approx(1 / 65**0.5, rel=0.02)
    assert torch.all(reward.bias == 0)


def test_r3_scores_are_normalised_before_and_after_the_fit(language, responses, rng):
    reward = TextReward(language, TextRewardConfig(members=3))
    reward.standardize_inputs(responses)
    reward.reset(torch.Generator().manual_seed(1))
    scores = reward.score(reward.collate(responses))
    assert torch.allclose(scores.mean(1), torch.zeros(3), atol=1e-4)
    assert torch.allclose(scores.std(1, correction=0), torch.ones(3), atol=1e-4)
    items = {r.id: r for r in responses}
    names = list(items)
    comparisons = [
        Comparison(Query(f"q{i}", left, right), Answer.LEFT)
        for i, (left, right) in enumerate(zip(names[::2], names[1::2], strict=True))
    ]
    config = FitConfig(epochs=20, batch_size=4, learning_rate=0.1, l2=0.0)
    fit(reward, comparisons, items, config=config, rng=rng)
    reward.calibrate(responses)
    members, together = reward.rewards(responses)
    assert torch.allclose(members.mean(1), torch.zeros(3), atol=1e-4)
    assert torch.allclose(members.std(1, correction=0), torch.ones(3), atol=1e-4)
    assert torch.allclose(together, members.mean(0))


@pytest.mark.parametrize("how", ["mean", "min", "mean-k-var"])
def test_the_members_scores_become_one_by_the_chosen_rule(language, responses, how):
    reward = TextReward(language, TextRewardConfig(members=3, aggregate=how, k=0.5))
    members, together = reward.rewards(responses)
    expected = {
        "mean": members.mean(0),
        "min": members.min(0).values,
        "mean-k-var": members.mean(0) - 0.5 * members.var(0, correction=0),
    }[how]
    assert torch.equal(together, expected)


@pytest.mark.parametrize("ensemble", ["heads", "models"])
def test_weights_that_are_loaded_give_the_same_scores(language, responses, ensemble):
    config = TextRewardConfig(members=2, ensemble=ensemble, train_layers=1)
    first, second = TextReward(language, config), TextReward(language, config)
    with torch.no_grad():
        for p in first.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(first.rewards(responses)[0], second.rewards(responses)[0])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.rewards(responses)[0], second.rewards(responses)[0])
    fresh = TextReward(language, config)
    first.reset(torch.Generator().manual_seed(0))
    assert torch.equal(first.rewards(responses)[0], fresh.rewards(responses)[0])


# P: the policy


def test_p1_fresh_responses_have_the_ratio_one_at_any_temperature(language):
    policy = Policy(language, temperature=0.7, fast_sampling=False)
    sampling = SamplingConfig(max_new_tokens=8, temperature=0.7)
    drawn = policy.sample(
        [language.prompt(w) for w in WORDS], config=sampling, generator=torch.Generator()
    )
    ppo = Ppo(policy, config=PpoConfig(n_epochs=1, learning_rate=1e-9), n_updates=1)
    row = ppo.improve(drawn, torch.zeros(4), torch.Generator())
    assert row["approx_kl"] < 1e-12
    assert row["clip_fraction"] == 0
    assert row["kl"] == pytest.approx(0, abs=1e-5)  # and the reference is the policy still


def test_p1_log_probabilities_are_of_the_distributions_that_are_drawn_from(language, responses):
    policy, batch = Policy(language, temperature=0.7), collate(responses)
    logits = language.model(**batch.inputs).logits[:, batch.n_prompt - 1 : -1]
    logits = logits[:, :, : language.n_vocabulary] / 0.7
    expected = logits.log_softmax(2).gather(2, batch.tokens[:, :, None])[:, :, 0] * batch.mask
    for found in (policy.logprobs(batch), policy.evaluate(batch).logprobs):
        assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(policy.reference_logprobs(batch), expected, atol=1e-5)


def test_p2_at_the_start_all_states_are_worth_nothing(language, responses):
    assert torch.all(Policy(language).evaluate(collate(responses)).values == 0)


P5 = ScoringConfig(cut_at=".", cut_after=16, missing_score=-1.0)


def test_p5_a_response_is_scored_up_to_the_first_mark_that_counts(language):
    text = "a. b, and 17 on. Then more."
    part = scored_part(language, written(language, text), P5)
    assert part.text == "a. b, and 17 on. Then more."[:27]
    early = scored_part(language, written(language, "0123456789abcde.f.gh"), P5)
    assert early.text == "0123456789abcde.f."  # the mark at place 15 comes too soon


def test_p5_without_the_mark_a_response_has_a_fixed_score(language):
    reward = TextReward(language, TextRewardConfig(members=2))
    texts = ["0123456789abcdef. And", "no mark at all, in so many words", "early. and late"]
    said = [written(language, text) for text in texts]
    scores = scores_of(reward, language, said, P5)[1]
    kept = written(language, "0123456789abcdef.")
    assert float(scores[0]) == pytest.approx(float(reward.rewards([kept])[1][0]), abs=1e-5)
    assert scores[1:].tolist() == [-1, -1]


def test_without_an_end_token_a_response_may_have_a_fixed_score_too(language):
    reward = TextReward(language, TextRewardConfig(members=2))
    open_end = written(language, "abc")
    ended = replace(open_end, tokens=(*open_end.tokens, language.end_token))
    config = ScoringConfig(missing_score=-1.0)
    scores = scores_of(reward, language, [open_end, ended], config)[1]
    assert scores[0] == -1
    assert scores[1] != -1


def test_p7_accumulated_gradients_are_those_of_the_whole_minibatch(language, responses):
    gradients = []
    for microbatch in (32, 5):
        policy = Policy(load_model("tiny"))
        config = PpoConfig(n_epochs=1, microbatch=microbatch, max_grad_norm=None)
        ppo = Ppo(policy, config=config, n_updates=1)
        scores = torch.linspace(-1, 1, len(responses))
        ppo.improve(responses, scores, torch.Generator().manual_seed(0))
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trained]))
    assert torch.allclose(*gradients, atol=1e-5)
    assert gradients[0].norm() > 0


def test_c4_a_policy_learns_from_all_of_a_response_of_which_a_part_was_scored(
    tmp_path, monkeypatch
):
    scored, learned = [], []
    rewards, improve = TextReward.rewards, Ppo.improve
    monkeypatch.setattr(
        TextReward, "rewards", lambda self, items: scored.append(items) or rewards(self, items)
    )
    monkeypatch.setattr(
        Ppo, "improve", lambda self, said, *more: learned.append(said) or improve(self, said, *more)
    )
    (tmp_path / "prompts.txt").write_text("one \ntwo \n")
    sampling = SamplingConfig(max_new_tokens=8, stop_at_end=False)
    config = replace(
        ALIGN_PRESETS["tiny"], prompts=tmp_path / "prompts.txt", run=tmp_path / "run", sync=True,
        responses=256, labels=32, eval_prompts=1, sampling=sampling,
        scoring=ScoringConfig(cut_at="e", cut_after=2),
    )  # fmt: skip
    align(config)
    assert learned
    assert all(len(r.tokens) == 8 for said in learned for r in said)
    assert any(len(r.tokens) < 8 for part in scored for r in part)


def test_g5_the_learning_rate_falls_to_zero_over_the_updates_that_there_are(language, responses):
    ppo = Ppo(Policy(language), config=PpoConfig(learning_rate=1e-3), n_updates=6)
    ppo.skip()
    ppo.skip()  # batches before the first labels are asked for
    rates = []
    for _ in range(4):
        ppo.improve(responses, torch.zeros(len(responses)), torch.Generator())
        rates.append(ppo._adam.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_c7_the_reference_does_not_change(language, responses):
    policy = Policy(language)
    batch = collate(responses)
    before = policy.reference_logprobs(batch)
    ppo = Ppo(policy, config=PpoConfig(learning_rate=1e-3), n_updates=1)
    ppo.improve(responses, torch.linspace(-1, 1, len(responses)), torch.Generator())
    assert torch.equal(policy.reference_logprobs(batch), before)
    assert not torch.equal(policy.logprobs(batch), before)


def test_a_tensorflows_adam_gives_the_numbers_of_its_formula():
    p = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    adam = TensorFlowAdam([p], 0.1, eps=1e-2)
    value, m, v = 1.0, 0.0, 0.0
    for t, gradient in enumerate((0.5, -0.2, 0.001), 1):
        p.grad = torch.tensor([gradient], dtype=torch.float64)
        adam.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        value -= 0.1 * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (v**0.5 + 1e-2)
        assert float(p.detach()) == pytest.approx(value)


def test_the_preset_has_the_papers_values():
    preset = ALIGN_PRESETS["lm-human-preferences"]
    assert (preset.sampling.temperature, preset.sampling.max_new_tokens) == (0.7, 24)
    assert not preset.sampling.stop_at_end
    assert preset.scoring == P5
    ppo = preset.ppo
    assert (ppo.kl_coef, ppo.kl_target, ppo.kl_horizon) == (0.15, 6, 10_000)
    assert ppo.adaptive_kl
    assert ppo.whiten_rewards
    assert ppo.tf_adam
    assert (ppo.n_epochs, ppo.n_minibatches, preset.batch) == (4, 1, 512)
    assert (ppo.clip_range, ppo.clip_range_value, ppo.vf_coef) == (0.2, 0.2, 0.1)
    assert (ppo.gamma, ppo.gae_lambda, ppo.learning_rate) == (1, 0.95, 1e-5)
    assert ppo.max_grad_norm is None
    assert (preset.fit.epochs, preset.fit.batch_size, preset.fit.learning_rate) == (1, 32, 5e-5)
    assert preset.fit.linear_decay
    assert (preset.labels, preset.query.ranked, preset.fit.group_loss) == (6 * 4992, 4, "best")
    assert preset.prompt == PromptConfig(mark=".", max_tokens=64)


def test_p3_prompts_begin_and_end_at_marks(language):
    def cut(text, **settings):
        return cut_prompt(language, text, PromptConfig(**settings))

    assert cut("One. Two. Three. Four", mark=".").text == " Two. Three."
    assert cut("One. Two. Three. Four", mark=".", max_tokens=8).text == " Two."
    assert cut("abcdef", max_tokens=3).tokens == language.prompt("abc").tokens
    assert cut("One. Two. Three.").text == "One. Two. Three."
    assert len(cut("One. Two. Three.", mark=".").tokens) == len(" Two. Three.")
    for text in ("no mark at all", "One. and no other", "."):
        with pytest.raises(ConfigError, match=r"something between two marks '\.'"):
            cut(text, mark=".")
    talk = (("user", "One. Two."),)
    language.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    whole = cut_prompt(language, talk, PromptConfig(mark=".", max_tokens=1))
    assert whole == language.prompt(talk)


def test_c1_the_reward_is_fitted_to_which_of_four_is_the_best(language):
    responses = Responses()
    generator = torch.Generator().manual_seed(0)
    prompts = [language.prompt(word) for word in ("one", "two", "three") for _ in range(4)]
    sampling = SamplingConfig(max_new_tokens=6)
    pool = ResponsePool(100)
    pool.add(sample_responses(language, prompts, config=sampling, generator=generator))
    reward = TextReward(language, TextRewardConfig(members=2))
    with LabelStore("sqlite://") as store:
        questioner = Questioner(
            ResponseSource(pool, responses),
            store,
            config=TextQueryConfig(ranked=4),
            rng=np.random.default_rng(0),
        )
        assert questioner.ask_due(12, reward, run_steps=0)
        oracle = text_oracle(responses, lambda text: text.count("e"), OracleConfig(), seed=0)
        assert len(Labeller(store, responses, oracle).step()) == 12
        comparisons = [comparison for _, comparison in store.comparisons()]
    groups = {comparison.query.group for comparison in comparisons}
    assert len(groups) == 2
    assert None not in groups
    examples = examples_of(comparisons, responses)
    for items, shares in zip(examples.items, examples.shares, strict=True):
        assert len(items) == 4
        counts = [item.text.count("e") for item in items]
        best = [count == max(counts) for count in counts]
        assert shares.tolist() == pytest.approx([is_best / sum(best) for is_best in best])


def test_the_policy_says_of_tokens_what_the_model_says(language, responses):
    policy, batch = Policy(language, temperature=0.7), collate(responses)
    said = policy.evaluate(batch)
    assert torch.allclose(said.logprobs, policy.logprobs(batch), atol=1e-5)
    with torch.no_grad():
        policy.value_head.weight.normal_(generator=torch.Generator().manual_seed(0))
        states = trunk_of(policy.model)(**batch.inputs).last_hidden_state
        expected = policy.value_head(states[:, batch.n_prompt - 1 : -1])[:, :, 0]
    assert torch.allclose(policy.evaluate(batch).values, expected, atol=1e-5)
