"""Does every name stand at its own being? What recognition, which sees only a set, cannot tell.

    binding = credits / max(number of present names, number of names in the caption)

The first time a present name stands at a description, its credit is 1 if the being of that name
fits what is stated there at least as well as anyone in the picture, divided by how many fit
equally well; so a vague description ("a toy, <bo>") earns what guessing would. Every further
name in the caption (repeated, absent, made up, or at no description) adds to the denominator
alone, and so does every present name that is missing: neither stuffing nor naming only the
surest one pays.
"""

from collections.abc import Callable

from repic.parsing import find_names
from repic.rewards.assignment import num_agreeing
from repic.types import Example, Mention, Scene
from repic.values import Tasks


class BindingReward:
    """Component ``binding``, in [0, 1]; NaN where no true scene is described, or holds no name.

    Args:
        parser: from a caption to the mentions that it makes.
        tasks: the tasks whose answers are judged by names; elsewhere the component is NaN.
    """

    components = ("binding",)

    def __init__(self, *, parser: Callable[[str], Scene], tasks: Tasks) -> None:
        self.parser, self.tasks = parser, frozenset(tasks)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        scene = example.scene
        if example.task not in self.tasks or scene is None or not scene.is_described:
            return {"binding": float("nan")}
        beings = {being.name: being for being in scene.mentions if being.name}
        if not beings:
            return {"binding": float("nan")}
        credits: dict[str, float] = {}
        for mention in self.parser(caption).mentions:
            # Only the first use of a name counts: a second try would be a free guess.
            if mention.name in beings and mention.name not in credits:
                credits[mention.name] = _credit(mention, beings[mention.name], scene)
        num_names = max(len(beings), len(find_names(caption)))
        return {"binding": sum(credits.values()) / num_names}


def _credit(mention: Mention, named: Mention, scene: Scene) -> float:
    """1 if the named being fits the description best, shared with those who fit as well."""
    fit = num_agreeing(mention, named)
    fits = [num_agreeing(mention, being) for being in scene.mentions]
    return 1 / fits.count(fit) if fit == max(fits) > 0 else 0.0
