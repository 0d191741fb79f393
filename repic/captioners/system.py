"""Systems that are a way to use one of a run's models: they word a prompt anew, or add to it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Self

from repic import files
from repic.captioners.captioner import Caption, Cost, Enrolled, Labels
from repic.captioners.friends import mean_cost
from repic.captioners.model import MEASURED, ModelCaptioner
from repic.models.soft_tokens import SoftTokens
from repic.types import Example, Friend
from repic.values import Text, Whole


@dataclass(kw_only=True)
class System(ABC):
    """A captioner on one of the run's models, which it has for itself once it is bound.

    Attributes:
        label: what tables call it.
        on: the model: "base", or the name of a phase; None: the one that the run starts from.
        needs: pictures of a friend that it needs, at least; 0: it learns nothing.
        needs_others: whether it needs pictures of others, too.
        friends: by name, once it has met them; empty where the data has none to enrol.
        learnt: what ``enroll`` has given, by name.
    """

    needs_others: ClassVar = False
    label: Text
    on: Text | None
    needs: Whole
    model: ModelCaptioner = field(init=False, repr=False)
    friends: dict[str, Friend] = field(init=False, repr=False, default_factory=dict)
    learnt: dict[str, Enrolled] = field(init=False, repr=False, default_factory=dict)
    _asked: Sequence[Example] = field(init=False, repr=False, default=())
    _soft: SoftTokens | None = field(init=False, repr=False, default=None)

    def bind(self, model: ModelCaptioner) -> Self:
        """The same on a model, with weights of its own."""
        bound = replace(self)
        bound.model = replace(model)
        return bound

    @property
    def labels(self) -> Labels:
        """Runs with other seeds learn otherwise, and only who learns nothing is the same in all."""
        return Labels(self.label, self.label, is_shared=not self.needs, has_model=True)

    @property
    def key(self) -> str:
        return files.key_of([self.settings(), self.model.key])

    @property
    def enroll_key(self) -> str:
        return files.key_of([self.settings(), self.model.model_key])

    @property
    def decoding(self) -> str | None:
        return self.model.decoding

    def settings(self) -> list[object]:
        """All that was configured, what it is called and where it stands aside."""
        own = (f.name for f in fields(self) if f.init and f.name not in ("label", "on"))
        return [type(self).__qualname__, [(name, _told(getattr(self, name))) for name in own]]

    def check(self, friend: Friend) -> None:
        """Refuse a friend who cannot be learnt on any model."""
        if self.needs_others and not friend.lookalikes + friend.others:
            raise ValueError(
                f"{self.label} learns who is not {friend.name}, and there are no pictures of"
                " others; raise data.friends.negatives"
            )

    def enroll(self, friend: Friend) -> Enrolled:
        """Nothing is learnt, unless a system says otherwise."""
        return Enrolled({}, Cost())

    def meet(self, friends: Sequence[Friend], learnt: Mapping[str, Enrolled]) -> None:
        """Know these friends; the model is loaded afresh, without what enrolling has added."""
        self.friends = {friend.name: friend for friend in friends}
        self.learnt = dict(learnt)
        self.model, self._soft = replace(self.model), None

    @abstractmethod
    def reword(self, examples: Sequence[Example]) -> list[Example]:
        """What the model is asked for each example."""

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        self._asked = self._asked or list(examples[:MEASURED])
        return self.model.write(self.reword(examples))

    def answer(self, examples: Sequence[Example]) -> list[Caption]:
        return self.write(examples)

    def release(self) -> None:
        """Let go of the model and of what was added to it; both are made again if wanted."""
        self.model.release()
        self._soft = None

    def cost(self) -> Cost:
        """Of one friend, on average; prompts are counted by the model, as long as it is there."""
        return replace(mean_cost(list(self.learnt.values()), self.needs), **self.tokens())

    def tokens(self) -> dict[str, float | None]:
        """Tokens that a friend adds, counted on the first prompts of this run, if it had any."""
        bare = [replace(example, references=()) for example in self._asked]
        friends = sum(len(example.references) for example in self._asked)
        shown = self.reword(self._asked) if self._asked else []
        found = self.model.added_tokens(shown, bare, friends)
        return {} if found is None else {"prompt_tokens": found}

    def refuse_strangers(self, names: Sequence[str]) -> None:
        """Refuse somebody who was never enrolled."""
        for name in names:
            if name not in self.learnt:
                enrolled = ", ".join(self.learnt) or "none"
                raise ValueError(f"{self.label} has never learnt {name}; enrolled are {enrolled}")


def _told(value: Any) -> Any:
    """What decides how a part works, in plain values; an object's address is another each time."""
    if hasattr(value, "version"):
        return value.version
    if is_dataclass(value) or not hasattr(value, "__dict__"):
        return value
    told = {name: _told(part) for name, part in vars(value).items() if name[0] != "_"}
    return [type(value).__qualname__, told]
