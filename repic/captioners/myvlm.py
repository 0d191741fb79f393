"""MyVLM: a head that notices a friend, and a vector that tells the model who it is.

https://arxiv.org/abs/2403.14599, in the form of its released code for LLaVA. The model stays as it
is. Where a friend's head fires, the friend's vector stands behind the picture's features, scaled to
the norm of the first of them, so that only its direction is learnt; and the prompt names the
friend. Differences: the friend's own name is the identifier, which there is "sks" for objects; the
head's features are those of the embedder that is configured. Theirs is not wired for several
friends at once: here every head is asked of every part of the picture that the proposer finds, and
the vectors of those that fire stand one behind the other, in the order of the prompt's references.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from repic.captioners.attention_watch import AttentionWatch, Watched
from repic.captioners.augment import Augmentation
from repic.captioners.captioner import Caption, Cost, Enrolled
from repic.captioners.concept_head import ConceptHead, probability
from repic.captioners.system import System
from repic.models.engine.features import FeatureCache
from repic.models.engine.packed import PackedEngine
from repic.models.engine.packing import Group, pack
from repic.models.images import Followed
from repic.models.policy import Policy
from repic.models.soft_tokens import SoftTokens
from repic.parsing import check_words
from repic.retrieval.parts import Embedder, Proposer
from repic.types import Example, Friend, ImageSource, Reference, picture_content
from repic.values import Coefficient, Count, NonNegative, Positive, Seed, Text

MOST = 1024  # vectors in the prompts of a batch
TOKEN = "<|concept {}|>"
_FEATURES = 64 * 2**20  # bytes of pictures' features that are kept


@dataclass(frozen=True, kw_only=True)
class ConceptVector:
    """How a friend's vector learns.

    Attributes:
        steps: optimizer steps, of AdamW at a constant rate.
        batch_size: pictures in a step, or as many as there are.
        lr, weight_decay, grad_clip: of the optimizer; the largest norm of a gradient.
        augmentation: changes pictures.
        watched, coef: the attention whose squares are added to the loss, and how much they count;
            see ``AttentionWatch``.
    """

    steps: Count
    batch_size: Count
    lr: Positive
    weight_decay: NonNegative
    grad_clip: Positive
    augmentation: Augmentation
    watched: Watched
    coef: Coefficient


@dataclass(kw_only=True)
class MyVlm(System):
    """A captioner with a head and a vector for each friend.

    Attributes:
        asks: the prompt where somebody was noticed, with ``{names}``; else the example's question.
            Without ``{names}`` a reference, which says no more, names each of them.
        embedder: makes the features that heads read.
        proposer: where to look; None: at the whole picture, as the released code does.
        head, vector: how they learn.
        seed: decides all that is random.
    """

    needs_others = True
    asks: Text
    embedder: Embedder
    proposer: Proposer | None
    head: ConceptHead
    vector: ConceptVector
    seed: Seed
    _features: FeatureCache | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        check_words(f"{self.label}: asks", self.asks, optional=["names"])

    def check(self, friend: Friend) -> None:
        for shot in friend.shots:
            if not shot.captions:
                raise ValueError(
                    f"{self.label} learns from captions that name the friend, and"
                    f" {shot.image.key}, of {friend.name}, has none; add some"
                )
        super().check(friend)

    def enroll(self, friend: Friend) -> Enrolled:
        begun = time.perf_counter()
        self.check(friend)
        shown = [shot.image for shot in friend.shots]
        others = [*friend.lookalikes, *friend.others]
        seed = f"{self.seed}/{friend.name}"
        head = self.head.learn(partial(self._look, friend.category), shown, others, seed)
        vector = self._learn(friend, seed)
        return Enrolled(
            {"head": head, "vector": vector},
            Cost(
                pictures=len(shown),
                seconds=time.perf_counter() - begun,
                parameters=head.numel() + vector.numel(),
            ),
        )

    def reword(self, examples: Sequence[Example]) -> list[Example]:
        return self._shown(examples, asks=self.asks)

    def _shown(self, examples: Sequence[Example], *, asks: str | None) -> list[Example]:
        """Pictures with the vectors of those who were noticed; None leaves the questions."""
        soft, policy = self._ready()
        asked, rows = [], []
        for example in examples:
            names = self.noticed(example)
            places = range(len(rows), len(rows) + len(names))
            query, question = example.query, example.question
            if names and query is not None:
                norm = self._norm(policy, query)
                rows += [_unit(self.learnt[n].state["vector"].to(norm)) * norm for n in names]
                query = Followed(query, "".join(map(TOKEN.format, places)))
                question = asks.format(names=", ".join(names)) if asks else question
            references = self._named(names) if asks else ()
            asked.append(replace(example, references=references, query=query, question=question))
        if len(rows) > MOST:
            raise ValueError(
                f"{self.label} has noticed {len(rows)} friends in {len(examples)} pictures, and can"
                f" tell of {MOST} at a time; lower phase.evaluate.batch_size"
            )
        if rows:
            soft.rows = torch.stack(rows)
        return asked

    def answer(self, examples: Sequence[Example]) -> list[Caption]:
        """Say whether the head of the friend who is asked about has fired.

        What is no question of yes or no the model answers, with the vectors behind the picture.
        """
        if any(not example.task.startswith("recognize") for example in examples):
            return self.model.write(self._shown(examples, asks=None))
        return [
            Caption("yes" if {*example.pool} & {*self.noticed(example)} else "no", True)
            for example in examples
        ]

    def noticed(self, example: Example) -> list[str]:
        """Those of the prompt's references, or else of all friends, whose head fires."""
        names = list(example.pool or self.learnt)
        self.refuse_strangers(names)
        if example.query is None or not names:
            return []
        kinds = sorted({friend.category for friend in self.friends.values()})
        features = torch.from_numpy(self.embedder(self._parts(example.query, kinds)))
        heads = {name: self.learnt[name].state["head"] for name in names}
        likely = {name: probability(head, features).max() for name, head in heads.items()}
        return [name for name in names if likely[name] >= self.head.threshold]

    def loss(
        self, vector: Float[Tensor, " H"], examples: Sequence[Example]
    ) -> tuple[Tensor, Tensor | float]:
        """The cross-entropy of targets, averaged over their tokens, and the watched attention.

        Args:
            vector: of any length; it is put behind each example's picture.
            examples: with pictures, and no pictures of references.
        """
        soft, policy = self._ready()
        norms = torch.stack([self._norm(policy, e.query) for e in examples if e.query])
        soft.rows = _unit(vector)[None] * norms[:, None]
        shown = [
            replace(example, query=Followed(example.query, TOKEN.format(i)))
            for i, example in enumerate(examples)
            if example.query
        ]
        prompts = policy.encoder.prompts(shown)
        answers = policy.encoder.encode_answers([e.target for e in examples], examples)
        groups = [Group(p, (ids[:-1],)) for p, ids in zip(prompts, answers, strict=True)]
        row = pack(groups, image_token_id=policy.encoder.image_token_id, device=policy.device)
        ids = row.input_ids[0].tolist()
        watch = AttentionWatch(
            row, [ids.index(soft.first + i) for i in range(len(shown))], self.vector.watched
        )
        pictures = [self._seen(policy, picture) for p in prompts for picture in p.images]
        embeddings = policy.embed_tokens(row.input_ids)
        embeddings, injection = policy.show(embeddings, row.image_mask, pictures)
        hidden = policy.hidden_states(
            embeddings, position_ids=row.position_ids, packing=watch, injection=injection
        )
        scored = policy.score(hidden[0, row.sources], answers, entropy=False)
        return -scored.logprobs[scored.mask].mean(), watch.penalty

    def _named(self, names: Sequence[str]) -> tuple[Reference, ...]:
        """References that say a name alone, where the question says none."""
        is_said = "{names}" in self.asks
        return () if is_said else tuple(Reference(name, None, None) for name in names)

    def _learn(self, friend: Friend, seed: str) -> Float[Tensor, " H"]:
        """Learn the friend's vector, which is returned at length 1."""
        settings, rng = self.vector, random.Random(f"{seed}/vector")
        _, policy = self._ready()
        PackedEngine(feature_cache=0, cuda_graphs=False).prepare(policy)
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        size = policy.network.get_input_embeddings().embedding_dim
        vector = _unit(torch.rand(size, generator=generator)).to(policy.device).requires_grad_()
        optimizer = torch.optim.AdamW([vector], lr=settings.lr, weight_decay=settings.weight_decay)
        question = self.asks.format(names=friend.name)
        for step in range(settings.steps):
            examples = [
                Example(
                    id=f"{friend.name}/{step}/{i}",
                    task="caption",
                    query=settings.augmentation(shot.image, rng),
                    question=question,
                    target=rng.choice(shot.captions),
                    references=self._named([friend.name]),
                    present=(friend.name,),
                    num_concepts=1,
                )
                for i, shot in enumerate(
                    rng.sample(friend.shots, min(settings.batch_size, len(friend.shots)))
                )
            ]
            loss, penalty = self.loss(vector, examples)
            optimizer.zero_grad()
            (loss + settings.coef * penalty).backward()
            torch.nn.utils.clip_grad_norm_([vector], settings.grad_clip)
            optimizer.step()
        return _unit(vector.detach())

    def _ready(self) -> tuple[SoftTokens, Policy]:
        """The model with room for vectors; made anew when the model was loaded anew."""
        policy = self.model.loaded()
        if self._soft is None or self._soft.policy is not policy:
            tokens = [TOKEN.format(i) for i in range(MOST)]
            self._soft, self._features = SoftTokens(policy, hidden=tokens), FeatureCache(_FEATURES)
        return self._soft, policy

    def _seen(self, policy: Policy, picture: ImageSource) -> Float[Tensor, "_ n_H"]:
        """A picture's features, as the language model is given them."""
        assert self._features is not None
        return self._features.features(policy, [picture])[picture_content(picture)]

    def _norm(self, policy: Policy, picture: ImageSource) -> Float[Tensor, ""]:
        """The length of a picture's first feature."""
        size = policy.network.get_input_embeddings().embedding_dim
        return self._seen(policy, picture)[0, :size].norm()

    def _look(self, kind: str, pictures: Sequence[ImageSource]) -> Float[Tensor, "N D"]:
        """Features of the first part of each picture that is of some kind."""
        parts = [self._parts(picture, [kind])[0] for picture in pictures]
        return torch.from_numpy(self.embedder(parts))

    def _parts(self, picture: ImageSource, kinds: Sequence[str]) -> list[Image.Image]:
        """What the proposer finds of some kinds in a picture, or the whole of it."""
        whole = picture.load()
        boxes = self.proposer(whole, kinds) if self.proposer is not None else []
        return [whole.crop((b.x0, b.y0, b.x1, b.y1)) for b in boxes] or [whole]


def _unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=0)
