"""Checkpoints of sharded weights: every process writes its slices, and any number of them reads.

A folder: ``state.pt`` has the state as it is, with empty places for what is sharded; beside it is
what ``torch.distributed.checkpoint`` has written, in which slices are found again by other cuts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from repic import distributed, files
from repic.models.sharding import Sharding, is_slice

_STATE = "state.pt"


def write(path: Path, state: dict[str, Any], *, earlier: Path) -> None:
    """Keep a state whole or not at all; all ranks come here together.

    Args:
        path: of the folder.
        state: nested mappings and lists, with slices or without.
        earlier: where the last one is kept, if there is any.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    slices: dict[str, Tensor] = {}

    def take(value: Tensor, key: str) -> Tensor:
        if not is_slice(value):
            return value
        slices[key] = value
        return torch.empty(value.shape, dtype=value.dtype, device="meta")

    kept = _mapped(state, take)

    def fill(part: Path | None) -> None:
        folder = distributed.from_main(part)
        save(slices, storage_writer=FileSystemWriter(str(folder)))
        if part is not None:
            torch.save(kept, part / _STATE)

    if distributed.rank() == 0:
        files.write_folder(path, fill, earlier=earlier)
    else:
        fill(None)


def read(path: Path, sharding: Sharding | None) -> dict[str, Any]:
    """Return a state, with slices as this process has them, or whole tensors without sharding.

    A file of whole tensors is read as well. All ranks come here together.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    file = path / _STATE if path.is_dir() else path
    state = torch.load(file, map_location="cpu", weights_only=True)
    slices: dict[str, Tensor] = {}

    def place(value: Tensor, key: str) -> Tensor:
        if value.is_meta:
            value = slices[key] = _empty(value, sharding)
        return value

    state = _mapped(state, place)
    if slices:
        reader = FileSystemReader(str(path))
        load(slices, storage_reader=reader, no_dist=not dist.is_initialized())
    return state


def _empty(value: Tensor, sharding: Sharding | None) -> Tensor:
    if sharding is None:
        return torch.empty(value.shape, dtype=value.dtype)
    from torch.distributed.tensor import Shard, empty

    cut = [Shard(0)]  # as ``fully_shard`` does
    return empty(value.shape, dtype=value.dtype, device_mesh=sharding.mesh, placements=cut)


def _mapped(value: Any, change: Callable[[Tensor, str], Tensor], key: str = "") -> Any:
    """Change every tensor of nested values; keys say where each one is."""
    if isinstance(value, Tensor):
        return change(value, key)
    if isinstance(value, dict):
        return {name: _mapped(part, change, f"{key}/{name}") for name, part in value.items()}
    if isinstance(value, list):
        return [_mapped(part, change, f"{key}/{number}") for number, part in enumerate(value)]
    return value
