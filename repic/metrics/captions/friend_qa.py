"""What does a caption tell of each friend, and does it tell nothing of those who are not there?

CoViP, https://arxiv.org/abs/2602.03454: of each friend of the prompt three questions are asked, of
which somebody knows the caption alone. Of who is there the right answer is what is true; of
who is not, "cannot tell". So both naming nobody and telling of everybody show, which the mean of
``caption_qa`` alone hides. Deviation: all values of a slot are options, and not three of them, so
that whatever a caption says of an absent friend is one of them.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from repic.metrics.captions.caption_qa import CANNOT, Asked, Reader, shuffled_options
from repic.metrics.captions.grammar_facts import NAME
from repic.metrics.captions.judging import PERCENT, WHO_JUDGES, JudgedMetric, Outcome
from repic.metrics.captions.metric import Captions
from repic.metrics.captions.quiz import MOST_CHOICES, About, Quiz, SceneQuizzes
from repic.metrics.column import JUDGES, ScoreColumn
from repic.values import Count, Text

_NOTE = (
    "QA+ and QA-: of questions about friends who are in the picture, those that the caption answers"
    " rightly; of questions about friends who are not, those that it leaves open, in %."
)


@dataclass(frozen=True)
class FriendQuiz:
    """A question about a friend; of an absent one no choice is right."""

    quiz: Quiz
    is_present: bool

    def score(self, answer: str) -> float:
        """What an answer is worth: 1 if it is right."""
        right = self.quiz.choices[self.quiz.answer] if self.is_present else CANNOT
        return float(answer == right)


class FriendQuizzes(SceneQuizzes):
    """Questions about friends, from what complete references say and whom the prompt introduces."""

    num_wrong = MOST_CHOICES - 2  # with the right one, and "cannot answer"

    def of_friends(
        self, references: Sequence[str], pool: Sequence[str], most: int
    ) -> list[FriendQuiz]:
        """At most so many questions a friend, the same ones whenever they are asked for."""
        truth = self.truth(references)
        found: list[FriendQuiz] = []
        named = {mention.name: mention.attributes for mention in truth.mentions if mention.name}
        if not truth.mentions:
            return found
        every = sorted({slot for m in truth.mentions for slot in m.attributes} & {*self.values})
        for name in dict.fromkeys([*named, *pool]):
            rng = random.Random(f"{name}/{'/'.join(references)}")
            known = named.get(name)
            slots = [slot for slot in every if known is None or slot in known]
            for slot in rng.sample(slots, min(most, len(slots))):
                values = self.values[slot]
                right = rng.choice(values) if known is None else known[slot]
                about = About(((NAME, name),), slot)
                found.append(FriendQuiz(self._quiz(about, right, values), known is not None))
        return found


class FriendQA(JudgedMetric[Reader]):
    """Columns ``friend_qa_present`` and ``friend_qa_absent``, means over captions, in percent.

    Args:
        quizzes: makes questions of references and of whom the prompt introduces.
        each: questions a friend.
        source: which of the readers.
        sources: readers by name.
    """

    def __init__(
        self, *, quizzes: FriendQuizzes, each: Count, source: Text, sources: Mapping[str, Reader]
    ) -> None:
        notes = (_NOTE, WHO_JUDGES)
        present = ScoreColumn("friend_qa_present", "QA+", "up", JUDGES, notes)
        absent = ScoreColumn("friend_qa_absent", "QA-", "up", JUDGES)
        key = "metrics.scorers.friend_qa"
        super().__init__(present, absent, key=key, source=source, sources=sources)
        self.quizzes, self.each = quizzes, each

    def outcomes(self, captions: Captions) -> list[Outcome | None]:
        pools = captions.pools or [()] * len(captions.texts)
        groups = [
            self.quizzes.of_friends(references, pool or (), self.each)
            for references, pool in zip(captions.references, pools, strict=True)
        ]
        asked = [
            Asked(text, one.quiz, shuffled_options(one.quiz))
            for text, group in zip(captions.texts, groups, strict=True)
            for one in group
        ]
        answers = iter(self.source.answers(asked))
        return [_outcome([(one, next(answers)) for one in group]) for group in groups]


def _outcome(answers: Sequence[tuple[FriendQuiz, str | None]]) -> Outcome | None:
    if not answers:
        return None
    told = [(one, answer) for one, answer in answers if answer is not None]
    failed = 1 - len(told) / len(answers)
    if not told:
        return Outcome(None, failed)
    shares = (
        [one.score(answer) for one, answer in told if one.is_present is present]
        for present in (True, False)
    )
    return Outcome(
        tuple(PERCENT * fmean(some) if some else float("nan") for some in shares), failed
    )
