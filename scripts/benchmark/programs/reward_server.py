"""Requests to a reward server and direct calls, by clients and rows; see the command file."""

import argparse
import asyncio
import base64
import contextlib
import csv
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces

from prefrl.control.learned.reward import Reward
from prefrl.control.learned.served import serve_steps
from prefrl.control.preferences import PreferenceConfig, step_reward
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import publish_weights
from prefrl.text.config import config_as_json
from prefrl.text.nets.models import load_model
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.served import serve_texts

OUT = Path(__file__).parents[1] / "tables" / "reward_server.csv"
TOKEN = "token-of-the-benchmark"
CLIENTS = (1, 8, 64)
WORDS = "a good answer is short and says what was asked with care because time is dear".split()
COLUMNS = (
    "kind,form,rows,clients,requests,seconds,requests_per_second,rows_per_second,"
    "median_ms,p99_ms,requests_per_batch,load"
).split(",")


class Halfcheetah:
    observation_space = spaces.Box(-np.inf, np.inf, (17,), np.float64)
    action_space = spaces.Box(-1, 1, (6,), np.float32)


def made_steps(folder):
    net = step_reward(Halfcheetah(), PreferenceConfig())
    torch.manual_seed(0)
    torch.nn.init.normal_(net.weights[-1])
    return Reward(net, Halfcheetah.observation_space, Halfcheetah.action_space).save(folder)


def made_texts(folder, model):
    preset = ALIGN_PRESETS["tiny" if model == "tiny" else "default"]
    config = replace(preset, model=model, prompts=folder / "prompts.txt", run=folder)
    run = RunDirectory.create(folder)
    run.write_json(run.config, config_as_json(config))
    reward = TextReward(load_model(model), config.reward)
    publish_weights(run.reward, 1, reward.state_dict(), about={})
    return folder


def packed(part):
    part = part.astype(np.float32)
    content = base64.b64encode(part.tobytes()).decode()
    return {"base64": content, "dtype": "float32", "shape": list(part.shape)}


def some_steps(rng, rows, form):
    seen, done = rng.normal(size=(rows, 17)), rng.uniform(-1, 1, (rows, 6))
    if form == "bytes":
        return {"observations": packed(seen), "actions": packed(done)}
    return {"observations": seen.tolist(), "actions": done.tolist()}


def some_texts(rng, rows):
    """Texts of about 20 words, no two alike: what was scored before is remembered."""
    texts = [" ".join(rng.choices(WORDS, k=20)) + f" {rng.random()}" for _ in range(rows)]
    return {"items": [{"prompt": "What is good?", "response": text} for text in texts]}


def body_of(kind, rng, rows, form):
    told = some_steps(rng, rows, form) if kind == "steps" else some_texts(rng, rows)
    return json.dumps(told).encode()


@contextlib.contextmanager
def server(folder, token_file):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--token-file", str(token_file)]
    argv = [sys.executable, "-m", "prefrl", "serve-reward", str(folder), *options]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert process.poll() is None, "the server did not start"
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


async def answered(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    (length,) = (line for line in head.lower().split(b"\r\n") if b"content-length" in line)
    return await reader.readexactly(int(length.split(b":")[1]))


async def client(port, bodies, until, took):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    head = f"POST /score HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: "
    while time.perf_counter() < until:
        body = next(bodies)
        began = time.perf_counter()
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        await answered(reader)
        took.append(time.perf_counter() - began)
    writer.close()


async def about(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET /about HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    writer.write(head.encode())
    told = json.loads(await answered(reader))
    writer.close()
    return told["served"]


def measured(port, bodies, n_clients, seconds):
    took = []

    async def all_clients():
        before = await about(port)
        began = time.perf_counter()
        until = began + seconds
        await asyncio.gather(*(client(port, bodies, until, took) for _ in range(n_clients)))
        passed = time.perf_counter() - began
        after = await about(port)
        n_batches = after["batches"] - before["batches"]
        return passed, (after["requests"] - before["requests"]) / n_batches

    return took, *asyncio.run(all_clients())


def direct(scorer, told, seconds):
    """The same rows without a server, JSON or a batch of several: what a function call takes."""
    took, began = [], time.perf_counter()
    while time.perf_counter() < began + seconds:
        asked = next(told)
        start = time.perf_counter()
        scorer.score([scorer.read(asked)])
        took.append(time.perf_counter() - start)
    return took, sum(took), 1.0  # what was sent is made in between, and does not count


def row_of(kind, form, rows, clients, found):
    took, passed, per_batch = found
    rate = len(took) / passed
    row = [kind, form, rows, clients, len(took), f"{passed:.1f}", f"{rate:.1f}"]
    row += [f"{rate * rows:.0f}", f"{1000 * np.median(took):.1f}"]
    row += [f"{1000 * np.quantile(took, 0.99):.1f}", f"{per_batch:.1f}"]
    row += [f"{os.getloadavg()[0]:.1f}"]
    print(*(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True)), sep=", ")
    return row


def rows_of(kind, folder, seconds):
    """All measurements of one reward."""
    rng = np.random.default_rng(0) if kind == "steps" else random.Random(0)
    cases = {"steps": [(1, "lists"), (64, "lists"), (1024, "lists"), (1024, "bytes")]}
    cases = cases.get(kind, [(1, "lists"), (8, "lists")])
    run = RunDirectory(folder)
    scorer = serve_steps(run, device="cpu") if kind == "steps" else serve_texts(run, device="cpu")
    token_file = folder.parent / "token"
    token_file.write_text(TOKEN)
    for rows, form in cases:
        asked = (json.loads(body_of(kind, rng, rows, form)) for _ in iter(int, 1))
        yield row_of(kind, f"direct {form}", rows, 0, direct(scorer, asked, seconds))
    del scorer
    with server(folder, token_file) as port:
        for rows, form in cases:
            ready = [body_of(kind, rng, rows, form) for _ in range(50)]
            bodies = (
                ready[n % 50] if kind == "steps" else body_of(kind, rng, rows, form)
                for n in range(10**9)
            )
            measured(port, bodies, 8, 1.0)  # warm up
            for clients in CLIENTS:
                yield row_of(kind, form, rows, clients, measured(port, bodies, clients, seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--kinds", nargs="+", default=["steps", "tiny", "smollm2"])
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "reward"
            made = made_steps(folder) if kind == "steps" else made_texts(folder, kind)
            rows += rows_of(kind, made, options.seconds)
    with options.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
