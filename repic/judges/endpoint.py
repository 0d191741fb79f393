"""One request to a chat endpoint, and what can become of it.

By httpx and not by the ``openai`` package, since a single POST needs none of it, and retries and
failures are to be counted here anyway.
"""

import asyncio
import functools
import json
import logging
import math
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from repic.judges.retries import parse_retry_after

# A line a request is too much for a run's log, and headers have no place in it.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Worth another attempt: request timeout, conflict, too early, too many; and the server's errors.
_PASSING = (408, 409, 425, 429)
_MOST_SHOWN = 200  # characters of a server's words in the log


@dataclass(frozen=True)
class Reply:
    """What a judge said.

    Attributes:
        text: of the message; empty where there is none (a refusal, say).
        prompt_tokens: as the endpoint counts them; None where it does not say.
        completion_tokens: likewise.
        is_cut_off: it ended at the limit of tokens.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    is_cut_off: bool


@dataclass(frozen=True)
class Failure:
    """Why there is no reply.

    Attributes:
        kind: "unreachable", "timeout", "http_<status>" or "malformed" (no chat completion).
        detail: for people; holds no key.
        is_final: another attempt would end the same.
        asked_delay: seconds after which the server wants to be asked again, if it says so.
    """

    kind: str
    detail: str
    is_final: bool = False
    asked_delay: float | None = None

    @property
    def is_silence(self) -> bool:
        """Whether nothing came back at all."""
        return self.kind in ("unreachable", "timeout")


class Endpoint:
    """A model behind ``POST <base_url>/chat/completions``.

    Args:
        base_url: up to and including ``/v1``.
        model: the name under which the endpoint offers the model; None is refused.
        key_variable: name of the environment variable that holds the key; None where no key is
            asked for. The key itself is read when it is sent, and kept nowhere.
        request: fields of every request, such as ``temperature``; None leaves a field out.
        timeout: seconds for a whole request.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str | None,
        key_variable: str | None,
        request: Mapping[str, Any],
        timeout: float,
    ) -> None:
        _check_url(base_url)
        if not model:
            raise ValueError(
                "judge.endpoint.model: need the name under which the endpoint offers the model"
            )
        if not 0 < timeout < math.inf:
            raise ValueError(f"judge.endpoint.timeout: {timeout} is not a number of seconds")
        if reserved := sorted({"model", "messages", "seed", "n", "stream"} & set(request)):
            raise ValueError(f"judge.endpoint.request.{reserved[0]}: is not for you to set here")
        if key_variable is not None:
            read_key(key_variable)
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.model, self.timeout, self.key_variable = model, timeout, key_variable
        self.request = {name: value for name, value in request.items() if value is not None}

    def body(self, text: str, pictures: Sequence[str], seed: int | None) -> bytes:
        """Return a request as JSON: pictures (data URLs) first, then the text.

        The same question gives the same bytes.
        """
        shown = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        # Endpoints of text models know no parts.
        content = [*shown, {"type": "text", "text": text}] if shown else text
        request = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        request |= self.request | ({} if seed is None else {"seed": seed})
        # Escaped to ASCII: half a surrogate pair, which a sampled caption may hold, has no UTF-8.
        return json.dumps(request, sort_keys=True).encode("ascii")

    def connect(self, num_connections: int) -> httpx.AsyncClient:
        """Return a client for one event loop."""
        headers = {"Content-Type": "application/json"}
        if self.key_variable is not None:
            headers["Authorization"] = f"Bearer {read_key(self.key_variable)}"
        return httpx.AsyncClient(
            headers=headers,
            verify=_tls_context(),
            timeout=None,  # httpx counts from byte to byte; `post` counts all of it
            limits=httpx.Limits(max_connections=num_connections),
            # A proxy of the environment does not reach this machine's own ports.
            trust_env=httpx.URL(self.url).host not in _LOOPBACK,
        )

    async def post(self, client: httpx.AsyncClient, body: bytes) -> Reply | Failure:
        """Send a request once. Never raises for what the network or the server does."""
        try:
            async with asyncio.timeout(self.timeout):
                response = await client.post(self.url, content=body)
        except TimeoutError:
            return Failure("timeout", f"no answer within {self.timeout:g} s")
        except (httpx.HTTPError, OSError) as error:
            return Failure("unreachable", _shown(f"{type(error).__name__}: {error}", client))
        status = response.status_code
        if not response.is_success:
            return Failure(
                f"http_{status}",
                _shown(f"HTTP {status}: {response.text}", client),
                is_final=status < 500 and status not in _PASSING,
                asked_delay=parse_retry_after(response.headers.get("Retry-After")),
            )
        reply = read_reply(response.content)
        return reply or Failure("malformed", _shown(f"no completion: {response.text}", client))


def read_reply(content: bytes) -> Reply | None:
    """Read a chat completion; None if it is none."""
    try:
        completion = json.loads(content)
        choice = completion["choices"][0]
        text = choice["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if text is not None and not isinstance(text, str):
        return None
    usage = completion.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        # A model may write half a surrogate pair, which no file takes.
        (text or "").encode("utf-8", "replace").decode("utf-8"),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        choice.get("finish_reason") == "length",
    )


def read_key(variable: str) -> str:
    """Return the key that an environment variable holds; no message ever shows it."""
    if not _VARIABLE.fullmatch(variable):
        # It may be the key itself, put into the wrong place: do not repeat it.
        raise ValueError(
            "judge.endpoint.key_variable: need the NAME of an environment variable, in capitals"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(
            f"judge.endpoint.key_variable: the environment variable {variable} is not set; export"
            " it, or say null where the endpoint asks for no key"
        )
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"judge.endpoint.key_variable: {variable} holds no printable ASCII")
    return key


def _shown(words: str, client: httpx.AsyncClient) -> str:
    """Shorten what goes to the log, and take out the key, which some servers repeat."""
    key = client.headers.get("Authorization", "").removeprefix("Bearer ")
    words = words.replace(key, "***") if key else words
    return " ".join(words.split())[:_MOST_SHOWN]


def _check_url(base_url: str) -> None:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(
            "judge.endpoint.base_url: need an address like http://127.0.0.1:8000/v1"
            + ("" if "@" in base_url else f", not {base_url!r}")  # it may hold a password
        )
    if url.userinfo or url.query:
        raise ValueError(
            "judge.endpoint.base_url: holds a user, password or query; secrets belong into the"
            " environment variable that judge.endpoint.key_variable names"
        )


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes longer than many a request."""
    return httpx.create_ssl_context()


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
