"""What PPO's time goes to, with SmolLM2-135M and the sizes of the preset cpu."""

import os
import time

import torch
from csv_rows import append_row

from prefrl.text.data.prompts import EVERYDAY
from prefrl.text.methods.ppo import Ppo
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.nets.scoring import scores_of
from prefrl.text.presets import ALIGN_PRESETS


class Clock:
    """Adds up the seconds of the processor that methods take: there is one thread."""

    def __init__(self):
        self.seconds = {}

    def watch(self, owner, method, name):
        inner = getattr(owner, method)

        def timed(*args, **options):
            started = time.process_time()
            try:
                return inner(*args, **options)
            finally:
                self.add(name, time.process_time() - started)

        setattr(owner, method, timed)

    def add(self, name, seconds):
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def ppo_breakdown(n_batches, path):
    """Each batch is learned from twice: with layers that are not trained computed in each pass, and
    with their output computed once.
    """
    config = ALIGN_PRESETS["cpu"]
    language = load_model("smollm2")
    reward = TextReward(language, config.reward)
    policy = Policy(language, train_layers=config.train_layers)
    ppo = Ppo(policy, config=config.ppo, n_updates=2 * n_batches + 2)
    prompts = [language.prompt(line) for line in EVERYDAY.read_text().splitlines() if line.strip()]
    generator = torch.Generator().manual_seed(0)
    clock = Clock()
    clock.watch(policy, "sample", "sampling")
    clock.watch(policy, "reference_logprobs", "reference")
    clock.watch(ppo, "_roll_out", "rollout")
    clock.watch(ppo, "_step", "steps")
    prepare = policy.prepare
    n = config.batch // config.per_prompt
    for number in range(n_batches + 1):  # the first one warms up
        clock.seconds.clear()
        places = [(number * n + i) % len(prompts) for i in range(n)]
        asked = [prompts[place] for place in places for _ in range(config.per_prompt)]
        responses = policy.sample(asked, config=config.sampling, generator=generator)
        before = time.process_time()
        if number == 0:
            reward.standardize_inputs(responses)
        scores = scores_of(reward, language, responses, config.scoring)[1]
        clock.add("reward", time.process_time() - before)
        shared = dict(clock.seconds)
        ways = {"each pass": lambda batch: batch, "once": prepare}
        for way in sorted(ways, reverse=bool(number % 2)):
            clock.seconds = dict(shared)
            policy.prepare = ways[way]
            before = time.process_time()
            ppo.improve(responses, scores, generator)
            clock.add("improve", time.process_time() - before)
            if number:
                report(path, number, way, responses, clock.seconds)


def report(path, number, way, responses, spent):
    tokens = sum(len(r.tokens) for r in responses)
    total = spent["sampling"] + spent["reward"] + spent["improve"]
    row = {"batch": number, "frozen_layers": way, "responses": len(responses), "tokens": tokens}
    parts = {
        "sampling": spent["sampling"],
        "reward_scores": spent["reward"],
        "reference_logprobs": spent["reference"],
        "policy_logprobs": spent["rollout"] - spent["reference"],
        "gradient_steps": spent["steps"],
        "rest": spent["improve"] - spent["rollout"] - spent["steps"],
        "seconds": total,
        "tokens_per_second": tokens / total,
    }
    row |= {name: f"{value:.3f}" for name, value in parts.items()}
    append_row(path, row | {"load": f"{os.getloadavg()[0]:.2f}"})
    print(row, flush=True)
