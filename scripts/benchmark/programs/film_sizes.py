"""How long a frame takes at each size; see the command file beside this."""

import argparse
import os
import time
from datetime import date
from pathlib import Path

import gymnasium as gym
import numpy as np
from csv_rows import append_row

from prefrl.control.environments.states import read_state
from prefrl.control.films.clips import ClipRenderer, encode_film

TABLES = Path(__file__).parents[1] / "tables"
SIZES, N_STEPS, N_ROUNDS = (128, 256, 320, 512), 50, 5


def states_of(env_id):
    """Of the first steps of an episode, at random."""
    env = gym.make(env_id)
    env.reset(seed=0)
    env.action_space.seed(0)
    states = []
    for _ in range(N_STEPS):
        states.append(read_state(env))
        env.step(env.action_space.sample())
    env.close()
    return np.stack(states)


def milliseconds_a_frame(env_id, states, size):
    """Median over the rounds: to draw, and to encode; and the KiB of the film."""
    drawing, encoding = [], []
    with ClipRenderer(env_id, size=size) as clips:
        clips.frames(states)  # the first ones compile shaders
        for _ in range(N_ROUNDS):
            began = time.perf_counter()
            frames = clips.frames(states)
            drawn = time.perf_counter()
            film = encode_film(frames, fps=clips.fps)
            drawing.append(drawn - began)
            encoding.append(time.perf_counter() - drawn)
    per_frame = [1000 * float(np.median(times)) / N_STEPS for times in (drawing, encoding)]
    return *per_frame, len(film) / 1024


def main() -> None:
    """Measures each size, and adds a row for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--out", type=Path, default=TABLES / "film_sizes.csv")
    told = parser.parse_args()
    states = states_of(told.env)
    for size in SIZES:
        load = os.getloadavg()[0]
        draw, encode, kib = milliseconds_a_frame(told.env, states, size)
        row = {
            "date": date.today().isoformat(),
            "load": round(load, 2),
            "env": told.env,
            "size": size,
            "draw_ms": round(draw, 2),
            "encode_ms": round(encode, 2),
            "film_kib": round(kib),
        }
        print(row, flush=True)
        append_row(told.out, row)


if __name__ == "__main__":
    main()
