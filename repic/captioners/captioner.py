"""What whoever writes captions declares, so that evaluation, tables and page know none by name.

A captioner is a file of its own and conf/captioner/<name>.yaml; ``method.evaluated`` lists whose
captions a run scores. Beside captions some answer questions (``Answering``), and some
have to learn a friend before they can name one (``Enrolling``; ``repic.captioners.friends`` keeps
what they have learnt). A system that is a way to use a model is bound to one of the run's models
(``repic.captioners.system``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from repic.tables.layouts import COSTS, COSTS_NOTE
from repic.tables.runs import Labels
from repic.tables.table import Column, Row, Table
from repic.types import Example, Friend


class Caption(NamedTuple):
    """One written caption.

    ``finished`` is False when it was cut at the longest length; ``token_ids`` are the model's,
    with the end token, and none where no model wrote it.
    """

    text: str
    finished: bool
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What one friend costs, before and in every prompt.

    Attributes:
        pictures: that it needs of the friend.
        seconds: to learn the friend.
        parameters: that are trained for the friend.
        bytes: that are kept of the friend.
        prompt_tokens: that the friend adds to a prompt; None: not measured.
    """

    pictures: int = 0
    seconds: float = 0.0
    parameters: int = 0
    bytes: int = 0
    prompt_tokens: float | None = None


@runtime_checkable
class Captioner(Protocol):
    """Whoever writes captions.

    Attributes:
        labels: what it is called.
        key: hash of all that decides a caption, the prompt aside; kept captions are found by it.
        decoding: how captions are drawn, in words; None where nothing is drawn.
    """

    labels: Labels
    key: str
    decoding: str | None

    def write(self, examples: Sequence[Example]) -> Sequence[Caption]:
        """Write one caption an example; all ranks call this together, and all have the result."""
        ...

    def cost(self) -> Cost:
        """What a friend costs."""
        ...


@runtime_checkable
class Answering(Captioner, Protocol):
    """A captioner that also answers questions about a picture: is somebody in it?"""

    def answer(self, examples: Sequence[Example]) -> Sequence[Caption]:
        """Answer one question an example, in whatever words; called as ``write`` is.

        Questions of yes or no have tasks that begin with "recognize", those with options "ask".
        """
        ...


class Enrolled(NamedTuple):
    """What a system keeps of a friend, and what that has cost."""

    state: Mapping[str, Tensor]
    cost: Cost


@runtime_checkable
class Enrolling(Captioner, Protocol):
    """A captioner that is told who the friends are, and may have to learn each of them first.

    Attributes:
        needs: pictures of a friend that it needs; 0: it learns nothing, and no file is kept.
        enroll_key: hash of all that decides what is learnt of a friend, the friend aside.
        friends, learnt: what it has met last, by name.
    """

    needs: int
    enroll_key: str
    friends: Mapping[str, Friend]
    learnt: Mapping[str, Enrolled]

    def enroll(self, friend: Friend) -> Enrolled:
        """Learn a friend; the same friend gives the same state, whoever was learnt before."""
        ...

    def meet(self, friends: Sequence[Friend], learnt: Mapping[str, Enrolled]) -> None:
        """Know these friends, and nobody else, from now on.

        Args:
            friends: all of them.
            learnt: what ``enroll`` has given, by name; empty where ``needs`` is 0.
        """
        ...


@runtime_checkable
class Together(Enrolling, Protocol):
    """A captioner that learns several friends at the same time, to tell them from each other.

    Attributes:
        together: how many, in the order of the data; the last ones may be fewer.
    """

    together: int

    def enroll_group(self, friends: Sequence[Friend]) -> Sequence[Enrolled]:
        """Learn friends, and give a state of each; the same ones give the same states."""
        ...


def cost_table(costs: Mapping[str, Cost]) -> Table:
    """What a friend costs each captioner, by its label."""
    rows = [Row(label, tuple(asdict(cost).values())) for label, cost in costs.items()]
    return Table("What a friend costs", COSTS, rows, COSTS_NOTE, Column("captions of", kind="text"))


def describe(captioner: Captioner, cost: Cost) -> dict[str, Any]:
    """What ``summary.json`` says of a captioner."""
    return {**asdict(captioner.labels), "cost": asdict(cost)}
