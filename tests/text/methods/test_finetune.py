import math
from dataclasses import replace

import pytest
import torch

from prefrl.errors import ConfigError, NonFiniteError, NotEnoughDataError
from prefrl.text.methods.finetune import FinetuneConfig, Finetuning, on_demonstrations
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

CONFIG = FinetuneConfig(epochs=10, batch_size=4, microbatch=4, learning_rate=3e-3)


def response(language, prompt, text):
    return Response(prompt, text, language.prompt(prompt).tokens, language.response_tokens(text))


def toy():
    """A policy, and pairs in which the response with more a's is chosen."""
    policy = Policy(load_model("tiny"))
    language = policy.language
    words = [
        ("aba", "bcb"),
        ("aa", "bee"),
        ("caab", "cb"),
        ("a", "hm"),
        ("baa", "by"),
        ("aah", "o"),
    ]
    pairs = [
        tuple(response(language, prompt, text) for text in pair)
        for prompt in ("one ", "or two ")
        for pair in words
    ]
    return policy, pairs


def finish(training):
    rows = []
    while not training.done:
        rows.append(training.step())
    return rows


def test_demonstrations_become_likely_and_prompts_do_not_count():
    policy, pairs = toy()
    rows = finish(on_demonstrations(policy, [p[0] for p in pairs], config=CONFIG, seed=0))
    assert rows[0]["loss"] == pytest.approx(math.log(257), rel=0.1)
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]


def test_accumulated_gradients_are_those_of_the_whole_batch():
    gradients = []
    for microbatch in (4, 3, 1):
        policy, pairs = toy()
        config = FinetuneConfig(batch_size=4, microbatch=microbatch, max_grad_norm=1e6)
        on_demonstrations(policy, [p[0] for p in pairs], config=config, seed=0).step()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trained]))
    for other in gradients[1:]:
        assert float((other - gradients[0]).norm()) < 1e-5 * float(gradients[0].norm())


def test_a_training_that_is_taken_up_again_goes_on_bit_for_bit_and_leaves_its_state_alone():
    def training():
        policy, pairs = toy()
        return on_demonstrations(policy, [p[0] for p in pairs], config=CONFIG, seed=3)

    whole, first = training(), training()
    for _ in range(4):
        whole.step()
        first.step()
    state = first.state_dict()
    for _ in range(4):
        whole.step()
        first.step()
    for _ in range(2):  # a state may be taken up twice
        second = training()
        second.load_state_dict(state)
        for _ in range(4):
            second.step()
        for name, value in whole.policy.trained_state().items():
            assert torch.equal(value, second.policy.trained_state()[name]), name


def test_a_gradient_that_is_not_finite_leaves_the_policy_as_it_was():
    policy, pairs = toy()
    before = {name: value.clone() for name, value in policy.trained_state().items()}

    def broken(examples):
        return math.nan * policy.logprobs(collate([pairs[0][0]])).sum(), {}

    training = Finetuning(policy, 4, broken, config=CONFIG, seed=0)
    with pytest.raises(NonFiniteError, match="finite gradient in step 1"):
        training.step()
    assert all(torch.equal(before[name], v) for name, v in policy.trained_state().items())


def test_what_cannot_work_is_refused():
    policy, pairs = toy()
    with pytest.raises(NotEnoughDataError, match="at least one example"):
        on_demonstrations(policy, [], config=CONFIG, seed=0)
    config = replace(CONFIG, warmup_steps=30)
    with pytest.raises(ConfigError, match="warmup_steps to be fewer than the 30 gradient steps"):
        on_demonstrations(policy, [p[0] for p in pairs], config=config, seed=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_grad_norm", 0.0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("adam_eps", -1e-8),
        ("adam_eps", math.nan),
        ("weight_decay", -0.1),
        ("weight_decay", math.inf),
    ],
)
def test_numbers_that_adam_cannot_work_with_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be"):
        FinetuneConfig(**{name: value})


def test_the_learning_rate_rises_and_falls():
    policy, pairs = toy()
    config = FinetuneConfig(batch_size=2, learning_rate=0.6, warmup_steps=2)
    training = on_demonstrations(policy, [p[0] for p in pairs], config=config, seed=0)
    rates = []
    while not training.done:
        training.step()
        rates.append(training._adam.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.45, 0.3, 0.15])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1, 3 / 4, 1 / 2, 1 / 4]),
        ({"final_share": 0.2}, [1, 0.8, 0.6, 0.4]),
        ({"schedule": "constant"}, [1, 1, 1, 1]),
        ({"schedule": "constant", "warmup_steps": 2}, [1 / 3, 2 / 3, 1, 1]),
        ({"schedule": "cosine"}, [1, (2 + 2**0.5) / 4, 1 / 2, (2 - 2**0.5) / 4]),
        ({"schedule": "cosine", "final_share": 0.1, "warmup_steps": 1}, [1 / 2, 1, 0.775, 0.325]),
    ],
)
def test_schedules_of_the_learning_rate(changes, expected):
    policy, pairs = toy()
    config = FinetuneConfig(batch_size=3, learning_rate=0.5, **changes)
    training = on_demonstrations(policy, [p[0] for p in pairs], config=config, seed=0)
    shares = []
    while not training.done:
        training.step()
        shares.append(training.learning_rate / 0.5)
    assert shares == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "sawtooth"}, "linear, cosine or constant, got 'sawtooth'"),
        ({"final_share": 1.5}, "final_share is a share"),
        ({"schedule": "constant", "final_share": 0.5}, "leave final_share out"),
    ],
)
def test_schedules_that_there_are_not_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig(**changes)
