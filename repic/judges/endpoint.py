"""A model behind a chat endpoint: its address, its key, and what a request and a reply hold.

The requests are sent by ``batch``.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le, Predicate

from repic.values import Seconds, Text, address, is_json

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_RESERVED = {"model", "messages", "response_format", "seed", "n", "stream"}


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
        kind: "unreachable", "timeout", "http_<status>", "malformed" (no chat completion),
            "unparsable" (nonsense) or "not_asked".
        detail: for people; holds no key.
    """

    kind: str
    detail: str


@dataclass(frozen=True)
class Task:
    """A question as a request.

    Attributes:
        key: what the question is known by.
        parse: gives None for an answer that cannot be read.
        body: the request, by how often nonsense has come back, from 0, and with the answer's
            schema or without.
        has_schema: whether there is one.
    """

    key: str
    parse: Callable[[str], object]
    body: Callable[[int, bool], bytes]
    has_schema: bool


NOT_ASKED = Failure("not_asked", "the endpoint had been given up for this batch")


class Endpoint:
    """A model behind ``POST <base_url>/chat/completions``.

    Args:
        base_url: up to and including ``/v1``.
        model: the name under which the endpoint offers the model; None is refused.
        key_variable: name of the environment variable that holds the key; None where no key is
            asked for. The key itself is read when it is sent, and kept nowhere.
        request: fields of every request, such as ``temperature``; None leaves a field out.
        timeout: seconds for a whole request.
        attempts: how often a request is sent, at most, that fails for a reason that may pass.
        schemas: whether a question whose answer is JSON goes with a JSON schema.

    Attributes:
        takes_schemas: false from when the endpoint has refused one.
    """

    def __init__(
        self,
        *,
        base_url: Text,
        model: Text | None,
        key_variable: Text | None,
        request: Annotated[Mapping[str, Any], Predicate(is_json)],
        timeout: Seconds,
        attempts: Annotated[int, Ge(1), Le(100)],
        schemas: bool,
    ) -> None:
        _check_url(base_url)
        if not model:
            raise ValueError(
                "judge.endpoint.model: need the name under which the endpoint offers the model"
            )
        if reserved := sorted(_RESERVED & set(request)):
            raise ValueError(f"judge.endpoint.request.{reserved[0]}: is not for you to set here")
        if key_variable is not None:
            read_key(key_variable)
        self.base_url = base_url.rstrip("/")
        self.model, self.key_variable = model, key_variable
        self.timeout, self.attempts, self.takes_schemas = timeout, attempts, schemas
        self.request = {name: value for name, value in request.items() if value is not None}

    def body(
        self,
        text: str,
        pictures: Sequence[str],
        seed: int | None,
        schema: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return a request as JSON: pictures (data URLs) first, then the text.

        The same question gives the same bytes. A ``schema`` is that of the answer.
        """
        shown = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        # Endpoints of text models know no parts.
        content = [*shown, {"type": "text", "text": text}] if shown else text
        request = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        request |= self.request | ({} if seed is None else {"seed": seed})
        if schema is not None:
            named = {"name": "answer", "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        # Escaped to ASCII: half a surrogate pair, which a sampled caption may hold, has no UTF-8.
        return json.dumps(request, sort_keys=True).encode("ascii")


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


def _check_url(base_url: str) -> None:
    url = address(base_url)
    if url is None:
        raise ValueError(
            "judge.endpoint.base_url: need an address like http://127.0.0.1:8000/v1"
            + ("" if "@" in base_url else f", not {base_url!r}")  # it may hold a password
        )
    if url.username or url.password or url.query:
        raise ValueError(
            "judge.endpoint.base_url: holds a user, password or query; secrets belong into the"
            " environment variable that judge.endpoint.key_variable names"
        )


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
