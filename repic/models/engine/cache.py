"""Keys and values of a batch that decodes: a prompt's once, and a row of each rollout's own."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repic.models.engine.kernels import attend_few
from repic.models.engine.packing import PackedRow

_FIRST_CAPACITY = 32  # tokens; doubled when they are used up
# Rows are moved together when at most this share of them is left; where that means a new graph,
# less often.
_WORTH_MOVING, _WORTH_CAPTURING = 0.75, 0.5


class GroupCache:
    """The prompts of B groups, and what the ``width`` rollouts of each have said so far.

    Args:
        lengths: of the prompts.
        width: rollouts of each prompt.
        capacity: most tokens that a rollout may feed, if all steps shall have the same shapes, as
            a CUDA graph needs them; None lets the rollouts' part grow.
    """

    def __init__(self, lengths: Sequence[int], width: int, *, capacity: int | None = None) -> None:
        self.lengths, self.width, self.capacity = list(lengths), width, capacity
        self.steps = 0  # tokens that every rollout has fed
        self._place: Tensor | None = None  # the same on the device, where shapes are fixed
        self._prompts: dict[int, tuple[Tensor, Tensor]] = {}  # by layer: [B, H_kv, P, D] each
        self._own: dict[int, tuple[Tensor, Tensor]] = {}  # by layer: [B * width, H_kv, room, D]
        self._padding: Tensor | None = None  # [B, 1, 1, P], added to scores

    def filling(self, row: PackedRow, first: int) -> "_Filling":
        """Return what attends inside packed prompts and keeps their keys and values.

        Args:
            first: the number of the first of these prompts.
        """
        return _Filling(self, row, first)

    def put(self, layer: int, place: int, key: Tensor, value: Tensor) -> None:
        """Keep one prompt's keys and values, each [H_kv, P, D]."""
        if layer not in self._prompts:
            shape = (len(self.lengths), key.shape[0], max(self.lengths), key.shape[2])
            self._prompts[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        for kept, new in zip(self._prompts[layer], (key, value), strict=True):
            kept[place, :, : new.shape[1]] = new

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "rows H 1 D"],
        key: Float[Tensor, "rows H_kv 1 D"],
        value: Float[Tensor, "rows H_kv 1 D"],
        *,
        scale: float,
    ) -> Float[Tensor, "rows 1 H D"]:
        """Attend from each rollout's newest token; see ``engine.attention.Packing``."""
        keys, values = self._append(layer, key, value)
        rows, heads, _, size = query.shape
        kv_heads, groups = key.shape[1], rows // self.width
        # Heads that share keys, and rollouts that share a prompt, are queries of one call.
        own_query = query.reshape(rows, kv_heads, -1, size)
        shared = own_query.view(groups, self.width, kv_heads, -1, size).transpose(1, 2)
        shared = shared.reshape(groups, kv_heads, -1, size)
        prompt, prompt_lse = attend_few(
            shared, *self._prompts[layer], mask=self._padding_mask(query), scale=scale
        )
        own, own_lse = attend_few(
            own_query, keys, values, mask=self._future_mask(keys), scale=scale
        )
        prompt = prompt.view(groups, kv_heads, self.width, -1, size).transpose(1, 2)
        prompt_lse = prompt_lse.view(groups, kv_heads, self.width, -1).transpose(1, 2)
        # Put together by their normalizers: see repic.models.engine.attention.
        share = (prompt_lse.reshape(own_lse.shape) - own_lse).sigmoid_()[..., None]
        both = own.to(share.dtype).lerp(prompt.reshape(own.shape).to(share.dtype), share)
        return both.to(query.dtype).reshape(rows, 1, heads, size)

    def keep(self, is_going: Bool[Tensor, " rows"]) -> Int[Tensor, " kept"]:
        """Drop finished rollouts if that makes the batch much smaller, and say which rows stay.

        Every group keeps as many rows as the one with most left, so that a batch stays a block.
        """
        groups = is_going.unflatten(0, (-1, self.width))
        left = groups.sum(dim=1)
        width, stay = int(left.max()), left.nonzero().squeeze(-1)
        worth = _WORTH_MOVING if self.capacity is None else _WORTH_CAPTURING
        if len(stay) * width > worth * len(is_going):
            return torch.arange(len(is_going), device=is_going.device)
        # Those that go on come first, each in its old order.
        order = groups[stay].byte().argsort(dim=1, descending=True, stable=True)[:, :width]
        rows = (stay[:, None] * self.width + order).flatten()
        self._own = {layer: (k[rows], v[rows]) for layer, (k, v) in self._own.items()}
        if len(stay) < len(groups):
            self.lengths = [self.lengths[i] for i in stay.tolist()]
            longest = max(self.lengths)
            self._prompts = {
                layer: (k[stay, :, :longest], v[stay, :, :longest])
                for layer, (k, v) in self._prompts.items()
            }
            self._padding = None
        self.width = width
        return rows

    def advance(self) -> None:
        """Go on to the next token, after all layers have seen the newest."""
        self.steps += 1
        if self._place is not None:
            self._place += 1

    def _append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add each rollout's newest key and value, and return all of its own."""
        if self.capacity is not None:
            return self._append_in_place(layer, key, value, self.capacity)
        if layer not in self._own:
            shape = (*key.shape[:2], _FIRST_CAPACITY, key.shape[3])
            self._own[layer] = (key.new_empty(shape), value.new_empty(shape))
        if self.steps == self._own[layer][0].shape[2]:
            keys, values = self._own[layer]
            self._own[layer] = (
                torch.cat([keys, torch.empty_like(keys)], dim=2),
                torch.cat([values, torch.empty_like(values)], dim=2),
            )
        keys, values = self._own[layer]
        for kept, new in zip((keys, values), (key, value), strict=True):
            kept.narrow(2, self.steps, 1).copy_(new)
        return keys.narrow(2, 0, self.steps + 1), values.narrow(2, 0, self.steps + 1)

    def _append_in_place(
        self, layer: int, key: Tensor, value: Tensor, capacity: int
    ) -> tuple[Tensor, Tensor]:
        """The same where shapes are fixed: what is not fed yet is returned too."""
        if layer not in self._own:
            shape = (*key.shape[:2], capacity, key.shape[3])
            # Zeros, as a weight of 0 times what memory happens to hold might be NaN.
            self._own[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        if self._place is None:
            self._place = torch.tensor([self.steps], device=key.device)
        for kept, new in zip(self._own[layer], (key, value), strict=True):
            kept.index_copy_(2, self._place, new)
        return self._own[layer]

    def _padding_mask(self, like: Tensor) -> Tensor | None:
        """Minus infinity where a prompt has ended; None if all are equally long."""
        if len(set(self.lengths)) == 1:
            return None
        if self._padding is None:
            lengths = torch.tensor(self.lengths, device=like.device)[:, None, None, None]
            ended = torch.arange(max(self.lengths), device=like.device) >= lengths
            self._padding = like.new_zeros(ended.shape).masked_fill_(ended, -torch.inf)
        return self._padding

    def _future_mask(self, keys: Tensor) -> Tensor | None:
        """Minus infinity where shapes are fixed and nothing is fed yet."""
        if self._place is None:
            return None
        is_future = torch.arange(keys.shape[2], device=keys.device) > self._place
        return keys.new_zeros(1, 1, 1, len(is_future)).masked_fill_(is_future, -torch.inf)


class _Filling:
    """Attends inside packed prompts, and hands their keys and values over."""

    def __init__(self, cache: GroupCache, row: PackedRow, first: int) -> None:
        self.cache, self.row, self.first = cache, row, first

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "1 H L D"],
        key: Float[Tensor, "1 H_kv L D"],
        value: Float[Tensor, "1 H_kv L D"],
        *,
        scale: float,
    ) -> Float[Tensor, "1 L H D"]:
        """See ``repic.models.engine.attention.Packing``."""
        for place, span in enumerate(self.row.spans, start=self.first):
            self.cache.put(layer, place, key[0, :, span.prompt], value[0, :, span.prompt])
        return self.row.attend(layer, query, key, value, scale=scale)
