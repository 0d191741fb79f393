"""A batch of requests, many at a time: repeated, counted, and given up where it is hopeless."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from repic.judges.answers import without_reasoning
from repic.judges.endpoint import Endpoint, Failure, Reply
from repic.judges.retries import Retries
from repic.judges.tally import Tally

NOT_ASKED = Failure("not_asked", "the endpoint had been given up for this batch")


@dataclass(frozen=True)
class Task:
    """A question as a request.

    Attributes:
        key: what the question is known by.
        parse: gives None for an answer that cannot be read.
        body: the request, by how often nonsense has come back, from 0.
    """

    key: str
    parse: Callable[[str], object]
    body: Callable[[int], bytes]


class Batch:
    """The state of one batch, for one event loop.

    Args:
        endpoint: where to ask.
        retries: of requests that failed for a reason that may pass.
        concurrency: requests at a time.
        attempts_unparsable: how often a question is asked until the answer can be read.
        give_up_after: attempts in a row without any response after which no more are made.
        keep: called with key and text of every answer that can be read, as soon as it is there.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        retries: Retries,
        concurrency: int,
        attempts_unparsable: int,
        give_up_after: int,
        keep: Callable[[str, str], None],
    ) -> None:
        self.endpoint, self.retries, self.keep = endpoint, retries, keep
        self.concurrency, self.attempts_unparsable = concurrency, attempts_unparsable
        self.give_up_after = give_up_after
        self.tally = Tally()
        self._silences = 0  # attempts in a row that brought nothing back
        self._given_up = asyncio.Event()

    async def ask(self, tasks: Sequence[Task]) -> dict[str, str | Failure]:
        """Return the answer's text, or why there is none, by key."""
        slots = asyncio.Semaphore(self.concurrency)
        async with self.endpoint.connect(self.concurrency) as client:

            async def ask(task: Task) -> str | Failure:
                async with slots:  # held while it waits, too: who is asked to wait sends less
                    return await self._ask(client, task)

            outcomes = await asyncio.gather(*map(ask, tasks))
        return {task.key: outcome for task, outcome in zip(tasks, outcomes, strict=True)}

    async def _ask(self, client: httpx.AsyncClient, task: Task) -> str | Failure:
        """Ask until the answer can be read."""
        failure = NOT_ASKED
        for attempt in range(self.attempts_unparsable):
            outcome = await self._send(client, task.body(attempt))
            if isinstance(outcome, Failure):
                return outcome
            text = without_reasoning(outcome.text)
            if task.parse(text) is not None:
                self.keep(task.key, text)
                return text
            why = "ends at the limit of tokens" if outcome.is_cut_off else "cannot be read"
            failure = Failure("unparsable", f"the answer {why}: {text[:100]!r}")
        return failure

    async def _send(self, client: httpx.AsyncClient, body: bytes) -> Reply | Failure:
        """Send a request until there is a reply, or no hope of one."""
        sent, outcome = 0, NOT_ASKED
        while not self._given_up.is_set():
            outcome = await self.endpoint.post(client, body)
            sent += 1
            self._note(outcome)
            if isinstance(outcome, Reply):
                return outcome
            delay = self.retries.delay(sent, outcome.asked_delay)
            if outcome.is_final or delay is None:
                return outcome
            await self._wait(delay)
        return outcome

    def _note(self, outcome: Reply | Failure) -> None:
        self.tally["requests"] += 1
        is_silence = isinstance(outcome, Failure) and outcome.is_silence
        self._silences = self._silences + 1 if is_silence else 0
        if self._silences >= self.give_up_after:
            self._given_up.set()
        if isinstance(outcome, Reply):
            prompt, completion = outcome.prompt_tokens, outcome.completion_tokens
            self.tally["unmetered"] += prompt is None or completion is None
            self.tally["prompt_tokens"] += prompt or 0
            self.tally["completion_tokens"] += completion or 0

    async def _wait(self, seconds: float) -> None:
        """Wait, but no longer than until the endpoint is given up."""
        try:
            async with asyncio.timeout(seconds):
                await self._given_up.wait()
        except TimeoutError:
            pass
