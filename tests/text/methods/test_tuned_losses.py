"""What each method makes of a batch, against its formula: one text after the other, unpadded."""

import math

import pytest
import torch

from prefrl.text.methods.examples import BAD, GOOD, Example
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.preference_losses import TUNING_METHODS, PairLossConfig
from prefrl.text.methods.tuning import on_examples
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

NUMBERS = PairLossConfig(
    beta=0.37,
    flip_rate=0.2,
    orpo_weight=0.3,
    simpo_target=0.6,
    kto_good_weight=1.3,
    kto_bad_weight=0.7,
    rrhf_weight=2.5,
    pro_weight=0.08,
)
CONFIG = FinetuneConfig(batch_size=7, microbatch=3, max_grad_norm=1e9, learning_rate=1e-9)
PROMPTS = ("a", "bcd ", "hello there ", "x y z w v u ", "qq")
TEXTS = ("gab", "a bed for the cab", "h", "bead, face and fade", "dab hand", "e")
SEED = 5


class Said:
    """Log-probabilities of policy and reference, summed over the tokens of one text alone."""

    def __init__(self, policy):
        self.policy = policy

    @torch.no_grad()
    def by(self, model, prompt_tokens, tokens):
        logits = model(input_ids=torch.tensor([[*prompt_tokens, *tokens]])).logits[0]
        shares = logits[:, : self.policy.language.n_vocabulary].double().log_softmax(1)
        first = len(prompt_tokens) - 1
        return sum(float(shares[first + place, token]) for place, token in enumerate(tokens))

    def ours(self, response):
        return self.by(self.policy.model, response.prompt_tokens, response.tokens)

    def mean(self, response):
        return self.ours(response) / len(response.tokens)

    def ratio(self, response, prompt_tokens=None):
        asked = response.prompt_tokens if prompt_tokens is None else prompt_tokens
        ours = self.by(self.policy.model, asked, response.tokens)
        return ours - self.by(self.policy.reference.model, asked, response.tokens)


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def of_margin(method, h):
    beta, e = NUMBERS.beta, NUMBERS.flip_rate
    right, wrong = log_sigmoid(beta * h), log_sigmoid(-beta * h)
    return {
        "dpo": -right,
        "cdpo": -(1 - e) * right - e * wrong,
        "robust-dpo": (-(1 - e) * right + e * wrong) / (1 - 2 * e),
        "ipo": (h - 1 / (2 * beta)) ** 2,
        "hinge": max(0.0, 1 - beta * h),
    }[method]


def of_pair(method, said, chosen, rejected):
    if TUNING_METHODS[method].needs_reference:
        return of_margin(method, said.ratio(chosen) - said.ratio(rejected))
    w, r = said.mean(chosen), said.mean(rejected)
    if method == "simpo":
        return -log_sigmoid(NUMBERS.beta * w - NUMBERS.beta * r - NUMBERS.simpo_target)
    odds = (w - math.log(1 - math.exp(w))) - (r - math.log(1 - math.exp(r)))
    return -w - NUMBERS.orpo_weight * log_sigmoid(odds)


def of_ranking(method, said, responses, ranks):
    means = [said.mean(one) for one in responses]
    best_logprob = said.ours(responses[ranks.index(min(ranks))])
    worse = [[b for b, other in zip(means, ranks, strict=True) if other > r] for r in ranks]
    if method == "rrhf":
        order = sum(max(0.0, b - a) for a, below in zip(means, worse, strict=True) for b in below)
        return NUMBERS.rrhf_weight * order - best_logprob
    loss = -NUMBERS.pro_weight * (len(ranks) - 1) ** 2 * best_logprob
    for a, below in zip(means, worse, strict=True):
        if below:
            loss -= a - math.log(math.exp(a) + sum(math.exp(b) for b in below))
    return loss


def of_single_responses(said, batch):
    nexts = [*batch[1:], batch[0]]
    mixed = [said.ratio(r, o.prompt_tokens) for (r, _), (o, _) in zip(batch, nexts, strict=True)]
    z = max(0.0, sum(mixed) / len(mixed))
    assert z > 0.01
    losses = []
    for response, is_good in batch:
        above = said.ratio(response) - z
        sign, weight = (1, NUMBERS.kto_good_weight) if is_good else (-1, NUMBERS.kto_bad_weight)
        losses.append(weight * (1 - 1 / (1 + math.exp(-NUMBERS.beta * sign * above))))
    return losses


def examples_for(method, ids):
    """Of the six responses to each prompt."""
    takes = TUNING_METHODS[method].takes
    if takes == "pairs":
        return [Example(pair, (1, 2)) for six in ids for pair in (six[:2], six[2:4])]
    if takes == "rankings":
        four = [Example(six[:4], (2, 1, 2, 4)) for six in ids]
        return four + [Example(six[4:], (1, 2)) for six in ids]
    return [Example((i,), (GOOD if n % 3 else BAD,)) for six in ids for n, i in enumerate(six[:4])]


@pytest.mark.parametrize("method", TUNING_METHODS)
def test_a_batch_has_the_loss_of_the_formula_away_from_the_reference(method):
    policy = Policy(load_model("tiny"))
    language, generator = policy.language, torch.Generator().manual_seed(3)
    for p in policy.reference.model.parameters():  # moved this way, the baseline of kto is not 0
        p += 0.03 * torch.randn(p.shape, generator=generator)
    groups = [
        [
            Response(asked, text, language.prompt(asked).tokens, language.response_tokens(text))
            for text in (*TEXTS[n:], *TEXTS[:n])
        ]
        for n, asked in enumerate(PROMPTS)
    ]
    responses = {r.id: r for group in groups for r in group}
    examples = examples_for(method, [tuple(r.id for r in group) for group in groups])
    training = on_examples(
        policy, examples, responses, method=method, loss=NUMBERS, config=CONFIG, seed=SEED
    )
    generator = torch.Generator().manual_seed(SEED * 1_000_003)
    order = torch.randperm(len(examples), generator=generator).tolist()
    batch = [
        ([responses[i] for i in examples[place].ids], examples[place].ranks) for place in order[:7]
    ]
    said = Said(policy)
    if TUNING_METHODS[method].takes == "pairs":
        losses = [of_pair(method, said, *pair) for pair, _ in batch]
    elif TUNING_METHODS[method].takes == "rankings":
        losses = [of_ranking(method, said, *ranking) for ranking in batch]
    else:
        losses = of_single_responses(said, [(one[0], ranks[0] == GOOD) for one, ranks in batch])
    assert training.step()["loss"] == pytest.approx(sum(losses) / 7, rel=1e-5)
