"""Two hosts on one machine: network namespaces with a cable between them, and servers on one."""

import contextlib
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE, THERE = "prefrl-here", "prefrl-there"
"""The namespaces: of the training, and of the servers, the page and the people."""
ADDRESSES = {HERE: "10.77.0.1", THERE: "10.77.0.2"}
_S3_PORT = 9000


def on(host, *command):
    """A command as it runs on a host."""
    return ["ip", "netns", "exec", host, *map(str, command)]


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def two_hosts():
    """Both hosts, joined by a cable."""
    for host in ADDRESSES:
        subprocess.run(["ip", "netns", "del", host], stderr=subprocess.DEVNULL)
        _ip("netns", "add", host)
    try:
        _ip("link", "add", "here0", "netns", HERE, "type", "veth", "peer", "there0", "netns", THERE)
        for host, end in ((HERE, "here0"), (THERE, "there0")):
            _ip("-n", host, "address", "add", f"{ADDRESSES[host]}/24", "dev", end)
            for device in ("lo", end):
                _ip("-n", host, "link", "set", device, "up")
        yield
    finally:
        for host in ADDRESSES:
            subprocess.run(["ip", "netns", "del", host], check=False)


def plug(*, is_in):
    """Pulls the cable out, or puts it in again."""
    _ip("-n", THERE, "link", "set", "there0", "up" if is_in else "down")


class Servers:
    """PostgreSQL and an S3 server (moto's), which keep what they hold when they are killed.

    Args:
        folder: Where PostgreSQL keeps its data.
    """

    def __init__(self, folder):
        self._bin = Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
        self._folder, self._s3 = folder, None
        self.database = f"postgresql://prefrl@{ADDRESSES[THERE]}/postgres"
        self.environment = os.environ | {
            "AWS_ENDPOINT_URL": f"http://{ADDRESSES[THERE]}:{_S3_PORT}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        folder.chmod(0o755)
        self._data = folder / "data"
        self._data.mkdir()
        subprocess.run(["chown", "postgres", self._data], check=True)
        initdb = ["initdb", "-D", self._data, "-U", "prefrl", "--auth=trust", "--encoding=UTF8"]
        self._as_postgres(*initdb, "--locale=C.UTF-8")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.77.0.0/24 trust\n")

    def _as_postgres(self, program, *arguments):
        command = ["runuser", "-u", "postgres", "--", self._bin / program, *arguments]
        subprocess.run(on(THERE, *command), check=True, cwd="/", stdout=subprocess.DEVNULL)

    def start(self):
        """Starts both; returns when they answer."""
        options = f"-c listen_addresses={ADDRESSES[THERE]} -c unix_socket_directories={self._data}"
        log = ("-l", self._data / "log")
        self._as_postgres("pg_ctl", "-D", self._data, *log, "-w", "-s", "start", "-o", options)
        if self._s3 is None:
            self._start_s3()

    def _start_s3(self):
        server = Path(sys.executable).with_name("moto_server")
        command = on(THERE, server, "-H", ADDRESSES[THERE], "-p", _S3_PORT)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._s3 = subprocess.Popen(command, **quiet)
        make = "import fsspec; fsspec.filesystem('s3').mkdir('labels')"
        for _ in range(60):
            time.sleep(0.5)
            made = subprocess.run(
                on(THERE, sys.executable, "-c", make), env=self.environment, capture_output=True
            )
            if made.returncode == 0:
                return
        raise RuntimeError(made.stderr.decode())

    def kill(self):
        """Kills PostgreSQL, and stops the S3 server, which has its films in memory alone."""
        self._as_postgres("pg_ctl", "-D", self._data, "-m", "immediate", "-s", "stop")
        self._s3.send_signal(signal.SIGSTOP)  # it answers nothing

    def start_again(self):
        """Starts again what ``kill`` has ended."""
        self.start()
        self._s3.send_signal(signal.SIGCONT)

    def end(self):
        """Ends both for good."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._as_postgres("pg_ctl", "-D", self._data, "-m", "immediate", "-s", "stop")
        if self._s3 is not None:
            self._s3.kill()
            self._s3.wait()


@contextlib.contextmanager
def running_servers():
    """Both servers on their host, in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        try:
            servers.start()
            yield servers
        finally:
            servers.end()
