"""From a dataset to each iteration's examples: which ones follows from the iteration alone."""

import random
from collections.abc import Iterator
from functools import lru_cache

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from repic.types import Example, Examples


def example_index(position: int, size: int, seed: int) -> int:
    """Which example is the ``position``-th to be trained on.

    The first epoch follows the dataset's own order; each later one is a permutation that
    (seed, epoch) determines.
    """
    epoch, place = divmod(position, size)
    return place if epoch == 0 else _epoch_order(epoch, size, seed)[place]


@lru_cache(maxsize=2)
def _epoch_order(epoch: int, size: int, seed: int) -> list[int]:
    order = list(range(size))
    random.Random(f"{seed}/epoch/{epoch}").shuffle(order)
    return order


class IterationBatches(Sampler[list[int]]):
    """Index lists of the iterations that are left, for one rank.

    An iteration takes ``batch_size`` consecutive positions; ranks share them out, and each
    rank's share comes in portions of ``micro_batch``. There is no state to save: a resumed run
    says which iteration comes first.

    Args:
        size: number of examples in the dataset.
        seed: orders the epochs after the first.
        batch_size: examples of an iteration, over all ranks.
        micro_batch: examples of one portion; divides a rank's share.
        iterations: (first, end) of the iterations to come, from 0.
        rank: (this rank, how many there are).
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        batch_size: int,
        micro_batch: int,
        iterations: tuple[int, int],
        rank: tuple[int, int],
    ) -> None:
        if size < 1:
            raise ValueError("data: the dataset has no examples")
        if batch_size % (micro_batch * rank[1]):
            raise ValueError(
                f"batch_size {batch_size} is not a multiple of"
                f" micro_batch {micro_batch} × {rank[1]} processes"
            )
        self.size, self.seed = size, seed
        self.batch_size, self.micro_batch = batch_size, micro_batch
        self.iterations, self.rank = iterations, rank

    def __len__(self) -> int:
        share = self.batch_size // self.rank[1]
        return (self.iterations[1] - self.iterations[0]) * share // self.micro_batch

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in range(*self.iterations):
            mine = self.indices(iteration)
            for first in range(0, len(mine), self.micro_batch):
                yield mine[first : first + self.micro_batch]

    def indices(self, iteration: int) -> list[int]:
        """Which examples are this rank's in an iteration."""
        rank, ranks = self.rank
        start = iteration * self.batch_size
        mine = range(start + rank, start + self.batch_size, ranks)
        return [example_index(position, self.size, self.seed) for position in mine]


class ExampleModule(pl.LightningDataModule):
    """Lists of examples for a Lightning module, in the order that ``batches`` gives.

    Args:
        dataset: ``dataset[i]`` is the i-th example; pictures are loaded later, when needed.
        batches: index lists.
        num_workers: processes that make examples ahead of time; 0 makes them in this one.
    """

    def __init__(self, dataset: Examples, *, batches: IterationBatches, num_workers: int) -> None:
        super().__init__()
        self.dataset, self.batches, self.num_workers = dataset, batches, num_workers

    def train_dataloader(self) -> DataLoader[list[Example]]:
        return DataLoader(
            self.dataset,  # pyright: ignore[reportArgumentType]  # it has what a Dataset needs
            batch_sampler=self.batches,
            collate_fn=list,
            num_workers=self.num_workers,
        )

    def examples_of(self, iteration: int) -> list[Example]:
        """Return this rank's examples of an iteration, whatever is being trained on."""
        return [self.dataset[index] for index in self.batches.indices(iteration)]

    def transfer_batch_to_device(
        self, batch: list[Example], device: torch.device, dataloader_idx: int
    ) -> list[Example]:
        return batch  # examples hold no tensors; the engine moves what it makes of them
