"""Weights that are shared out: each process keeps a slice of every matrix, and of its gradient.

FSDP2 (``torch.distributed.fsdp.fully_shard``). Each layer of the language model is gathered as it
computes and let go of behind it; what remains (embeddings, head, a tower that is trained) makes the
root, and is gathered for a whole pass. A frozen tower stays whole everywhere.

Processes that gather wait for one another, so they must do so equally often. An update gathers once
a portion (``Policy.run``), whatever is in it. Where their numbers of steps differ, as in decoding,
all weights are gathered before, and none inside (``gathered``).
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from repic.models.deferred import DeferredWeight, fill
from repic.models.families import Family

T = TypeVar("T")


class Sharding:
    """How one model's weights are shared out.

    Args:
        model: whole, or with deferred weights; its weights are on this process's device then, and
            those that are no part of a frozen tower are slices.
        family: knows the language model's layers.
        device: where this process computes; all processes there are take part.
    """

    def __init__(self, model: nn.Module, family: Family, device: torch.device) -> None:
        from torch.distributed import get_world_size
        from torch.distributed.device_mesh import init_device_mesh

        self.family, self.device = family, device
        self.mesh = init_device_mesh(device.type, (get_world_size(),))
        # What the copier finds in its memo it takes as it is: nothing is copied.
        places: dict[int, Any] = {
            id(p): p
            if self._is_whole(name, p)
            else DeferredWeight.place(p.shape, p.dtype, requires_grad=p.requires_grad)
            for name, p in model.named_parameters()
        }
        self._skeleton = copy.deepcopy(model, places)
        self._shard(model, DeferredWeight.read)

    def copy_of(self, model: nn.Module) -> nn.Module:
        """A frozen model of the same kind, shared out alike, with memory for its weights.

        Args:
            model: whose frozen tower it has as well.
        """
        own = dict(model.named_parameters())
        places = {
            id(p): own[name] if self._is_whole(name, p) else p
            for name, p in self._skeleton.named_parameters()
        }
        other = copy.deepcopy(self._skeleton, places)
        self._shard(other, lambda place: torch.empty(place.shape, dtype=place.dtype))
        other.eval().requires_grad_(False)
        return other

    def _is_whole(self, name: str, parameter: nn.Parameter) -> bool:
        return not (parameter.requires_grad or self.family.is_language(name))

    def _shard(self, model: nn.Module, make: Callable[[DeferredWeight], Tensor]) -> None:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        for layer in self._layers(model):
            fully_shard(fill(layer, make), mesh=self.mesh)
        fill(model, make)
        whole = {p for name, p in model.named_parameters() if self._is_whole(name, p)}
        root: Any = model
        root.run = MethodType(_run, model)
        fully_shard(root, mesh=self.mesh, ignored_params=whole, reshard_after_forward=False)
        register_fsdp_forward_method(root, "run")
        model.to(self.device)

    def _layers(self, model: nn.Module) -> list[nn.Module]:
        name = f"{self.family.language}.layers"
        found = [m for path, m in model.named_modules() if path.endswith(name)]
        if len(found) != 1:
            raise ValueError(
                f"trainer=fsdp: finds no {name} in {type(model).__name__}, so it does not know"
                " what to share out; use trainer=ddp"
            )
        return list(found[0].children())


def run(model: nn.Module, work: Callable[[], T]) -> T:
    """Let a sharded model do its work of one pass, and of its gradients later."""
    root: Any = model
    return root.run(work)


def _run(_: nn.Module, work: Callable[[], T]) -> T:
    return work()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Hold whole weights on every process inside this context, in which none waits for another."""
    from torch.distributed.fsdp import FSDPModule

    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    run(model, lambda: None)  # the first one to compute is taken for the root
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


def whole(weight: Tensor) -> Tensor:
    """A weight as it is without sharding; all processes ask together."""
    value: Any = weight.detach()
    return value.full_tensor() if is_slice(value) else value


def own_slice(weight: Tensor) -> Tensor:
    """What this process keeps of a weight; in the same memory."""
    value: Any = weight.detach()
    return value.to_local() if is_slice(value) else value


def is_slice(value: Any) -> bool:
    """Whether a process has only a slice of a tensor."""
    return hasattr(value, "full_tensor")


def slice_like(value: Tensor, other: Tensor) -> Tensor:
    """Of a whole tensor that all processes have, what ``other`` keeps of its kind."""
    from torch.distributed.tensor import distribute_tensor

    kind: Any = other
    if not is_slice(other) or is_slice(value) or value.shape != other.shape:
        return value
    moved = value.to(kind.to_local().device)
    return distribute_tensor(moved, kind.device_mesh, kind.placements, src_data_rank=None)
