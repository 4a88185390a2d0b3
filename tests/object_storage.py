"""An S3 server for tests: moto's, at a port of its own, with a bucket."""

import contextlib
import logging
import os
import uuid

import fsspec
from labelling import free_port
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request


class Storage:
    """A server that can be stopped and started again; what it holds stays."""

    def __init__(self):
        self.port = free_port()
        self.bucket = f"labels-{uuid.uuid4().hex[:12]}"  # moto is one for all servers of a process
        self.url = f"s3://{self.bucket}/runs"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._server = None

    def start(self):
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def stop(self):
        if self._server is not None:
            self._server.stop()
        self._server = None

    def names(self):
        """The files in the bucket."""
        found = fsspec.filesystem("s3", skip_instance_cache=True).find(self.bucket)
        return sorted(name.removeprefix(f"{self.bucket}/") for name in found)


@contextlib.contextmanager
def running_storage():
    """A server with an empty bucket; the environment leads there meanwhile."""
    storage = Storage()
    before = {name: os.environ.get(name) for name in storage.environment}
    os.environ |= storage.environment
    storage.start()
    try:
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(storage.bucket)
        yield storage
    finally:
        storage.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        fsspec.config.conf.clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
