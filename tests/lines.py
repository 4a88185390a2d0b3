"""A line to the PostgreSQL server of the tests that can be cut, and mended again."""

import contextlib
import socket
import threading

import sqlalchemy as sa
from labelling import free_port
from store_places import SERVER


class Line:
    """Forwards a TCP port of this machine to the server's socket."""

    def __init__(self):
        url = sa.make_url(SERVER)
        self._folder = url.query["host"]
        self.port = free_port()
        self._listening = None
        self._ends = []

    def url(self, place=SERVER):
        """The same store or database, over this line."""
        url = sa.make_url(place).difference_update_query(["host"])
        return url.set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)

    def mend(self):
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def cut(self):
        """Ends all connections, and takes no more."""
        with contextlib.suppress(OSError):  # it is cut already
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends = []

    def _serve(self, listening):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(f"{self._folder}/.s.PGSQL.5432")
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def _carry(source, target):
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running_line():
    line = Line()
    line.mend()
    try:
        yield line
    finally:
        line.cut()
