"""Processes that are connected as those of a launch, for tests."""

import multiprocessing
import os

import torch
from labelling import free_port

from prefrl.runtime.roles.parallel import join_workers


def environment(rank, size, port):
    """What a launcher tells a process."""
    about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    about |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in about.items()}


def _work(rank, size, port, folder, work):
    os.environ |= environment(rank, size, port)
    torch.set_num_threads(1)
    with join_workers("cpu") as workers:
        torch.save(work(workers), folder / f"{rank}.pt")
        if rank:
            assert workers.broadcast(None) is None


def in_processes(work, folder, size=2):
    """What ``work(workers)``, a function of a module, gives in each of so many processes."""
    spawn, port = multiprocessing.get_context("spawn"), free_port()
    processes = [
        spawn.Process(target=_work, args=(rank, size, port, folder, work)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]
