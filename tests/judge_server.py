"""A server that speaks OpenAI's protocol over a real socket, and says what a test wants it to."""

import base64
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


class JudgeServer:
    """Answers chat completions.

    Args:
        say: From the request's body to what the model says; or to (status, headers, body) instead
            of that; or a number of seconds to wait is ``slow``.
    """

    def __init__(self, say):
        self.say, self.bodies, self.headers, self.paths = say, [], [], []
        self.slow, self.n_at_once, self.most_at_once = 0.0, 0, 0
        self._lock = threading.Lock()

    def __enter__(self):
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                judge.answer(self)

            def log_message(self, *about):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.bodies.append(body)
            self.headers.append({name.lower(): v for name, v in handler.headers.items()})
            self.paths.append(handler.path)
            self.n_at_once += 1
            self.most_at_once = max(self.most_at_once, self.n_at_once)
        time.sleep(self.slow)
        said = self.say(body)
        with self._lock:
            self.n_at_once -= 1
        status, headers, content = said if isinstance(said, tuple) else (200, {}, completion(said))
        content = content.encode()
        try:
            handler.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:  # who asked has given up
            handler.close_connection = True


def completion(said, tokens=100):
    """What a server sends when its model says something."""
    message = {"role": "assistant", "content": said}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": tokens - 10, "completion_tokens": 10, "total_tokens": tokens}
    about = {"id": "1", "object": "chat.completion", "created": 1, "model": "stub"}
    return json.dumps(about | {"choices": [choice], "usage": usage})


def says(answer, reason="it is so"):
    return json.dumps({"reason": reason, "answer": answer})


def texts_of(body):
    """The prompt and both responses of a question."""
    asked = body["messages"][1]["content"]
    names = ("Prompt", "Response A", "Response B")
    return tuple(
        re.search(rf"\[{name}\]\n(.*?)\n\[End of {name}\]", asked, re.DOTALL)[1] for name in names
    )


def by(score):
    """A judge that goes by a number for each response, and always says the same of a pair."""

    def say(body):
        _, a, b = texts_of(body)
        return says("tie" if score(a) == score(b) else "A" if score(a) > score(b) else "B")

    return say


def picture_of(body):
    """The picture of a question, shape (H, W, 3), RGB."""
    (part,) = [p for p in body["messages"][1]["content"] if p["type"] == "image_url"]
    kind, _, content = part["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    read = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
