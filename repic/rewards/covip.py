"""Is of each friend told what is true, and nothing of who is not there? CoViP's reward.

CoViP, https://arxiv.org/abs/2602.03454 (github.com/oyt9306/CoViP, ``vlm_modules/qwen_module.py``):
somebody who knows the caption alone is asked three questions about each friend of the prompt, and
may say "cannot tell".

    covip = -1                                   if the caption is too long, or repeats itself
    covip = right / 3  -  told / questions about absent friends                       otherwise

with the right answers to questions about friends in the picture (so up to 1 for each of them),
and the answers to questions about absent friends that are not "cannot tell". A caption repeats
itself if of four sentences or more 30 % have been said before, or 30 % of its runs of five words,
or 20 % of its pieces of 10, 20 or 30 words. Deviations: all values of a slot are options, and not
three of them, so that whatever is said of somebody absent is one of them; words are ours, and
toybox's grammar may answer in a model's place.

How it may be stuffed: naming alone answers nothing, and telling of everybody costs what it says of
the absent. But it asks what is said of friends and nothing else: the rest of the picture, remarks
and style are free, up to the longest length.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from repic.judges.client import Judge
from repic.judges.questions import choose_options
from repic.parsing import tokenize_caption
from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout, Scene
from repic.values import Count, Tasks, Text

NAN = float("nan")
CANNOT = "Cannot tell"
SENTENCES, RUN, PIECES = 4, 5, (10, 20, 30)
MOST_SENTENCES = MOST_RUNS = (
    0.3  # shares that have been said before; from here on it repeats itself
)
MOST_PIECES = 0.2
_END = re.compile(r"[.!?]+(?:\s|$)|\n")


@dataclass(frozen=True)
class FriendQuestion:
    """A question about a friend; ``right`` is None for an absent one: nothing can be told."""

    name: str
    slot: str
    options: tuple[str, ...]
    right: str | None

    @property
    def words(self) -> str:
        return f"What is the {self.slot.replace('_', ' ')} of {self.name}?"


@runtime_checkable
class Listener(Protocol):
    """Somebody who answers questions by a caption alone."""

    def answers(self, asked: Sequence[tuple[str, FriendQuestion]]) -> Sequence[str | None]:
        """Choose an option, or ``CANNOT``, for each caption and question; None: no answer."""
        ...

    def take_counts(self) -> Mapping[str, float]:
        """What that has taken since the last call."""
        ...


class CovipReward:
    """Component ``covip``, from -1 to the number of friends in the picture.

    NaN for other tasks, and where the scene is not described or the prompt introduces nobody.

    Args:
        values: of every slot, for the options.
        each: questions a friend.
        most_tokens: a caption that has more is too long.
        source: which of the listeners.
        sources: listeners by name.
        tasks: the tasks whose answers are captions; elsewhere the component is NaN.
    """

    components = ("covip",)

    def __init__(
        self,
        *,
        values: Mapping[str, Sequence[str]],
        each: Count,
        most_tokens: Count,
        source: Text,
        sources: Mapping[str, Listener],
        tasks: Tasks,
    ) -> None:
        if source not in sources:
            raise ValueError(
                f"reward.rubric.rewards.covip.source: {source!r} is not one of {', '.join(sources)}"
            )
        self.source, self.values, self.each = sources[source], values, each
        self.most_tokens, self.tasks = most_tokens, frozenset(tasks)

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        values = torch.full((len(rollouts), 1), NAN)
        failed = torch.zeros(len(rollouts), 1, dtype=torch.bool)
        groups: dict[int, list[FriendQuestion]] = {}
        for i, rollout in enumerate(rollouts):
            if rollout.example.task not in self.tasks:
                continue
            if questions := friend_questions(rollout.example, self.values, self.each):
                groups[i], values[i] = questions, -1.0
        asked = [
            (i, question)
            for i, questions in groups.items()
            if not self.is_bad(rollouts[i])
            for question in questions
        ]
        answers: dict[int, list[tuple[FriendQuestion, str | None]]] = {}
        said = self.source.answers([(rollouts[i].text, question) for i, question in asked])
        for (i, question), answer in zip(asked, said, strict=True):
            answers.setdefault(i, []).append((question, answer))
        for i, found in answers.items():
            value = worth(found, self.each)
            values[i], failed[i] = (NAN, True) if value is None else (value, False)
        return RewardBatch(self.components, values, failed)

    def is_bad(self, rollout: Rollout) -> bool:
        """Whether a caption is too long, or repeats itself."""
        return len(rollout.completion_ids) > self.most_tokens or repeats_itself(rollout.text)

    def take_counts(self) -> Mapping[str, float]:
        return self.source.take_counts()


def worth(answers: Sequence[tuple[FriendQuestion, str | None]], each: int) -> float | None:
    """What answers are worth by the module's formula; None where one is missing."""
    if any(answer is None for _, answer in answers):
        return None
    right = sum(answer == q.right for q, answer in answers if q.right is not None)
    told = [answer != CANNOT for q, answer in answers if q.right is None]
    return right / each - (sum(told) / len(told) if told else 0.0)


def friend_questions(
    example: Example, values: Mapping[str, Sequence[str]], each: int
) -> list[FriendQuestion]:
    """At most so many questions a friend, the same ones for all captions of an example."""
    scene = example.scene
    if scene is None or not scene.is_described:
        return []
    named = {mention.name: mention.attributes for mention in scene.mentions if mention.name}
    every = sorted({slot for m in scene.mentions for slot in m.attributes} & {*values})
    found = []
    for name in dict.fromkeys([*example.present, *example.pool]):
        rng = random.Random(f"{example.id}/{name}")
        known = named.get(name)
        slots = [slot for slot in every if known is None or slot in known]
        for slot in rng.sample(slots, min(each, len(slots))):
            right = None if known is None else known[slot]
            found.append(FriendQuestion(name, slot, tuple(values[slot]), right))
    return found


def repeats_itself(text: str) -> bool:
    """Whether too much of a caption has been said before in it; see the module's docstring."""
    sentences = [tuple(tokenize_caption(part)) for part in _END.split(text)]
    sentences = [sentence for sentence in sentences if sentence]
    if len(sentences) >= SENTENCES and _share_again(sentences) >= MOST_SENTENCES:
        return True
    words = tokenize_caption(text)
    if _share_again(zip(*(words[i:] for i in range(RUN)), strict=False)) >= MOST_RUNS:
        return True
    return any(_share_again(_pieces(words, size)) >= MOST_PIECES for size in PIECES)


def _pieces(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    """Whole pieces of so many words, one after another."""
    return (tuple(words[i : i + size]) for i in range(0, len(words) - size + 1, size))


def _share_again(parts: Iterable[tuple[str, ...]]) -> float:
    """Share of the parts that have come before."""
    counts = Counter(parts)
    total = sum(counts.values())
    return (total - len(counts)) / total if total else 0.0


class GrammarListener:
    """Answers by what a grammar reads in the caption: exact, and nothing where two things are said.

    Args:
        parser: from a caption to the facts that it states.
    """

    def __init__(self, *, parser: Callable[[str], Scene]) -> None:
        self.parser = parser

    def answers(self, asked: Sequence[tuple[str, FriendQuestion]]) -> list[str]:
        return [self._answer(caption, question) for caption, question in asked]

    def _answer(self, caption: str, question: FriendQuestion) -> str:
        told = {
            mention.attributes.get(question.slot)
            for mention in self.parser(caption).mentions
            if mention.name == question.name
        } - {None}
        said = told.pop() if len(told) == 1 else None
        return said if said in question.options else CANNOT

    def take_counts(self) -> Mapping[str, float]:
        return {}


class JudgedListener:
    """A model answers; it is never shown the picture.

    Args:
        judge: of ``conf/judge/``.
    """

    def __init__(self, *, judge: Judge | None) -> None:
        self.judge = judge

    def answers(self, asked: Sequence[tuple[str, FriendQuestion]]) -> list[str | None]:
        if self.judge is None:
            raise ValueError(
                "reward.rubric.rewards.covip.source=judge asks a model: choose judge=openai or"
                " judge=local"
            )
        options = [(*question.options, CANNOT) for _, question in asked]
        places = choose_options(
            self.judge,
            [(text, q.words, some) for (text, q), some in zip(asked, options, strict=True)],
        )
        return [
            None if place is None else some[place]
            for place, some in zip(places, options, strict=True)
        ]

    def take_counts(self) -> Mapping[str, float]:
        return {} if self.judge is None else self.judge.take_counts()
