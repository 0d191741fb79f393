"""A judge: questions in, answers out, whatever the endpoint does.

A batch of questions runs in an event loop of its own. A question whose judge is down, slow or
talks nonsense has None for an answer, counted by the kind of failure; nothing is raised for it.
"""

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from annotated_types import Ge, Le, Lt
from PIL import Image

from repic.judges.answers import JsonForm
from repic.judges.cache import AnswerCache, OpenCache
from repic.judges.endpoint import NOT_ASKED, Endpoint, Failure, Task
from repic.judges.pictures import PictureEncoder
from repic.judges.prompts import Prompts
from repic.judges.tally import Prices, Tally
from repic.types import ImageSource
from repic.values import Count, NonNegative, Seed, Text

log = logging.getLogger(__name__)

T = TypeVar("T")
Picture = Image.Image | ImageSource

_SEEDS_OF_A_TRIAL = 1000  # more than any attempts_unparsable


@dataclass(frozen=True)
class Question(Generic[T]):
    """What to ask, and how to read the answer.

    Attributes:
        text: the whole prompt.
        parse: from the answer's text to its value, None if it has none; must not raise. The
            schema of a ``JsonForm`` goes along with the question.
        pictures: shown before the text.
        trial: 0, 1, ... for the same question asked several times, each with seeds of its own.
    """

    text: str
    parse: Callable[[str], T | None]
    pictures: tuple[Picture, ...] = ()
    trial: int = 0


class Judge:
    """A language model that answers questions about captions.

    Args:
        endpoint: where it is.
        pictures: how they are encoded.
        prompts: the words of the questions in ``questions``.
        cache: file of answers, see ``AnswerCache``; None keeps none. An answer is found again by
            the content of its request: model, words, pictures, seed and every field; not by the
            endpoint's address, nor by whether a schema went along. Nonsense is not kept, and so
            asked anew by a later batch.
        concurrency: requests at a time.
        attempts_unparsable: how often a question is asked until the answer can be read; the seed
            grows by one each time.
        give_up_after: attempts in a row without any response after which the rest of a batch is
            not asked. The next batch tries again.
        seed: of the model's sampling; None sends none (some endpoints refuse it).
        prices: ``prompt`` and ``completion``, see ``Prices``.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        pictures: PictureEncoder,
        prompts: Prompts,
        cache: Text | None,
        concurrency: Annotated[int, Ge(1), Le(1024)],
        attempts_unparsable: Annotated[int, Ge(1), Lt(_SEEDS_OF_A_TRIAL)],
        give_up_after: Count,
        seed: Seed | None,
        prices: Mapping[Literal["prompt", "completion"], NonNegative],
    ) -> None:
        self._limits = {
            "concurrency": concurrency,
            "attempts_unparsable": attempts_unparsable,
            "give_up_after": give_up_after,
        }
        self.endpoint, self.pictures, self.prompts = endpoint, pictures, prompts
        self.cache = None if cache is None else AnswerCache(cache)
        self.seed, self.prices = seed, Prices(**prices)
        self._tally = Tally()
        self._lock = threading.Lock()  # of the tally, for rewards that ask from threads

    def question(
        self,
        prompt: str,
        parse: Callable[[str], T | None],
        *pictures: Picture,
        trial: int = 0,
        **values: object,
    ) -> Question[T]:
        """Put a question in the words of a prompt, about these values and pictures."""
        return Question(self.prompts.render(prompt, **values), parse, pictures, trial)

    def ask_all(self, questions: Sequence[Question[T]]) -> list[T | None]:
        """Ask, and return what is read from each answer; None where there is none.

        May be called anywhere, also where an event loop is running (a notebook). The same
        question twice is asked once. A picture that cannot be loaded is a ``ValueError``.
        """
        urls: dict[int, str] = {}
        tasks = [self._task(question, urls) for question in questions]
        with contextlib.nullcontext() if self.cache is None else self.cache.open() as cache:
            known = _cached(tasks, cache)
            todo = {task.key: task for task in tasks if task.key not in known}
            asked = self._ask(list(todo.values()), cache) if todo else {}
        values, tally = [], Tally(questions=len(questions))
        for question, task in zip(questions, tasks, strict=True):
            is_known = task.key in known
            outcome = known[task.key] if is_known else asked[task.key]
            value = None if isinstance(outcome, Failure) else question.parse(outcome)
            values.append(value)
            if isinstance(outcome, Failure):
                tally[f"failed_{outcome.kind}"] += 1
            elif value is None:
                tally["failed_unparsable"] += 1
            else:
                tally["cached" if is_known else "answered"] += 1
                known[task.key] = outcome
        self._add(tally)
        self._tell(tally, [o for o in asked.values() if isinstance(o, Failure)])
        return values

    def count(self, name: str, number: int) -> None:
        """Add to a count of the caller's, to be logged with the others."""
        self._add(Tally({name: number}))

    def take_counts(self) -> dict[str, float]:
        """Return what was counted since the last call; see ``Tally``."""
        with self._lock:
            taken, self._tally = self._tally, Tally()
        return taken.report(self.prices)

    def _add(self, tally: Tally) -> None:
        with self._lock:
            self._tally.update(tally)

    def _task(self, question: Question[Any], urls: dict[int, str]) -> Task:
        """Prepare a question; ``urls`` are the batch's pictures, each encoded once."""
        for picture in question.pictures:
            if id(picture) not in urls:  # the questions keep them alive, so ids stay theirs
                urls[id(picture)] = self.pictures.data_url(picture)
        shown = [urls[id(picture)] for picture in question.pictures]
        schema = question.parse.schema if isinstance(question.parse, JsonForm) else None

        def body(attempt: int, with_schema: bool) -> bytes:
            first = question.trial * _SEEDS_OF_A_TRIAL
            seed = None if self.seed is None else self.seed + first + attempt
            return self.endpoint.body(question.text, shown, seed, schema if with_schema else None)

        # Without a seed the trials' requests are the same, and still are different questions.
        trial = f"/{question.trial}".encode() if question.trial else b""
        key = hashlib.sha256(body(0, False) + trial).hexdigest()
        return Task(key, question.parse, body, has_schema=schema is not None)

    def _ask(self, tasks: Sequence[Task], cache: OpenCache | None) -> dict[str, str | Failure]:
        """Ask what the cache does not know; its cost is counted even if it is interrupted."""
        from repic.judges.batch import Batch

        tally = Tally()

        def keep(key: str, text: str) -> None:
            if cache is not None:
                cache.put(key, self.endpoint.model, text)

        async def ask() -> dict[str, str | Failure]:
            batch = Batch(endpoint=self.endpoint, keep=keep, tally=tally, **self._limits)
            return await batch.ask(tasks)

        try:
            return _run(ask())
        finally:
            self._add(tally)

    def _tell(self, tally: Tally, failures: Sequence[Failure]) -> None:
        """Say once a batch how many questions have no answer, and why."""
        failed = {name: n for name, n in tally.items() if name.startswith("failed_")}
        if not failed or not failures:
            return
        # What keeps the endpoint from answering says more than that the rest was not asked.
        example = min(failures, key=lambda failure: failure is NOT_ASKED)
        log.warning(
            "judge %s: %d of %d questions have no answer (%s); for example: %s",
            self.endpoint.base_url,
            sum(failed.values()),
            tally["questions"],
            ", ".join(f"{n} {name.removeprefix('failed_')}" for name, n in failed.items()),
            example.detail,
        )


def _cached(tasks: Sequence[Task], cache: OpenCache | None) -> dict[str, str]:
    """The texts on disk that can be read (a parser may have become stricter)."""
    found = {} if cache is None else cache.get(list({task.key for task in tasks}))
    return {
        task.key: found[task.key]
        for task in tasks
        if task.key in found and task.parse(found[task.key]) is not None
    }


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, beside the thread's own event loop if it has one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()
