"""Two trainings that take turns on one machine: each goes on for some steps when it is told to."""

import json
import subprocess
import sys
import time


class Turns:
    """The side of a training: call ``after_step`` after each gradient step."""

    def __init__(self, n_warm, n_steps):
        self._left, self._n_steps, self._started = n_warm, n_steps, (0.0, 0.0)

    def after_step(self):
        """Goes on, or says how long the turn took and waits for the next one."""
        self._left -= 1
        if self._left == 0:
            passed = [now - then for now, then in zip(both_clocks(), self._started, strict=True)]
            print("turn", json.dumps(passed), flush=True)
            if sys.stdin.readline() != "go\n":
                sys.exit()
            self._left, self._started = self._n_steps, both_clocks()
        return True


def both_clocks():
    """The time on the wall, and what this process has had of a processor, in seconds."""
    return time.perf_counter(), time.process_time()


class Worker:
    """The side that times it: a process with a training that is warmed up."""

    def __init__(self, command, environment):
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.tokens = None  # of a gradient step, if the training says so
        self._hear()

    def turn(self):
        """Seconds that its next steps take, on the wall and of a processor."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self):
        for line in self._process.stdout:
            if line.startswith("turn "):
                return json.loads(line[5:])
            if line.startswith("tokens "):
                self.tokens = int(line[7:])
        raise RuntimeError(f"it ended with {self._process.wait()}: {self._process.args}")

    def close(self):
        self._process.stdin.close()
        self._process.stdout.read()
        self._process.wait()
