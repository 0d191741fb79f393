"""Yo'LLaVA: a friend as new tokens of the vocabulary, a name and some that say who it is.

https://arxiv.org/abs/2406.09400, in the form of its released code: the user's turn begins with
"<sks> is <token0>…<token15>.", and of the model only the new rows of the embeddings and of the head
learn, here beside a model that nothing is written to (``repic.models.soft_tokens``); there all rows
are trained, and all but the new ones put back after every step, which comes to the same, since Adam
treats every weight by itself. Its questions are recognition (of the friend, of look-alikes, of
others) and text alone. Differences: the token in the place of "<sks>" is the friend's own name; and
several friends at once, for which it has no form, have their sentences one after another, over one
vocabulary with the tokens of all who were enrolled. Without a sentence (``asks`` None) a friend is
introduced as the model's own prompts introduce somebody: by a reference, whose info is the tokens,
under the name in the model's own words. That is for a model that knows names from references.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor

from repic.captioners.augment import Augmentation
from repic.captioners.captioner import Cost, Enrolled
from repic.captioners.system import System
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.models.soft_tokens import SoftTokens, refuse_known
from repic.parsing import check_words, parse_yes_no
from repic.types import Example, Friend, ImageSource, Reference, picture_content
from repic.values import Count, NonNegative, Positive, Questions, Seed, Text, Whole

SKS = "<sks>"  # stands for the name while a friend is learnt


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a friend is learnt by: how many questions of each kind, drawn once.

    Attributes:
        recognize: questions, with ``{name}``; ``yes`` and ``no`` are answers to them, likewise.
        describe: questions about the friend's pictures, which their captions answer.
        about: pairs of a question and an answer without a picture, with ``{name}`` and
            ``{info}``, or ``{Info}`` at the start of a sentence.
        positives, lookalikes, others: recognition of the friend, of look-alikes, of any others.
        companions: of those who are learnt at the same time, if there are any.
        captions, texts: of ``describe`` and of ``about``.
        augmentation: changes pictures.
    """

    recognize: Questions
    yes: Questions
    no: Questions
    describe: Questions
    about: Annotated[Sequence[Annotated[Sequence[Text], MinLen(2)]], MinLen(1)]
    positives: Count
    lookalikes: Whole
    others: Whole
    captions: Whole
    texts: Whole
    augmentation: Augmentation
    companions: Whole = 0

    def draw(
        self,
        friend: Friend,
        rng: random.Random,
        *,
        called: str = SKS,
        beside: Sequence[ImageSource] = (),
    ) -> list[Example]:
        """All of an epoch.

        Args:
            friend: who is learnt.
            rng: the dice.
            called: stands for the friend's name.
            beside: pictures of those who are learnt at the same time.
        """
        shots = [(shot.image, caption) for shot in friend.shots for caption in shot.captions]
        shown = [shot.image for shot in friend.shots]
        chosen: list[tuple[ImageSource | None, str, str]] = []
        for pictures, number, answers in (
            (shown, self.positives, self.yes),
            (friend.lookalikes, self.lookalikes, self.no),
            (friend.others, self.others, self.no),
            (beside, self.companions, self.no),
        ):
            for _ in range(number if pictures else 0):
                question, answer = rng.choice(self.recognize), rng.choice(answers)
                chosen.append((rng.choice(pictures), question, _said(answer, friend, called)))
        for _ in range(self.captions if shots else 0):
            image, caption = rng.choice(shots)
            chosen.append((image, rng.choice(self.describe), caption.replace(friend.name, called)))
        for _ in range(self.texts if friend.info else 0):
            question, answer = rng.choice(self.about)
            chosen.append((None, question, _said(answer, friend, called)))
        return [
            Example(
                id=f"{friend.name}/{number}",
                task="lesson",
                query=picture,
                question=_said(question, friend, called),
                target=answer,
                num_concepts=1,
            )
            for number, (picture, question, answer) in enumerate(chosen)
        ]


def _said(template: str, friend: Friend, called: str) -> str:
    info = (friend.info or "").replace(friend.name, called)  # where it speaks of them by name
    return template.format(name=called, info=info, Info=info[:1].upper() + info[1:])


@dataclass(kw_only=True)
class YoLlava(System):
    """A captioner whose vocabulary has new tokens for each friend.

    Attributes:
        asks: what a prompt says of each friend, with ``{name}`` and ``{tokens}``, where the name is
            a new token; None: a reference says it, and the name is no new token.
        num_tokens: beside the name.
        lessons: what a friend is learnt by.
        epochs, batch_size, lr, weight_decay: of the optimizer, AdamW at a constant rate.
        choose_after: of the epochs after this one, the rows are kept that answer best whether the
            pictures of the lessons show the friend (the mean of the accuracy of yes and no); with
            ``epochs`` or more, those of the last.
        seed: decides all that is random.
    """

    needs_others = True
    asks: Text | None
    num_tokens: Count
    lessons: Lessons
    epochs: Count
    batch_size: Count
    lr: Positive
    weight_decay: NonNegative
    choose_after: Whole
    seed: Seed
    _room: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        if self.asks is not None:
            check_words(f"{self.label}: asks", self.asks, "name", "tokens")
        lessons = self.lessons
        said = [*lessons.recognize, *lessons.yes, *lessons.no, *lessons.describe]
        for words in (*said, *(part for pair in lessons.about for part in pair)):
            check_words(f"{self.label}: lessons", words, optional=["name", "info", "Info"])

    def enroll(self, friend: Friend) -> Enrolled:
        (enrolled,) = self.enroll_group([friend])
        return enrolled

    def enroll_group(self, friends: Sequence[Friend]) -> list[Enrolled]:
        """Learn friends at the same time, under one prompt that introduces them all."""
        begun, policy = time.perf_counter(), self._ready(len(friends))
        refuse_known(policy, [friend.name for friend in friends] if self.asks else [])
        for friend in friends:
            self.check(friend)
        states = self._learn(policy, friends)
        seconds = (time.perf_counter() - begun) / len(friends)
        return [
            Enrolled(
                state,
                Cost(
                    pictures=len(friend.shots),
                    seconds=seconds,
                    parameters=sum(tensor.numel() for tensor in state.values()),
                ),
            )
            for friend, state in zip(friends, states, strict=True)
        ]

    def reword(self, examples: Sequence[Example]) -> list[Example]:
        self._know(self.model.loaded())
        for example in examples:
            self.refuse_strangers(example.pool)
        return [
            self._introduced(example, {name: name for name in example.pool or self.learnt})
            for example in examples
        ]

    def first_rows(self, policy: Policy, friend: Friend) -> dict[str, Tensor]:
        """New rows as the library draws them, around 0; a head that is tied has none of its own.

        What is never said has no row of the head.
        """
        network = policy.network
        generator = torch.Generator().manual_seed(
            random.Random(f"{self.seed}/{friend.name}/rows").getrandbits(32)
        )
        size = network.get_input_embeddings().embedding_dim
        shape = (self.new_words + self.num_tokens, size)
        spread = network.config.get_text_config().initializer_range
        is_tied = network.get_input_embeddings().weight is network.get_output_embeddings().weight
        names = ("rows",) if is_tied or not self.asks else ("rows", "head")
        return {
            name: (spread * torch.randn(shape, generator=generator)).to(policy.device)
            for name in names
        }

    def batches(self, *friends: Friend) -> Iterator[list[list[Example]]]:
        """An epoch's batches, epoch by epoch: the same lessons in another order."""
        rng = random.Random(f"{self.seed}/{'/'.join(friend.name for friend in friends)}")
        names = self._called(friends)
        lessons = [
            lesson
            for friend, name in zip(friends, names, strict=True)
            for lesson in self.lessons.draw(
                friend, rng, called=name, beside=_shown_of(friends, but=friend)
            )
        ]
        for epoch in range(self.epochs):
            rng.shuffle(lessons)
            changed = [
                replace(
                    self._introduced(lesson, names),
                    id=f"{lesson.id}/{epoch}",
                    query=lesson.query and self.lessons.augmentation(lesson.query, rng),
                )
                for lesson in lessons
            ]
            starts = range(0, len(changed), self.batch_size)
            yield [changed[first : first + self.batch_size] for first in starts]

    def _learn(self, policy: Policy, friends: Sequence[Friend]) -> list[dict[str, Tensor]]:
        states = [self.first_rows(policy, friend) for friend in friends]
        learnt = [tensor.requires_grad_() for state in states for tensor in state.values()]
        optimizer = torch.optim.AdamW(learnt, lr=self.lr, weight_decay=self.weight_decay)
        best, kept = -1.0, states
        for epoch, batches in enumerate(self.batches(*friends), start=1):
            for batch in batches:
                self._place(policy, states)
                targets = [example.target for example in batch]
                scored = self.model.engine.target_logprobs(policy, batch, targets)
                loss = -scored.logprobs[scored.mask].mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            self._place(policy, states)
            if epoch > self.choose_after and (found := self._accuracy(policy, friends)) > best:
                best = found
                kept = [{key: tensor.detach().clone() for key, tensor in s.items()} for s in states]
        return [{key: tensor.detach() for key, tensor in state.items()} for state in kept]

    def _accuracy(self, policy: Policy, friends: Sequence[Friend]) -> float:
        """The mean of the shares of the lessons' pictures that get a yes, or a no, rightly."""
        names, right = self._called(friends), []
        for friend, name in zip(friends, names, strict=True):
            question = self.lessons.recognize[0].format(name=name)
            beside = _shown_of(friends, but=friend) if self.lessons.companions else []
            no = [*friend.lookalikes, *friend.others, *beside]
            groups = [[shot.image for shot in friend.shots], no]
            for pictures, answer in zip(groups, ("yes", "no"), strict=True):
                asked = [
                    self._introduced(
                        Example(f"{friend.name}/{answer}/{i}", "", (), p, question, "", (), (), 1),
                        names,
                    )
                    for i, p in enumerate(pictures)
                ]
                rollouts = self.model.engine.sample(
                    policy, asked, group_size=1, sampling=_SHORT, seed=0
                )
                right.append(sum(parse_yes_no(r.text) == answer for r in rollouts) / len(asked))
        return sum(right) / len(right)

    @property
    def new_words(self) -> int:
        """New tokens for a friend's name."""
        return int(self.asks is not None)

    def _called(self, friends: Sequence[Friend]) -> dict[str, str]:
        """Names of friends while they are learnt, and whose tokens are theirs meanwhile."""
        known = stand_ins(len(friends))
        names = known if self.asks else [friend.name for friend in friends]
        return dict(zip(names, known, strict=True))

    def _introduced(self, example: Example, known: Mapping[str, str]) -> Example:
        """The example with each friend introduced, by name and by whose tokens are theirs."""
        said = {n: "".join(tokens_of(key, self.num_tokens)) for n, key in known.items()}
        if self.asks is None:
            references = tuple(Reference(name, tokens, None) for name, tokens in said.items())
            return replace(example, references=references)
        sentences = [self.asks.format(name=name, tokens=tokens) for name, tokens in said.items()]
        return replace(example, references=(), question=" ".join([*sentences, example.question]))

    def _know(self, policy: Policy) -> None:
        """Give the model the tokens of everybody who was learnt."""
        if (self._soft is not None and self._soft.policy is policy) or not self.learnt:
            return
        self._soft, self._room = self._new_tokens(policy, list(self.learnt)), 0
        self._place(policy, [enrolled.state for enrolled in self.learnt.values()])

    def _ready(self, number: int) -> Policy:
        """The model with tokens for so many; one that has others already is loaded anew."""
        if self._soft is not None and self._room != number:
            self.model, self._soft = replace(self.model), None
        policy = self.model.loaded()
        if self._soft is None or self._soft.policy is not policy:
            self._soft = self._new_tokens(policy, stand_ins(number))
            self._room = number
        return policy

    def _new_tokens(self, policy: Policy, names: Sequence[str]) -> SoftTokens:
        hidden = [token for name in names for token in tokens_of(name, self.num_tokens)]
        return SoftTokens(policy, words=names if self.asks else [], hidden=hidden)

    def _place(self, policy: Policy, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Put rows where the model looks tokens up: names stand before all other new tokens."""
        assert self._soft is not None
        parts = slice(0, self.new_words), slice(self.new_words, None)
        self._soft.rows, head = (
            torch.cat(
                [state.get(key, state["rows"])[part] for part in parts for state in states]
            ).to(policy.device)
            for key in ("rows", "head")
        )
        self._soft.head = head if self.asks else None


_SHORT = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, max_new_tokens=8, stop=())


def stand_ins(number: int) -> list[str]:
    """What stands for the names of so many friends while they are learnt."""
    return [SKS, *(f"<sks{i}>" for i in range(1, number))]


def _shown_of(friends: Sequence[Friend], *, but: Friend) -> list[ImageSource]:
    """Pictures of the others, unless they show the friend, too."""
    own = {picture_content(shot.image) for shot in but.shots}
    shown = [shot.image for one in friends if one is not but for shot in one.shots]
    return [image for image in shown if picture_content(image) not in own]


def tokens_of(name: str, number: int) -> list[str]:
    """The hidden tokens of a friend."""
    return [f"<|{name.strip('<>')} {i}|>" for i in range(number)]
