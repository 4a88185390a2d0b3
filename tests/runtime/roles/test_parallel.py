"""What processes of a launch exchange, between two of them on this machine."""

import multiprocessing
import os
import time

import pytest
import torch
from launches import environment, free_port, in_processes

from prefrl.errors import ConfigError, RoleError
from prefrl.runtime.roles import parallel
from prefrl.runtime.roles.parallel import ALONE, Workers, check_alone, join_workers, launched_as


class Ranked(Workers):
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 1, 4, 17])
def test_shares_are_all_there_is_in_its_order(n, size):
    things = list(range(n))
    shares = [things[Ranked(rank, size).share(n)] for rank in range(size)]
    assert [thing for share in shares for thing in share] == things
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_keeps_what_it_has():
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.tensor([1.0, 2.0])
    ALONE.add_gradients([p])
    ALONE.copy([p])
    assert p.grad.tolist() == [1, 2]
    assert ALONE.broadcast("said") == "said"
    assert ALONE.gather([1, 2]) == [1, 2]
    assert ALONE.join(p) is p
    assert ALONE.add({"a": 1.0}) == {"a": 1.0}
    assert [1, 2][ALONE.share(2)] == [1, 2]


def exchange(workers):
    parallel._BUCKET = 8  # several of them
    sizes = [(3,), (2, 2), (5,), (1,)]
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in sizes]
    parameters.append(torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    for place, p in enumerate(parameters):
        # The second has no gradient anywhere, the third has one in the first process alone.
        if place != 1 and (place != 2 or workers.rank == 0):
            p.grad = torch.full_like(p, 10.0**workers.rank * (place + 1))
    workers.add_gradients(parameters)
    own = torch.full((2,), float(workers.rank + 3))
    workers.copy([own])
    return {
        "grads": [p.grad for p in parameters],
        "copied": own,
        "broadcast": workers.broadcast({"from": workers.rank}),
        "gathered": workers.gather([workers.rank, "x"]),
        "joined": workers.join(torch.full((workers.rank + 1, 2), float(workers.rank))),
        "sums": workers.add({"all": 1.5} | ({"second": 2.0} if workers.rank else {})),
    }


def test_two_processes_add_copy_and_tell(tmp_path):
    for told in in_processes(exchange, tmp_path):
        grads = told["grads"]
        assert grads[1] is None
        assert [g[..., 0].flatten()[0].item() for g in grads if g is not None] == [11, 3, 44, 55]
        assert [g.shape for g in grads if g is not None] == [(3,), (5,), (1,), (2,)]
        assert grads[4].dtype == torch.float64
        assert told["copied"].tolist() == [3, 3]
        assert told["broadcast"] == {"from": 0}
        assert told["gathered"] == [0, "x", 1, "x"]
        assert told["joined"].tolist() == [[0, 0], [1, 1], [1, 1]]
        assert told["sums"] == {"all": 3, "second": 2}


def die_when_told(port):
    os.environ |= environment(1, 2, port)
    with join_workers("cpu") as workers:
        workers.broadcast(None)
        os._exit(9)


def lose_the_other(workers):
    workers.broadcast("die")
    began = time.monotonic()
    try:
        workers.gather([1])
    finally:
        assert time.monotonic() - began < 20


def test_who_loses_another_process_says_so_in_a_sentence(monkeypatch):
    port = free_port()
    for name, value in environment(0, 2, port).items():
        monkeypatch.setenv(name, value)
    process = multiprocessing.get_context("spawn").Process(target=die_when_told, args=(port,))
    process.start()
    told = r"expected all 2 processes .* one is gone .*; launch prefrl resume runs/one\.$"
    joined = join_workers("cpu", advice="launch prefrl resume runs/one")
    with pytest.raises(RoleError, match=told), joined as workers:
        lose_the_other(workers)
    process.join(20)


def test_a_launch_of_several_is_refused_for_work_of_one(monkeypatch):
    assert launched_as() == (0, 1)
    check_alone("prefrl sft")
    for name, value in environment(1, 2, 1).items():
        monkeypatch.setenv(name, value)
    assert launched_as() == (1, 2)
    with pytest.raises(ConfigError, match="one process for prefrl sft, got a launch of 2"):
        check_alone("prefrl sft")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched_as() == (0, 1)
