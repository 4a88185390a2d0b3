"""A reward server on a socket of its own, and rewards to serve, for its tests."""

import contextlib
import threading
import time
from dataclasses import replace

import httpx
import numpy as np
import torch
from gymnasium import spaces
from labelling import free_port

from prefrl import PreferenceConfig, Reward
from prefrl.control.learned.served import ServedReward
from prefrl.control.preferences import step_reward
from prefrl.control.reward.config import RewardNetConfig
from prefrl.reward_server.app import ServerConfig, create_app
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import publish_weights
from prefrl.text.config import config_as_json
from prefrl.text.nets.models import load_model
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.web.listening import listen_and_serve
from prefrl.web.requests import hosts_at

TOKEN = "a-token-of-the-tests-and-no-other"


class Served:
    """A server, while it lives."""

    def __init__(self, port, app):
        self.port, self.app = port, app
        self.url = f"http://127.0.0.1:{port}"

    def client(self, token=TOKEN, **headers):
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def post(self, path, told, **how):
        with self.client() as client:
            how = {"content": told} if isinstance(told, bytes) else {"json": told}
            return client.post(path, headers={"Content-Type": "application/json"}, **how)


@contextlib.contextmanager
def serving(scorer, **config):
    port = free_port()
    app = create_app(scorer, ServerConfig(token=TOKEN, hosts=hosts_at(port, ()), **config))
    stops = threading.Event()
    thread = threading.Thread(
        target=listen_and_serve,
        args=(app, "127.0.0.1", port),
        kwargs={
            "sent": "",
            "option": "--port",
            "on_tick": lambda: None,
            "should_stop": stops.is_set,
        },
    )
    thread.start()
    try:
        served = Served(port, app)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError), served.client() as client:
                client.get("/health")
                break
        yield served
    finally:
        stops.set()
        thread.join(30)
    assert not thread.is_alive()


class Spaces:
    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


def box(*shape):
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def random_reward(observation_space, action_space, *, seed=1, **net):
    """A reward of random parameters."""
    config = PreferenceConfig(net=RewardNetConfig(**net))
    found = step_reward(Spaces(observation_space, action_space), config)
    draw(found, seed)
    return Reward(found, observation_space, action_space, {"version": 1})


def draw(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)


def served_reward(folder, *of, **net):
    """A scorer of steps whose run publishes into a folder, and the reward for a direct call."""
    run = RunDirectory.create(folder)
    return ServedReward(random_reward(*of, **net), run), random_reward(*of, **net), run


def text_run(folder, *, seed=5, version=3, language=None, **changes):
    """A run of a language model with published weights."""
    config = replace(ALIGN_PRESETS["tiny"], prompts=folder / "prompts.txt", run=folder, **changes)
    run = RunDirectory.create(folder)
    run.write_json(run.config, config_as_json(config))
    publish_texts(run, config, language or load_model("tiny"), seed=seed, version=version)
    return run


def publish_texts(run, config, language, *, seed, version):
    reward = TextReward(language, config.reward)
    reward.reset(torch.Generator().manual_seed(seed))
    texts = [language.response(language.prompt("one "), text) for text in ("aba", "bcb", "hm")]
    reward.calibrate(texts)
    publish_weights(run.reward, version, reward.state_dict(), about={})
