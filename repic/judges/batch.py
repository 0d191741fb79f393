"""A batch of questions, many at a time, by the ``openai`` package, which repeats requests.

Here every attempt is judged and counted, answers are read, and a dead endpoint is given up.
Imported when the first question is asked, since the package takes a second to load.
"""

import asyncio
import contextlib
import functools
import logging
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from repic.judges.answers import without_reasoning
from repic.judges.endpoint import NOT_ASKED, Endpoint, Failure, Reply, Task, read_key, read_reply
from repic.judges.tally import Tally
from repic.values import LOOPBACK

log = logging.getLogger(__name__)

# A line a request is too much for a run's log, and headers have no place in it.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

MOST_BYTES = 1 << 23  # of an answer: ten times a long one's, with all its thinking
_MOST_SHOWN = 200  # characters of a server's words in the log
# What servers answer that know no schemas: bad request, unprocessable, or they stumble over it.
_REFUSALS = ("http_400", "http_422", "http_500", "http_501")

# What became of the last attempt; every question is asked in a task of its own.
_LAST: ContextVar[Reply | Failure] = ContextVar("last", default=NOT_ASKED)


class Batch:
    """Asks the questions of one batch, in one event loop.

    Args:
        endpoint: where to ask. One that refuses schemas is asked without from then on.
        concurrency: requests at a time.
        attempts_unparsable: how often a question is asked until the answer can be read.
        give_up_after: attempts in a row without any response after which no more are made.
        keep: called with key and text of every answer that can be read, as soon as it is there.
        tally: requests and tokens are counted here as they come, also if this is interrupted.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        concurrency: int,
        attempts_unparsable: int,
        give_up_after: int,
        keep: Callable[[str, str], None],
        tally: Tally,
    ) -> None:
        self.endpoint, self.keep, self.tally = endpoint, keep, tally
        self.concurrency, self.attempts_unparsable = concurrency, attempts_unparsable
        self.give_up_after = give_up_after
        self._num_lost = 0  # attempts in a row that brought nothing back
        self._given_up = asyncio.Event()
        self._key = read_key(endpoint.key_variable) if endpoint.key_variable else ""

    async def ask(self, tasks: Sequence[Task]) -> dict[str, str | Failure]:
        """Return the answer's text, or why there is none, by key."""
        slots = asyncio.Semaphore(self.concurrency)
        async with _Client(self, self._key) as client:

            async def ask(task: Task) -> str | Failure:
                async with slots:  # held while it waits, too: who is asked to wait sends less
                    return await self._ask(client, task)

            outcomes = await asyncio.gather(*map(ask, tasks))
        return {task.key: outcome for task, outcome in zip(tasks, outcomes, strict=True)}

    async def _ask(self, client: openai.AsyncOpenAI, task: Task) -> str | Failure:
        """Ask until the answer can be read."""
        failure = NOT_ASKED
        for attempt in range(self.attempts_unparsable):
            outcome = await self._ask_once(client, task, attempt)
            if isinstance(outcome, Failure):
                return outcome
            text = without_reasoning(outcome.text)
            if task.parse(text) is not None:
                self.keep(task.key, text)
                return text
            why = "ends at the limit of tokens" if outcome.is_cut_off else "cannot be read"
            failure = Failure("unparsable", f"the answer {why}: {text[:100]!r}")
        return failure

    async def _ask_once(
        self, client: openai.AsyncOpenAI, task: Task, attempt: int
    ) -> Reply | Failure:
        """Ask with the answer's schema at first, where there is one and it is not refused."""
        if attempt > 0 or not task.has_schema or not self.endpoint.takes_schemas:
            return await self._send(client, task.body(attempt, False))
        outcome = await self._send(client, task.body(attempt, True))
        if isinstance(outcome, Reply) or outcome.kind not in _REFUSALS:
            return outcome
        plain = await self._send(client, task.body(attempt, False))
        if isinstance(plain, Reply) and self.endpoint.takes_schemas:
            self.endpoint.takes_schemas = False
            log.warning(
                "judge %s refuses JSON schemas (%s); it is asked without them from now on",
                self.endpoint.base_url,
                outcome.detail,
            )
        return plain

    async def _send(self, client: openai.AsyncOpenAI, body: bytes) -> Reply | Failure:
        """Send a request until there is a reply, or no hope of one. Never raises for either."""
        _LAST.set(NOT_ASKED)
        # The package would tell any server whose account the environment names.
        unsent = ["OpenAI-Organization", "OpenAI-Project"]
        unsent += [] if self._key else ["Authorization"]
        headers = {"Content-Type": "application/json", **dict.fromkeys(unsent, openai.Omit())}
        with contextlib.suppress(openai.OpenAIError):
            await client.post(
                "/chat/completions",
                content=body,
                cast_to=httpx2.Response,
                options={"headers": headers},
            )
        return _LAST.get()

    async def attempt(self, sending: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
        """Send a request once, in time, and note what becomes of it.

        Raises:
            openai.OpenAIError: the endpoint has been given up, so that there is no other attempt.
            httpx2.RequestError: nothing came back, or no chat completion; there may be another.
        """
        if self._given_up.is_set():
            sending.close()
            raise openai.OpenAIError(NOT_ASKED.detail)
        response = None
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                response = await sending
            outcome = self._read(response)
        except _NoAnswerError as error:
            outcome = Failure("malformed", self._shown(str(error)))
        except TimeoutError:
            outcome = Failure("timeout", f"no answer within {self.endpoint.timeout:g} s")
        except (httpx2.HTTPError, OSError) as error:
            outcome = Failure("unreachable", self._shown(f"{type(error).__name__}: {error}"))
        self._note(outcome)
        if response is None or (isinstance(outcome, Failure) and outcome.kind == "malformed"):
            raise httpx2.RequestError("see the outcome")
        return response

    def _read(self, response: httpx2.Response) -> Reply | Failure:
        if not response.is_success:
            words = self._shown(f"HTTP {response.status_code}: {response.text}")
            return Failure(f"http_{response.status_code}", words)
        reply = read_reply(response.content)
        return reply or Failure("malformed", self._shown(f"no completion: {response.text}"))

    def _note(self, outcome: Reply | Failure) -> None:
        _LAST.set(outcome)
        self.tally["requests"] += 1
        is_lost = isinstance(outcome, Failure) and outcome.kind in ("unreachable", "timeout")
        self._num_lost = self._num_lost + 1 if is_lost else 0
        if self._num_lost >= self.give_up_after:
            self._given_up.set()
        if isinstance(outcome, Reply):
            prompt, completion = outcome.prompt_tokens, outcome.completion_tokens
            self.tally["unmetered"] += prompt is None or completion is None
            self.tally["prompt_tokens"] += prompt or 0
            self.tally["completion_tokens"] += completion or 0

    def _shown(self, words: str) -> str:
        """Shorten what goes to the log, and take out the key, which some servers repeat."""
        words = words.replace(self._key, "***") if self._key else words
        return " ".join(words.split())[:_MOST_SHOWN]

    async def wait(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait for another attempt, but no longer than until the endpoint is given up."""
        waits = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._given_up.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


class _Client(openai.AsyncOpenAI):
    """Sends and waits as the batch says."""

    def __init__(self, batch: Batch, key: str) -> None:
        url = batch.endpoint.base_url
        super().__init__(
            base_url=url,
            api_key=key or "none",
            max_retries=batch.endpoint.attempts - 1,
            timeout=None,  # the batch counts it, from the first byte to the last
            http_client=_Attempts(
                batch,
                verify=_tls_context(),
                follow_redirects=False,  # the key is for this address alone
                # A proxy of the environment does not reach this machine's own ports.
                trust_env=urlsplit(url).hostname not in LOOPBACK,
            ),
        )
        self._batch = batch

    async def _sleep_for_retry(self, **options: Any) -> None:
        await self._batch.wait(super()._sleep_for_retry(**options))


class _NoAnswerError(Exception):
    """What comes back is not worth reading to its end."""


class _Attempts(openai.DefaultAsyncHttpxClient):
    def __init__(self, batch: Batch, **settings: Any) -> None:
        super().__init__(**settings)
        # A few compressed bytes may stand for gigabytes.
        self.headers["Accept-Encoding"] = "identity"
        self._batch = batch

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        return await self._batch.attempt(self._send(request, **options))

    async def _send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Read an answer part by part, and no more of it than an answer may have."""
        coming = await super().send(request, **{**options, "stream": True})
        async with contextlib.aclosing(coming):
            if coming.headers.get("Content-Encoding", "identity") != "identity":
                raise _NoAnswerError("the answer is compressed, though that was not asked for")
            content = bytearray()
            async for part in coming.aiter_raw():
                content += part
                if len(content) > MOST_BYTES:
                    raise _NoAnswerError(f"the answer has more than {MOST_BYTES} bytes")
        return httpx2.Response(
            coming.status_code, headers=coming.headers, content=bytes(content), request=request
        )


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes longer than many a request."""
    return httpx2.create_ssl_context()
