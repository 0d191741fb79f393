"""How much attention is paid to, or by, single tokens of a packed row, with gradients."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from repic.models.engine.packing import PackedRow

Watched = Literal["own_row", "to_it"]


class AttentionWatch:
    """A packed row that sums the squares of some attention as it is computed.

    Over layers and tokens the mean of A² is summed, A a token's attention over heads and over the
    tokens of its sequence: "own_row", what it pays to each token (MyVLM's released code for LLaVA);
    "to_it", what each token pays to it (what MyVLM's paper describes, section 3.3). In both, places
    that the causal mask leaves out count as 0.

    Args:
        row: computes the attention, whose groups have one completion each.
        places: of the tokens, one in each group.
        kind: see above.

    Attributes:
        penalty: the sum so far.
    """

    def __init__(self, row: PackedRow, places: Sequence[int], kind: Watched) -> None:
        self.row, self.kind = row, kind
        self.places = list(zip(places, (span.prompt for span in row.spans), strict=True))
        self.penalty: Tensor | float = 0.0

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
        keys = key[0].repeat_interleave(query.shape[1] // key.shape[1], dim=0)
        for place, span in self.places:
            first = place if self.kind == "own_row" else span.start
            last = place + 1 if self.kind == "own_row" else span.stop
            scores = query[0, :, first:last] @ keys[:, span].transpose(1, 2) * scale
            rows = torch.arange(first, last, device=scores.device)[:, None]
            is_later = torch.arange(span.start, span.stop, device=scores.device) > rows
            paid = scores.float().masked_fill(is_later, -torch.inf).softmax(dim=-1)
            if self.kind == "to_it":
                paid = paid[..., place - span.start]
            number = query.shape[1] * (span.stop - span.start)
            self.penalty = self.penalty + paid.square().sum() / number
        return self.row.attend(layer, query, key, value, scale=scale)
