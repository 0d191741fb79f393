"""Naming everybody: a policy without eyes, which a fair measure must not reward."""

from collections.abc import Sequence

from repic.captioners.captioner import Caption, Cost, Labels
from repic.types import Example


class NameEverybody:
    """Says every name of the prompt, whoever is there."""

    labels = Labels("names everybody", "names everybody", is_shared=True, has_model=False)
    key, decoding = "name_everybody", None

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        """Write ``Here are <bo>, <ti>.``."""
        return [Caption(f"Here are {', '.join(example.pool)}.", True) for example in examples]

    def cost(self) -> Cost:
        """Only names, in the prompt."""
        return Cost()
