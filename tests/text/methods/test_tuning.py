import math
from dataclasses import replace

import pytest
import torch

from prefrl.errors import ConfigError, NotEnoughDataError
from prefrl.text.methods import tuning
from prefrl.text.methods.examples import BAD, GOOD, Example
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.preference_losses import PAIR_METHODS, TUNING_METHODS, PairLossConfig
from prefrl.text.methods.tuning import (
    averaged,
    on_examples,
    on_pairs,
    on_rankings,
    on_single_responses,
)
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

CONFIG = FinetuneConfig(epochs=10, batch_size=4, microbatch=4, learning_rate=3e-3)
OPTIONS = {"loss": PairLossConfig(), "config": CONFIG, "seed": 0}
WORDS = [
    ("aba", "bcb", "bab"),
    ("aa", "bee", "bae"),
    ("caab", "cb", "cab"),
    ("a", "hm", "ham"),
    ("baa", "by", "bay"),
    ("aah", "o", "oa"),
]


def response(language, prompt, text):
    return Response(prompt, text, language.prompt(prompt).tokens, language.response_tokens(text))


def toy():
    """A policy, and of each prompt three responses: good, bad and between, by their a's."""
    policy = Policy(load_model("tiny"))
    triples = [
        [response(policy.language, prompt, text) for text in words]
        for prompt in ("one ", "or two ")
        for words in WORDS
    ]
    return policy, triples


def examples_for(method, triples):
    """The same preferences, as the method takes them."""
    takes = TUNING_METHODS[method].takes
    if takes == "pairs":
        return [Example((good.id, bad.id), (1, 2)) for good, bad, _ in triples]
    if takes == "rankings":
        three = [Example((a.id, c.id, b.id), (1, 2, 3)) for a, b, c in triples[::2]]
        return three + [Example((a.id, b.id), (1, 2)) for a, b, _ in triples[1::2]]
    good = [Example((triple[0].id,), (GOOD,)) for triple in triples]
    return good + [Example((triple[1].id,), (BAD,)) for triple in triples]


def tuning_on(method, **changes):
    policy, triples = toy()
    responses = {r.id: r for triple in triples for r in triple}
    options = OPTIONS | {"method": method} | changes
    return on_examples(policy, examples_for(method, triples), responses, **options), triples


def finish(training):
    rows = []
    while not training.done:
        rows.append(training.step())
    return rows


def summed(policy, responses):
    return policy.logprobs(collate(responses)).sum(1).detach()


def n_as(policy):
    """What is wanted, of responses that the policy draws: a's in eight tokens, and its error."""
    prompts = [policy.language.prompt(text) for text in ("one ", "or two ")] * 256
    generator = torch.Generator().manual_seed(1)
    config = SamplingConfig(max_new_tokens=8)
    drawn = policy.sample(prompts, config=config, generator=generator)
    counts = torch.tensor([float(r.text.count("a")) for r in drawn])
    return float(counts.mean()), float(counts.std()) / len(counts) ** 0.5


@pytest.mark.parametrize("method", TUNING_METHODS)
def test_each_method_comes_to_prefer_what_was_chosen_and_to_write_it(method):
    beta = {"ipo": 0.1, "hinge": 0.1, "simpo": 2.0}.get(method, 0.5)
    training, triples = tuning_on(method, loss=PairLossConfig(beta=beta))
    policy = training.policy
    good, bad = ([triple[i] for triple in triples] for i in (0, 1))
    before, few = summed(policy, good) - summed(policy, bad), n_as(policy)
    rows = finish(training)
    after, many = summed(policy, good) - summed(policy, bad), n_as(policy)
    assert float((after - before).mean()) > 0.8
    assert rows[-1]["rewards/accuracies"] > 0.7
    assert many[0] - few[0] > 3 * math.hypot(few[1], many[1])
    if method in PAIR_METHODS:
        assert rows[-1]["rewards/accuracies"] == 1
    if method in PAIR_METHODS and TUNING_METHODS[method].needs_reference:
        assert abs(rows[0]["rewards/margins"]) < 1e-5


@pytest.mark.parametrize("method", ["dpo", "ipo", "simpo", "orpo", "kto"])
def test_what_is_logged_has_the_names_and_scales_of_trl(method):
    loss, reference = PairLossConfig(beta=0.3, orpo_weight=0.3), {}
    config = replace(CONFIG, batch_size=24, microbatch=5)
    training, triples = tuning_on(method, loss=loss, config=config)
    policy = training.policy
    good, bad = ([triple[i] for triple in triples] for i in (0, 1))
    for name, said in (("chosen", good), ("rejected", bad)):
        reference[name] = policy.reference_logprobs(collate(said)).sum(1)
    with torch.no_grad():
        for number, p in enumerate(policy.trained):
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
    expected = {}
    for name, said in (("chosen", good), ("rejected", bad)):
        logps = summed(policy, said)
        lengths = torch.tensor([len(r.tokens) for r in said])
        terms = logps / lengths if method in ("simpo", "orpo") else logps - reference[name]
        expected |= {f"rewards/{name}": 0.3 * terms, f"logps/{name}": logps}
    row = averaged([training.step()])
    for name, values in expected.items():
        assert row[name] == pytest.approx(float(values.mean()), rel=1e-4), name
    margins = expected["rewards/chosen"] - expected["rewards/rejected"]
    assert row["rewards/margins"] == pytest.approx(float(margins.mean()), rel=1e-3)
    if method != "kto":
        share = float((margins > 0).float().mean())
        assert row["rewards/accuracies"] == pytest.approx(share)


@pytest.mark.parametrize(("method", "value"), [("dpo", math.log(2)), ("kto", 0.5)])
def test_at_the_reference_the_loss_is_what_it_is_by_hand(method, value):
    training, _ = tuning_on(method)
    assert training.step()["loss"] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("method", ["dpo", "simpo", "rrhf", "pro", "kto"])
def test_accumulated_gradients_are_those_of_the_whole_batch(method):
    gradients = []
    for microbatch in (4, 3, 1):
        config = replace(CONFIG, microbatch=microbatch, max_grad_norm=1e6, learning_rate=1e-2)
        training, _ = tuning_on(method, config=config)
        parameters = training.policy.trained
        with torch.no_grad():  # away from the reference, where the baseline of kto is not 0
            for number, p in enumerate(parameters):
                p += 0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
        training.step()
        gradients.append(torch.cat([p.grad.flatten() for p in parameters]))
    for other in gradients[1:]:
        assert float((other - gradients[0]).norm()) < 1e-5 * float(gradients[0].norm())


@pytest.mark.parametrize("method", ["dpo", "pro", "kto"])
def test_a_training_that_is_taken_up_again_goes_on_bit_for_bit(method):
    whole, first, second = (tuning_on(method, seed=3)[0] for _ in range(3))
    for _ in range(8):
        whole.step()
    for _ in range(4):
        first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        second.step()
    for name, value in whole.policy.trained_state().items():
        assert torch.equal(value, second.policy.trained_state()[name]), name


@pytest.mark.parametrize("method", TUNING_METHODS)
def test_the_temperature_of_sampling_is_not_in_the_losses(method):
    losses = []
    for temperature in (1.0, 0.5):
        policy, triples = toy()
        policy.temperature = temperature
        responses = {r.id: r for triple in triples for r in triple}
        examples = examples_for(method, triples)
        training = on_examples(policy, examples, responses, method=method, **OPTIONS)
        losses.append([training.step()["loss"] for _ in range(3)])
    assert losses[0] == losses[1]


def test_the_reference_stays_as_it_was():
    training, triples = tuning_on("dpo")
    policy, batch = training.policy, collate([r for triple in triples for r in triple])
    before = policy.reference_logprobs(batch)
    assert torch.equal(before, policy.logprobs(batch).detach())
    finish(training)
    assert torch.equal(before, policy.reference_logprobs(batch))
    assert not torch.equal(before, policy.logprobs(batch).detach())


def test_the_baseline_of_kto_is_of_each_response_with_the_next_prompt():
    policy, triples = toy()
    labelled = [(triple[0], True) for triple in triples] + [
        (triple[1], False) for triple in triples
    ]
    config = replace(CONFIG, batch_size=5, microbatch=2)
    training = on_single_responses(
        policy, labelled, method="kto", **OPTIONS | {"config": config, "seed": 7}
    )
    with torch.no_grad():
        for number, p in enumerate(policy.trained):
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(7 * 1_000_003)).tolist()[:5]
    mixed, matched = [], []
    for place, i in enumerate(order):
        said, asked = labelled[i][0], labelled[order[(place + 1) % 5]][0]
        mixed.append(Response(asked.prompt, said.text, asked.prompt_tokens, said.tokens))
        matched.append(said)

    def ratios(responses):
        ours, theirs = summed(policy, responses), policy.reference_logprobs(collate(responses))
        return (ours - theirs.sum(1)).tolist()

    z = max(0.0, sum(ratios(mixed)) / 5)
    losses = [
        1 - 1 / (1 + math.exp(-0.1 * (r - z if labelled[i][1] else z - r)))
        for r, i in zip(ratios(matched), order, strict=True)
    ]
    assert z > 0.01
    assert training.step()["loss"] == pytest.approx(sum(losses) / 5, abs=1e-5)


def test_what_was_said_to_a_short_prompt_is_cut_where_the_next_one_is_long():
    policy, _ = toy()
    long = response(policy.language, 250 * "x", "yes")
    short = response(policy.language, "x", 200 * "y")
    labelled = [(long, True), (short, False), (short, False)]
    training = on_single_responses(policy, labelled, method="kto", **OPTIONS)
    assert math.isfinite(training.step()["loss"])


def test_the_last_batch_of_a_pass_may_have_one_response():
    policy, triples = toy()
    labelled = [(triple[0], True) for triple in triples[:5]]
    rows = finish(on_single_responses(policy, labelled, method="kto", **OPTIONS))
    assert len(rows) == 20
    assert all(math.isfinite(row["loss"]) for row in rows)


def test_a_batch_of_one_response_takes_the_next_prompt_that_is_another_one(monkeypatch):
    policy, _ = toy()
    prompts = ["one ", "one ", "two ", "two ", "one "]
    said = [response(policy.language, prompt, "ab") for prompt in prompts]
    seen, answering = [], tuning._answering

    def seeing(one, other, context):
        seen.append((one.prompt, other.prompt))
        return answering(one, other, context)

    monkeypatch.setattr(tuning, "_answering", seeing)
    alone = {"one ": "two ", "two ": "one "}
    for few, expected in ((said, alone), (said[:2] + said[4:], {"one ": "one "})):
        labelled = [(one, True) for one in few]
        config = replace(CONFIG, epochs=20, batch_size=len(few) - 1)
        training = on_single_responses(
            policy, labelled, method="kto", **OPTIONS | {"config": config}
        )
        found = {}
        while not training.done:
            seen.clear()
            training.step()
            if len(seen) == 1:
                found |= dict(seen)
        assert found == expected


def test_a_ranking_in_a_batch_with_longer_ones_has_the_loss_that_it_has_alone():
    losses = {}
    for name in ("two", "three", "both"):
        policy, triples = toy()
        (a, b, _), (d, f, e) = triples[:2]
        rankings = {"two": [([a, b], [1, 2])], "three": [([d, e, f], [1, 2, 3])]}
        chosen = rankings["two"] + rankings["three"] if name == "both" else rankings[name]
        losses[name] = on_rankings(policy, chosen, method="pro", **OPTIONS).step()["loss"]
    assert losses["both"] == pytest.approx((losses["two"] + losses["three"]) / 2, abs=1e-5)


def test_what_cannot_work_is_refused():
    policy, triples = toy()
    pairs = [(good, bad) for good, bad, _ in triples]
    labelled = [(good, True) for good, _, _ in triples]
    with pytest.raises(ConfigError, match="expected method to be one of dpo, cdpo"):
        on_pairs(policy, pairs, method="magic", **OPTIONS)
    with pytest.raises(ConfigError, match="expected method to be one of rrhf, pro, got 'dpo'"):
        on_rankings(policy, [(pairs[0], [1, 2])], method="dpo", **OPTIONS)
    with pytest.raises(ConfigError, match="expected method to be one of kto, got 'pro'"):
        on_single_responses(policy, labelled, method="pro", **OPTIONS)
    with pytest.raises(ConfigError, match="rrhf, pro, kto, got 'ppo'"):
        on_examples(policy, [], {}, method="ppo", **OPTIONS)
    with pytest.raises(NotEnoughDataError, match="at least one example"):
        on_pairs(policy, [], method="dpo", **OPTIONS)
    with pytest.raises(NotEnoughDataError, match="good or bad for kto, got 1"):
        on_single_responses(policy, labelled[:1], method="kto", **OPTIONS)
    alone = OPTIONS | {"config": replace(CONFIG, batch_size=1)}
    with pytest.raises(ConfigError, match="batch_size of at least 2 for kto"):
        on_single_responses(policy, labelled, method="kto", **alone)


@pytest.mark.parametrize("method", ["dpo", "rrhf", "kto"])
def test_a_text_beyond_the_context_is_refused_before_anything_is_computed(method):
    policy, triples = toy()
    long = response(policy.language, "x", 300 * "y")
    responses = {r.id: r for r in (long, triples[0][0])}
    ids = (long.id,) if method == "kto" else tuple(responses)
    with pytest.raises(ConfigError, match="at most 256 tokens, the context of tiny, got 302"):
        on_examples(
            policy, 2 * [Example(ids, (1, 2)[: len(ids)])], responses, method=method, **OPTIONS
        )
