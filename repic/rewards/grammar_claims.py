"""Claims by a grammar and against the true scene: exact, offline, a tenth of a millisecond each.

What counts as a claim:

- every attribute that is stated of a being, its place and its name, and the setting. A mention is
  about at most one being, and a being has at most one mention (``assignment.count_facts``, with
  the name as an attribute like others): so a being that is described again is claimed again and
  right once, and repetition cannot pay. A name is right at the being that bears it;
- a name that stands at no description, or is no name ("</bo>"): it points at no one, so it is
  never right;
- every clause that the grammar cannot read ("this adds depth to the scene"), as one claim that is
  not pointable. A setting that is named again is such a clause.

The reference's units are all facts of the true scene: each attribute of each being, its place, its
name if it has one, and the setting. Every right claim covers one unit of its own.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from repic.parsing import find_names
from repic.rewards.assignment import count_facts
from repic.rewards.claims import Findings, Share
from repic.types import Example, Mention, Scene

NAME = "name"


class GrammarClaims:
    """A ``RewardSource`` of claims for data whose scenes are known.

    Args:
        parser: from a caption to the facts that it states.
        unread: from a caption to the clauses that ``parser`` passes over.
        needs_pointability: count those clauses. False is BalCapRL's ablation: there they are no
            claims at all, and cost nothing.
    """

    def __init__(
        self,
        *,
        parser: Callable[[str], Scene],
        unread: Callable[[str], Collection[str]],
        needs_pointability: bool,
    ) -> None:
        self.parser, self.unread, self.needs_pointability = parser, unread, needs_pointability

    def applies(self, example: Example) -> bool:
        return example.scene is not None and example.scene.is_described

    def assess(self, captions: Sequence[str], examples: Sequence[Example]) -> list[Findings]:
        return [self._find(c, e.scene) for c, e in zip(captions, examples, strict=True)]

    def take_counts(self) -> dict[str, float]:
        return {}

    def _find(self, caption: str, scene: Scene | None) -> Findings:
        assert scene is not None, "GrammarClaims applies where the scene is known"
        said = self.parser(caption)
        facts = count_facts(_with_names(said), _with_names(scene))
        num_placed = sum(mention.name is not None for mention in said.mentions)
        num_pointless = max(0, len(find_names(caption)) - num_placed)
        if self.needs_pointability:
            num_pointless += len(self.unread(caption))
        claims = Share(facts.right, facts.stated + num_pointless)
        return Findings(claims, units=Share(facts.right, facts.true))


def _with_names(scene: Scene) -> Scene:
    """The same scene with every name as one more attribute of its being."""
    return replace(scene, mentions=tuple(map(_with_name, scene.mentions)))


def _with_name(mention: Mention) -> Mention:
    if mention.name is None:
        return mention
    return replace(mention, attributes={**mention.attributes, NAME: mention.name})
