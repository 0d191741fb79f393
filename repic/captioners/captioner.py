"""What whoever writes captions declares, so that evaluation, tables and page know none by name.

A captioner is a file of its own and conf/captioner/<name>.yaml; ``method.evaluated`` lists whose
captions a run scores. Some will have to learn a friend before they can name one; they will say so
by a further method, ``enroll``, and what that takes by their ``cost``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from repic.tables.runs import Labels
from repic.types import Example


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


def describe(captioner: Captioner) -> dict[str, Any]:
    """What ``summary.json`` says of a captioner."""
    return {**asdict(captioner.labels), "cost": asdict(captioner.cost())}
