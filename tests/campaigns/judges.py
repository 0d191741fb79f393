"""Ask judges that misbehave: no answer, in bounded time and memory, and never a traceback.

python -m tests.campaigns.judges
"""

import gzip
import itertools
import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from repic.judges.answers import parse_verdict
from repic.judges.client import Question
from tests.campaigns.harness import Tried, apart, report
from tests.judge_server import make_judge

TIMEOUT = 2.0  # seconds for a request
MOST_TIME, MOST_MEMORY = 15.0, 300 << 20  # of asking one question
MEGABYTE = 1 << 20

Parts = Iterator[bytes]


def answer(content: object, **more: object) -> bytes:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **more}).encode()


def sized(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def endless(part: bytes, head: bytes = b"", wait: float = 0.0) -> Callable[[], Parts]:
    def parts() -> Parts:
        yield head
        while True:
            yield part
            time.sleep(wait)

    return parts


def once(*parts: bytes) -> Callable[[], Parts]:
    return lambda: iter(parts)


OPEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# What it does -> the bytes that it sends; "yes" alone may be taken for an answer.
SERVERS: dict[str, Callable[[], Parts]] = {
    "says yes": once(sized(answer("yes"))),
    "200 MB of blanks": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n"],
        itertools.repeat(b" " * MEGABYTE, 200),
    ),
    "200 MB of an answer": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n", answer("yes")[:-30]],
        itertools.repeat(b"y" * MEGABYTE, 200),
    ),
    "blanks without end": endless(b" " * MEGABYTE, OPEN),
    "chunks without end": endless(b"100000\r\n" + b" " * MEGABYTE + b"\r\n", CHUNKED),
    "an error without end": endless(b"e" * MEGABYTE, OPEN.replace(b"200 OK", b"500 No")),
    "a header without end": endless(b"a" * MEGABYTE, b"HTTP/1.1 200 OK\r\nX: "),
    "headers without end": endless(b"X: y\r\n" * 10_000, b"HTTP/1.1 200 OK\r\n"),
    "early hints without end": endless(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
    "a drip of headers": endless(b"a", b"HTTP/1.1 200 OK\r\nX: ", 0.05),
    "a drip of blanks": endless(b" ", OPEN, 0.05),
    "a drip of chunks": endless(b"1\r\n \r\n", CHUNKED, 0.05),
    "nothing": endless(b"", b"", 0.1),
    "closes": once(),
    "half an answer": once(sized(answer("yes"))[:-9]),
    "compressed blanks": once(
        sized(gzip.compress(bytes(200 * MEGABYTE)), "Content-Encoding: gzip")
    ),
    "a compressed answer": once(sized(gzip.compress(answer("yes")), "Content-Encoding: gzip")),
    "an unknown encoding": once(sized(answer("yes"), "Content-Encoding: nonsense")),
    "another protocol": once(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a wrong length": once(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + answer("yes")),
    "two lengths": once(sized(answer("yes"), "Content-Length: 7")),
    "a wrong chunk": once(CHUNKED + b"ffffffffffffffff\r\nyes"),
    "a status of thousands": once(sized(answer("yes"), status="9999 Yes")),
    "sends elsewhere": once(sized(b"", "Location: http://127.0.0.1:9/", status="302 Found")),
    "wants to wait for ever": once(sized(b"", "Retry-After: 99999999", status="429 Later")),
    "waits for NaN": once(sized(b"", "Retry-After: nan", status="503 Later")),
    "deep brackets": once(sized(b"[" * MEGABYTE)),
    "deep objects": once(sized(b'{"choices":' * 100_000)),
    "a long number": once(sized(b'{"choices": ' + b"9" * MEGABYTE + b"}")),
    "a page": once(sized(b"<html>502 Bad Gateway</html>", "Content-Type: text/html")),
    "UTF-16": once(sized(answer("yes").decode().encode("utf-16"))),
    "half a pair": once(sized(answer("\ud800"))),
    "no choices": once(sized(b'{"choices": []}')),
    "choices of numbers": once(sized(b'{"choices": [1]}')),
    "a number for an answer": once(sized(answer(7))),
    "null": once(sized(answer(None))),
    "megabytes of perhaps": once(sized(answer("perhaps " * (MEGABYTE // 2)))),
    "megabytes of fences": once(sized(answer("```json\n" * (MEGABYTE // 2)))),
    "megabytes of brackets": once(sized(answer("[{" * (2 * MEGABYTE)))),
    "odd counts": once(sized(answer("yes", usage={"prompt_tokens": "x"}))),
}
MAY_BE_TAKEN = ("says yes", "odd counts", "UTF-16")  # JSON may be that


def serve(listener: socket.socket, parts: Callable[[], Parts]) -> None:
    """Send the same to everybody, until they leave."""

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            for part in parts():
                connection.sendall(part)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=talk, args=(connection,), daemon=True).start()


def ask(url: str) -> tuple[str, str]:
    """Ask one question, and say whether that was short and small."""
    judge = make_judge(url, timeout=TIMEOUT, attempts=2)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    (found,) = judge.ask_all([Question("Is it?", parse_verdict)])
    seconds = time.monotonic() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    said = f"{seconds:.1f} s, {grown >> 20} MB more; {judge.take_counts()}"
    if seconds > MOST_TIME or grown > MOST_MEMORY:
        return "traceback", said
    return ("told" if found is None else "taken"), said


def tried() -> Iterator[Tried]:
    make_judge("http://127.0.0.1:9/v1", attempts=1).ask_all([Question("?", parse_verdict)])
    for name, parts in SERVERS.items():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            # The server is a thread of the child's parent, so that its memory is not counted.
            threading.Thread(target=serve, args=(listener, parts), daemon=True).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            end, said = apart(lambda url=url: ask(url), seconds=60)
        if end == "taken" and name not in MAY_BE_TAKEN:
            end = "taken for an answer"
        yield Tried(name, end, said, may_not_pass=False)


def main() -> int:
    return report(tried())


if __name__ == "__main__":
    sys.exit(main())
