"""A chat endpoint in a thread of the test, which does what the test says, and worse."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from repic.judges.client import Judge
from repic.judges.endpoint import Endpoint
from repic.judges.pictures import PictureEncoder
from repic.judges.prompts import Prompts


@dataclass(frozen=True)
class Act:
    """What the server does with one request: cut the connection, or answer.

    ``content`` is what the model says; ``raw`` replaces the whole body.
    """

    content: Any = "yes"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    cut: bool = False
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 2})
    finish: str = "stop"


def text_of(body: dict[str, Any]) -> str:
    """What a request asks."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


@dataclass
class Server:
    """The requests that came, in order, and how to reach it."""

    base_url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    busiest: int = 0  # the most requests that were there at a time


Play = Callable[[dict[str, Any], int], Act]  # from a request, and how many came before it


@contextmanager
def judge_server(play: Play | Sequence[Act]) -> Iterator[Server]:
    """Serve until the block ends; of a list, the last act is repeated."""
    if isinstance(play, Sequence):
        acts = list(play)
        play = lambda body, index: acts[min(index, len(acts) - 1)]  # noqa: E731
    lock, there = Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                index = len(server.bodies)
                server.bodies.append(body)
                server.headers.append({k.lower(): v for k, v in self.headers.items()})
                server.times.append(time.monotonic())
                there[0] += 1
                server.busiest = max(server.busiest, there[0])
            act = play(body, index)
            time.sleep(act.delay)
            with lock:
                there[0] -= 1
            self._answer(act)

        def _answer(self, act: Act) -> None:
            choice = {"message": {"role": "assistant", "content": act.content}}
            completion = {"choices": [{**choice, "finish_reason": act.finish}], "usage": act.usage}
            body = json.dumps(completion).encode() if act.raw is None else act.raw
            self.send_response(act.status)
            for name, value in {"Content-Length": str(len(body)), **act.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if act.cut else body)
            self.close_connection = act.cut

        def log_message(self, *arguments: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *arguments: object) -> None:
            pass  # clients that no longer wait

    http = Quiet(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}/v1")
    with served(http):
        yield server


@contextmanager
def served(http: ThreadingHTTPServer) -> Iterator[str]:
    """Answer from a thread until the block ends; the address."""
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def make_judge(
    base_url: str, cache: Path | None = None, *, first_wait: float = 0.01, **changes: Any
) -> Judge:
    """A judge that waits hundredths of seconds where a real one waits seconds."""
    from openai import _base_client

    _base_client.INITIAL_RETRY_DELAY = first_wait
    endpoint = {
        "base_url": base_url,
        "model": "judge",
        "key_variable": None,
        "request": {"temperature": 0.0, "max_tokens": 64},
        "timeout": 5.0,
        "attempts": 3,
        "schemas": True,
    }
    rest = {
        "cache": None if cache is None else str(cache),
        "concurrency": 4,
        "attempts_unparsable": 2,
        "give_up_after": 100,
        "seed": 0,
        "prices": {"prompt": 2.0, "completion": 10.0},
        "pictures": PictureEncoder(max_side=64, format="png"),
        "prompts": Prompts(**{name: f"{name}.jinja" for name in PROMPTS}),
    }
    for part in (endpoint, rest):
        part.update({name: changes.pop(name) for name in list(changes) if name in part})
    assert not changes, changes
    return Judge(endpoint=Endpoint(**endpoint), **rest)


PROMPTS = (
    *("claims", "verify", "coverage", "language", "prefer"),
    *("personal", "facts", "match", "check", "quiz"),
)
