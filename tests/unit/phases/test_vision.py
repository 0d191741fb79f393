"""Teaching the tower words for every square: the loss by hand, what moves, and what is kept."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from repic.models.engine.plain import PlainEngine
from repic.phases.vision import VisionModule
from repic.types import Example, ImageSource
from tests.fakes import Noise, example
from tests.tiny import load

SLOTS = {"colour": ("red", "green"), "species": ("bear", "cat", "pig")}
RED_BEAR = {"colour": "red", "species": "bear"}
GREEN_PIG = {"colour": "green", "species": "pig"}


class Recorder:
    """Stands for the monitor."""

    saved = 0

    def log(self, metrics: Mapping[str, float], iteration: int) -> None: ...

    def iteration_end(
        self, module: Any, metrics: Mapping[str, float], optimizer: torch.optim.Optimizer
    ) -> None:
        self.metrics = dict(metrics)


def labels(image: ImageSource, rows: int, columns: int) -> list[Mapping[str, str] | None]:
    """The first cell is unclear, the others show what the picture's seed says."""
    content = RED_BEAR if image.key.startswith("noise:0") else GREEN_PIG
    return [None, *[content] * (rows * columns - 1)]


def module(folder: Path, unspoken: Sequence[str] = ()) -> VisionModule:
    return VisionModule(
        labels=labels,
        slots=SLOTS,
        unspoken=unspoken,
        policy=load(folder),
        engine=PlainEngine(),
        optimizer=partial(torch.optim.AdamW, lr=1e-2),
        schedule=lambda iteration, total: 1.0,
        iterations=1,
        micro_batches=1,
        grad_clip=1.0,
        seed=0,
        monitor=Recorder(),
    )


def pictures() -> Sequence[Example]:
    return [example(f"e{i}", [], Noise(i, 56, 56)) for i in range(2)]


def test_word_loss_by_hand(folder: Path) -> None:
    """A feature that is zero sees all V words alike; twice ``√H e`` of one word is nearly sure."""
    made = module(folder)
    embeddings = made.policy.network.get_input_embeddings().weight
    size, width = embeddings.shape
    with torch.no_grad():
        embeddings.zero_()
        for place, word in enumerate(made.token_ids):
            embeddings[made.token_ids[word], place] = 1.0
    cells = [RED_BEAR]
    blank = torch.zeros(1, width)
    assert made.word_loss(blank, cells).item() == pytest.approx(math.log(size))
    both = 20 * math.sqrt(width) * sum(embeddings[made.token_ids[w]] for w in RED_BEAR.values())
    # Both words of the cell at logit 20, all others at 0: each has nearly a half.
    assert made.word_loss(both[None], cells).item() == pytest.approx(math.log(2), abs=1e-4)
    one = 20 * math.sqrt(width) * embeddings[made.token_ids["red"]]
    # "red" is sure, and "bear" is 20 nats away; half of the target is on each.
    assert made.word_loss(one[None], cells).item() == pytest.approx(10, abs=1e-4)


def test_a_word_that_two_slots_hold_counts_twice(folder: Path) -> None:
    made = module(folder)
    width = made.policy.network.get_input_embeddings().weight.shape[1]
    feature = torch.randn(1, width)
    twice = made.word_loss(feature, [{"a": "red", "b": "red", "c": "bear", "d": "cat"}])
    pair = made.word_loss(feature, [{"a": "bear", "b": "cat"}])
    single = made.word_loss(feature, [{"a": "red"}])
    torch.testing.assert_close(twice, (pair + single) / 2)


def test_unspoken_slots_are_for_the_classifiers_only(folder: Path) -> None:
    both, one = module(folder), module(folder, unspoken=["species"])
    features, cells = both.read(pictures())
    colours = [{"colour": cell["colour"]} for cell in cells]
    torch.testing.assert_close(one.word_loss(features, cells), both.word_loss(features, colours))
    torch.testing.assert_close(one.slot_loss(features, cells), both.slot_loss(features, cells))


def test_slots_tell_apart_what_a_set_of_words_does_not(folder: Path) -> None:
    """The same words in other slots are another answer."""
    made = module(folder)
    made.slots = {"body": ("red", "blue"), "hat": ("red", "blue")}
    made.heads = torch.nn.ModuleDict({slot: torch.nn.Linear(2, 2) for slot in made.slots})
    with torch.no_grad():
        for head, signs in zip(made.heads.values(), (1.0, -1.0), strict=True):
            head.weight.copy_(30 * signs * torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
            head.bias.zero_()
    feature = torch.tensor([[1.0, 0.0]])
    assert made.slot_loss(feature, [{"body": "red", "hat": "blue"}]).item() < 1e-6
    assert made.slot_loss(feature, [{"body": "blue", "hat": "red"}]).item() == pytest.approx(120)
    assert made.slot_loss(feature, [{"body": "red"}]).item() < 1e-6  # no hat, no question


def test_only_clear_cells_count_and_features_belong_to_their_pictures(folder: Path) -> None:
    made = module(folder)
    features, cells = made.read(pictures())
    per_picture = len(cells) // 2
    assert (
        per_picture == math.prod(made.policy.encoder.images.encode([Noise(0, 56, 56)])[0].size) - 1
    )
    assert cells == [RED_BEAR] * per_picture + [GREEN_PIG] * per_picture
    alone, _ = made.read(pictures()[1:])
    torch.testing.assert_close(features[per_picture:], alone)


def test_the_tower_learns_and_the_language_model_stays(folder: Path) -> None:
    made = module(folder)
    vision = {id(p) for p in made.policy.vision_parameters()}
    before = {name: p.detach().clone() for name, p in made.policy.named_parameters()}
    optimizer = made.configure_optimizers()
    losses = []
    for _ in range(40):
        loss = made.training_step(list(pictures()), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / 6)
    assert losses[-1] < losses[0] / 2
    assert made.accuracy(pictures()) == {"colour": 100.0, "species": 100.0}
    for name, parameter in made.policy.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == (id(parameter) in vision), name


def test_classifiers_are_kept_with_a_checkpoint(folder: Path) -> None:
    made, other = module(folder), module(folder)
    with torch.no_grad():
        made.heads["colour"].weight.add_(1.0)
    other.load_extra_state(made.extra_state())
    torch.testing.assert_close(other.heads["colour"].weight, made.heads["colour"].weight)
