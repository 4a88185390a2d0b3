"""Learners over tasks: on the true reward and on comparisons; see the command file beside this."""

from trainings import Arm, Benchmark, Suite, main

SUITES = {
    "scale": Suite(
        ("Hopper", "Walker2d", "HalfCheetah", "Swimmer"),
        500_000,
        {
            "true reward": Arm(),
            "100 labels, per step": Arm(100, preferences={"scale": "step"}),
            "100 labels": Arm(100),
        },
    ),
    "many-labels": Suite(("Walker2d",), 500_000, {"700 labels": Arm(700)}),
    "tuned": Suite(
        (
            *("HalfCheetah", "Hopper", "Walker2d", "Swimmer", "Ant"),
            *("Reacher", "InvertedPendulum", "InvertedDoublePendulum"),
        ),
        1_000_000,
        {"true reward": Arm()},
    ),
    "off-policy": Suite(
        ("Hopper", "Walker2d", "HalfCheetah"),
        200_000,
        {"sac, true reward": Arm(algo="sac"), "sac, 100 labels": Arm(100, "sac")},
    ),
}

if __name__ == "__main__":
    main(Benchmark("learners", SUITES), __doc__)
