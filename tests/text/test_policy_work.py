"""The work with a policy in several processes: it comes to what it comes to in one."""

import copy
from dataclasses import replace

import pytest
import torch
from launches import in_processes

from prefrl.errors import ConfigError
from prefrl.runtime.roles.parallel import ALONE
from prefrl.text.methods.examples import BAD, GOOD, Example
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.groups import GrpoConfig, RlooConfig
from prefrl.text.methods.ppo import PpoConfig
from prefrl.text.methods.raft import RaftConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.models import load_model
from prefrl.text.policy_work import PolicyWork, check_shareable
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.responses import Response
from prefrl.text.start import new_reward

PROMPTS = ("one ", "or two ", "a", "the six ")
# 10 responses, minibatches of 4, 4 and 2, whose shares are cut into microbatches again.
PPO = PpoConfig(
    learning_rate=1e-3,
    n_epochs=2,
    n_minibatches=3,
    microbatch=3,
    adaptive_kl=True,
    whiten_rewards=True,
    ptx_coef=0.5,
    ptx_examples=3,
    ema=0.5,
    value_from_reward=True,
)
# 7 examples: batches of 4 and of 3.
TUNING = FinetuneConfig(epochs=2, batch_size=4, microbatch=2, learning_rate=1e-3)
GROUPS = {
    "grpo": GrpoConfig(1e-3, kl_coef=0.1, n_epochs=2, n_minibatches=3, microbatch=3),
    "rloo": RlooConfig(1e-3, kl_coef=0.1, n_epochs=2, n_minibatches=3, microbatch=3),
}
TUNED = {"dpo": (1, 2), "ipo": (1, 2), "rrhf": (1, 2), "kto": None}


def written(language, n):
    """Responses to one prompt after the other, of different lengths."""
    found = []
    for number in range(n):
        prompt = language.prompt(PROMPTS[number % len(PROMPTS)])
        text = "abcdefgh"[: 1 + number * 3 % 7] + str(number)
        tokens = language.response_tokens(text)
        found.append(Response(prompt.text, text, prompt.tokens, tokens))
    return found


def config_for(method):
    return replace(
        ALIGN_PRESETS["tiny"],
        prompts="prompts.txt",
        method=method,
        ppo=PPO,
        **GROUPS,
        finetune=TUNING,
        raft=RaftConfig(kept=2),
        batch=20,
        per_prompt=4,
        sampling=SamplingConfig(max_new_tokens=6),
    )


def work_for(method, workers):
    config, language = config_for(method), load_model("tiny")
    # In float32 the log-probabilities of a batch differ by 2e-6 from those of its parts, and the
    # loss of IPO, which begins at 25, ten times as much.
    language.model.double()
    reward = new_reward(config, language, shares=False)
    with torch.no_grad():
        reward.weight.normal_(generator=torch.Generator().manual_seed(1))
    texts = {r.id: r for r in written(language, 14)}
    work = PolicyWork(config, language, reward, texts, workers)
    work.ppo._texts = list(texts.values())
    return work


def examples_for(method, ids):
    if method == "kto":
        return [Example((one,), (GOOD if place % 3 else BAD,)) for place, one in enumerate(ids[:7])]
    return [Example(pair, (1, 2)) for pair in zip(ids[::2], ids[1::2], strict=True)]


def first_told(work, workers, do):
    """The result of the first process; the others follow."""
    if workers.rank:
        work.follow()
        return []
    rows = do()
    workers.broadcast(None)
    return rows


def state_of(work):
    # What came of the last gradient step: gradients after clipping, and parameters.
    named = {name: p for name, p in work.policy.named_parameters() if p.requires_grad}
    grads = {name: p.grad for name, p in named.items() if p.grad is not None}
    return {"grads": grads, "parameters": {name: p.detach() for name, p in named.items()}}


def improve(workers):
    work = work_for("ppo", workers)
    responses = written(work.policy.language, 10)
    scores = torch.linspace(-1, 1, 10)
    rows = first_told(work, workers, lambda: [work.improve(responses, scores) for _ in range(2)])
    about = {"rows": rows, "kl_coef": work.ppo.kl_coef, "average": work.ppo._average}
    return about | state_of(work)


def learn_in_groups(method, workers):
    # 5 prompts with 4 responses each: minibatches of 7, 7 and 6.
    work = work_for(method, workers)
    language = work.policy.language
    responses = [
        replace(one, tokens=one.tokens[n % 3 :]) for one in written(language, 5) for n in range(4)
    ]
    scores = torch.linspace(-1, 1, 20).sin()

    def batches():
        rows = [work.improve(responses, scores)]
        kept = copy.deepcopy(work.state_dict())
        rows.append(work.improve(responses, -scores))
        work.load_state_dict(kept, ())
        return [*rows, work.improve(responses, scores.flip(0))]

    return {"rows": first_told(work, workers, batches), **state_of(work)}


def learn_the_best(workers):
    # 5 prompts of which 2 responses are kept: gradient steps on 4, 4 and 2, in two passes.
    work = work_for("raft", workers)
    responses = [r for r in written(work.policy.language, 5) for _ in range(4)]
    scores = torch.linspace(-1, 1, 20).sin()

    def batches():
        rows = [work.improve(responses, scores)]
        kept = work.state_dict()
        rows.append(work.improve(responses, -scores))
        work.load_state_dict(kept, ())
        return [*rows, work.improve(responses, scores.flip(0))]

    return {"rows": first_told(work, workers, batches), **state_of(work)}


def tune(method, workers):
    work = work_for(method, workers)

    def steps():
        work.begin_tuning(examples_for(method, list(work._responses)))
        rows = [work.tune()]
        kept = work.state_dict()
        rows.append(work.tune())
        work.load_state_dict(kept, examples_for(method, list(work._responses)))
        while not work.tuning.done:
            rows.append(work.tune())
        return rows

    return {"rows": first_told(work, workers, steps), **state_of(work)}


def sample(workers):
    work = work_for("best-of-n", workers)
    prompts = [work.policy.language.prompt("one ")] * 4
    drawn = first_told(work, workers, lambda: work.sample(prompts, 3) + work.sample(prompts, 3))
    return [response.tokens for response in drawn]


def all_of_it(workers):
    return {
        "ppo": improve(workers),
        "raft": learn_the_best(workers),
        **{method: learn_in_groups(method, workers) for method in GROUPS},
        "sample": sample(workers),
        **{method: tune(method, workers) for method in TUNED},
    }


@pytest.fixture(scope="module")
def alone():
    return all_of_it(ALONE)


@pytest.fixture(scope="module", params=[2, 3])
def together(request, tmp_path_factory):
    return in_processes(all_of_it, tmp_path_factory.mktemp("launch"), size=request.param)


@pytest.mark.parametrize("method", ["ppo", "raft", *GROUPS, *TUNED])
def test_several_processes_give_the_loss_the_gradient_and_the_parameters_of_one(
    method, alone, together
):
    one, two = alone[method], together[0][method]
    assert len(one["rows"]) == len(two["rows"]) > 1
    for step, (row, other) in enumerate(zip(one["rows"], two["rows"], strict=True)):
        if (
            step == 0 and "rewards/accuracies" in row
        ):  # whether margins of 0 ± 1e-7 are above 0 is chance
            row, other = ({**told, "rewards/accuracies": 0.5} for told in (row, other))
        assert row == pytest.approx(other, abs=1e-5)
    for what in ("grads", "parameters"):
        assert one[what].keys() == two[what].keys()
        for name, tensor in one[what].items():
            torch.testing.assert_close(two[what][name], tensor, atol=1e-5, rtol=0)
    if method == "ppo":
        assert one["kl_coef"] == pytest.approx(two["kl_coef"], abs=1e-7)
        assert "ptx" in two["rows"][0]
        assert any(name.startswith("value_model") for name in two["grads"])


@pytest.mark.parametrize("method", ["ppo", "raft", *GROUPS, *TUNED])
def test_all_processes_end_with_the_same_parameters_bit_for_bit(method, together):
    first, *others = (told[method] for told in together)
    for other in others:
        p, q = first["parameters"], other["parameters"]
        assert p.keys() == q.keys()
        assert all(torch.equal(p[name], q[name]) for name in p)
        if method == "ppo":
            assert first["kl_coef"] == other["kl_coef"]
            pairs = zip(first["average"], other["average"], strict=True)
            assert all(torch.equal(*pair) for pair in pairs)


def test_g6_processes_draw_with_seeds_of_their_own(alone, together):
    one, two = alone["sample"], together[0]["sample"]
    assert len(one) == len(two) == 8
    assert one[:4] == one[4:]
    assert two[:4] == two[4:]  # seed, rank and number of the batch settle it
    assert two[:2] != two[2:4]


def nothing_left(workers):
    # The first process has no policy: it was killed in the final evaluation.
    if workers.rank:
        return first_told(work_for("ppo", workers), workers, None)
    return workers.broadcast(None)


def test_who_follows_ends_where_the_first_process_has_nothing_left_to_do(tmp_path):
    assert in_processes(nothing_left, tmp_path) == [None, []]


def test_what_cannot_be_shared_out_is_refused():
    config = config_for("ppo")
    check_shareable(config, config.batch)
    with pytest.raises(ConfigError, match=r"for each of 65 processes, got a batch of 64; launch"):
        check_shareable(replace(config, batch=64), 65)
