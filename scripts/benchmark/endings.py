"""Tasks that end: on the true reward and on comparisons; see the command file beside this."""

from trainings import Arm, Benchmark, Suite, main

SUITES = {
    "staying": Suite(
        ("CartPole-v1", "InvertedPendulum-v5"),
        100_000,
        {"true reward": Arm(), "100 labels": Arm(100)},
        env="{}",
        episodes=100,
    ),
    "leaving": Suite(
        ("Acrobot-v1",),
        200_000,
        {"true reward": Arm(), "100 labels": Arm(100)},
        env="{}",
        episodes=100,
    ),
    "walking": Suite(
        ("Hopper-v5", "Walker2d-v5"),
        500_000,
        {"true reward": Arm(), "700 labels": Arm(700)},
        env="{}",
    ),
    "landing": Suite(
        ("LunarLander-v3",),
        500_000,
        {
            "true reward": Arm(),
            "700 labels": Arm(700),
            "700 labels, evenly": Arm(700, preferences={"schedule": "constant"}),
        },
        env="{}",
        episodes=100,
    ),
    "finding": Suite(
        ("FrozenLake8x8-v1", "minigrid:MiniGrid-Empty-8x8-v0"),
        150_000,
        {"true reward": Arm(), "200 labels": Arm(200)},
        env="{}",
        kwargs={"FrozenLake8x8-v1": {"is_slippery": False}},
    ),
}

if __name__ == "__main__":
    main(Benchmark("endings", SUITES), __doc__)
