"""Teach a vision tower to see before any sentence is read: words for every square of a picture.

A tower that learns from captions gets a few words a picture, through a language model that cannot
read them yet. Here every feature of the tower has to name what stands in its square, in two ways:

* By the language model's own, frozen, embeddings: the feature's dot products with them give a
  distribution over the vocabulary, which should be even over the square's words. So a picture of a
  striped red bear comes to lie where the words "striped", "red" and "bear" lie together, and what
  a language model can do with words (matching, looking up) it can do with pictures at once.
* By a linear classifier for each slot. A set of words does not tell a red bear with a blue hat from
  a blue bear with a red one; these make sure that the feature does. They are thrown away.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from repic.phases.randomness import stream_seed
from repic.phases.sft import SftModule
from repic.types import Example, ImageSource

# Called with a picture, rows and columns: what each cell shows, or None where that is unclear.
Labels = Callable[[ImageSource, int, int], Sequence[Mapping[str, str] | None]]

_UNKNOWN = -100  # cross_entropy passes over it


class VisionModule(SftModule):
    """Train the vision tower alone, on what ``labels`` says of every square.

    Args:
        labels: see ``Labels``; is asked about each example's query picture.
        slots: the words that each slot may hold.
        unspoken: slots for the classifiers only, whose words are not the language model's.
        others: see ``SftModule``; a cell counts as a token does there.
    """

    def __init__(
        self,
        *,
        labels: Labels,
        slots: Mapping[str, Sequence[str]],
        unspoken: Sequence[str],
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.labels, self.slots = labels, {slot: tuple(words) for slot, words in slots.items()}
        self.policy.model.requires_grad_(False)
        for parameter in self.policy.vision_parameters():
            parameter.requires_grad = True
        embeddings = self.policy.network.get_input_embeddings().weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.seed, "slot heads"))
            width = embeddings.shape[1]
            self.heads = nn.ModuleDict(
                {slot: nn.Linear(width, len(words)) for slot, words in self.slots.items()}
            )
        tokenizer = self.policy.encoder.tokenizer
        spoken = [words for slot, words in self.slots.items() if slot not in unspoken]
        # A word is known by its first token, as it stands in running text.
        self.token_ids: dict[str, int] = {
            word: tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0]
            for words in spoken
            for word in words
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(
            iter([*self.policy.trainable_parameters(), *self.heads.parameters()])
        )

    def training_step(self, examples: list[Example], batch_idx: int) -> Tensor:
        """Return the loss, summed over the cells whose content is clear."""
        features, cells = self.read(examples)
        loss = self.word_loss(features, cells) + self.slot_loss(features, cells)
        self.nll += loss.item()
        self.num_tokens += len(cells)
        self.weight += len(cells)
        return loss

    def read(
        self, examples: Sequence[Example]
    ) -> tuple[Float[Tensor, "cells H"], list[Mapping[str, str]]]:
        """Return the features of all squares whose content is clear, and that content."""
        sources = [example.query for example in examples if example.query is not None]
        images = self.policy.encoder.images.encode(sources)
        labels = [
            cell
            for source, image in zip(sources, images, strict=True)
            for cell in self.labels(source, *image.grid)
        ]
        features = self.policy.picture_features(images)
        clear = [i for i, cell in enumerate(labels) if cell is not None]
        return torch.cat(features)[clear], [cell for cell in labels if cell is not None]

    def word_loss(
        self, features: Float[Tensor, "cells H"], cells: Sequence[Mapping[str, str]]
    ) -> Float[Tensor, ""]:
        """Cross-entropy to the even distribution over a cell's words, summed over cells."""
        embeddings = self.policy.network.get_input_embeddings().weight
        logits = features @ embeddings.T / math.sqrt(embeddings.shape[1])
        target = torch.zeros_like(logits)
        for i, cell in enumerate(cells):
            spoken = [self.token_ids[word] for word in cell.values() if word in self.token_ids]
            for token in spoken:  # two slots may hold one word
                target[i, token] += 1 / len(spoken)
        return -(target * log_softmax(logits, -1)).sum()

    def slot_loss(
        self, features: Float[Tensor, "cells H"], cells: Sequence[Mapping[str, str]]
    ) -> Float[Tensor, ""]:
        """Cross-entropy of every slot that a cell has, summed over slots and cells."""
        losses = [
            cross_entropy(head(features), self._values(slot, cells), reduction="sum")
            for slot, head in self.heads.items()
        ]
        return torch.stack(losses).sum()

    @torch.no_grad()
    def accuracy(self, examples: Sequence[Example]) -> dict[str, float]:
        """Share of cells that each slot's classifier gets right, in percent."""
        features, cells = self.read(examples)
        shares = {}
        for slot, head in self.heads.items():
            values = self._values(slot, cells)
            known = values != _UNKNOWN
            if known.any():
                right = head(features).argmax(-1)[known] == values[known]
                shares[slot] = 100 * right.float().mean().item()
        return shares

    def _values(self, slot: str, cells: Sequence[Mapping[str, str]]) -> Int[Tensor, " cells"]:
        """The number of each cell's word in a slot."""
        words = self.slots[slot]
        numbers = [words.index(cell[slot]) if slot in cell else _UNKNOWN for cell in cells]
        return torch.tensor(numbers, device=self.policy.device)

    def extra_state(self) -> dict[str, Any]:
        return {**super().extra_state(), "heads": self.heads.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self.heads.load_state_dict(state["heads"])
