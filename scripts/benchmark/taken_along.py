"""Answers and rewards that are taken along: what agents learn from them; see the command file."""

from trainings import Arm, Benchmark, Suite, main

TASK = "HalfCheetah-v5"
SOURCE = f"runs/benchmark/taken_along/source-100-labels-{TASK}-0-300000"
BEGUN_WITH = {
    "its answers": {"labels_from": (SOURCE,)},
    "its reward": {"reward": SOURCE},
}


def suite(algo, steps):
    """Agents that ask for nothing."""
    arms = {
        name: Arm(0, algo, preferences={"labels": 0, **told}) for name, told in BEGUN_WITH.items()
    }
    return Suite((TASK,), steps, arms, env="{}")


SUITES = {
    "source": Suite((TASK,), 300_000, {"100 labels": Arm(100)}, env="{}"),
    "ppo": suite("ppo", 300_000),
    "sac": suite("sac", 100_000),
}

if __name__ == "__main__":
    main(Benchmark("taken_along", SUITES), __doc__)
