"""Lay groups out in one packed row: prompts, the completions behind them, and their positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repic.models.encoder import EncodedPrompt
from repic.models.engine.attention import Span, group_attention
from repic.models.engine.logprobs import draw_jumps


@dataclass(frozen=True)
class Group:
    """A prompt and some completions of it; none for a prefill.

    ``completions`` are what is fed: without their last token, which predicts nothing.
    """

    prompt: EncodedPrompt
    completions: tuple[Int[Tensor, " _"], ...] = ()


@dataclass(frozen=True)
class PackedRow:
    """Groups one after another, without padding, as the language model takes them.

    Attributes:
        input_ids, position_ids: of every token.
        image_mask: True where a picture's feature stands.
        spans: a group each.
        sources: for each token of each completion and the one after its last, in order, the
            place that predicts it: the prompt's last token for the first.
    """

    input_ids: Int[Tensor, "1 L"]
    position_ids: Int[Tensor, "axes 1 L"]
    image_mask: Bool[Tensor, "1 L"]
    spans: tuple[Span, ...]
    sources: Int[Tensor, " predicted"]

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
        return group_attention(query, key, value, self.spans, scale=scale)


def pack(
    groups: Sequence[Group], *, image_token_id: int, device: torch.device, jumps: float = 0.0
) -> PackedRow:
    """Lay groups in one row; see ``draw_jumps`` for completions whose positions jump."""
    ids, positions, is_image, spans, sources = [], [], [], [], []
    start = 0
    for group in groups:
        prompt, completions = group.prompt, group.completions
        lengths = tuple(len(completion) for completion in completions)
        middle = start + len(prompt.input_ids)
        first = prompt.next_position
        steps = [first + torch.arange(n) + draw_jumps(n, jumps) for n in lengths if n]
        axes = len(prompt.position_ids)
        ids += [prompt.input_ids, *completions]
        positions += [prompt.position_ids, *(step.expand(axes, -1) for step in steps)]
        # A completion may hold the placeholder's token too; there it stands for no picture.
        is_image += [prompt.input_ids == image_token_id, torch.zeros(sum(lengths)).bool()]
        spans.append(_span(slice(start, middle), lengths, device))
        place = middle
        for n in lengths:
            sources += [torch.tensor([middle - 1]), torch.arange(place, place + n)]
            place += n
        start = place
    return PackedRow(
        input_ids=torch.cat(ids)[None].to(device),
        position_ids=torch.cat(positions, dim=1)[:, None].to(device),
        image_mask=torch.cat(is_image)[None].to(device),
        spans=tuple(spans),
        sources=torch.cat(sources or [torch.zeros(0, dtype=torch.long)]).to(device),
    )


def _span(prompt: slice, lengths: tuple[int, ...], device: torch.device) -> Span:
    """Where a group's parts are; completions of one token feed none, and have no row."""
    fed = tuple(n for n in lengths if n)
    captions = slice(prompt.stop, prompt.stop + sum(fed))
    if len(fed) == 1:  # an only caption goes on where its prompt ends, and needs no part of its own
        return Span(slice(prompt.start, captions.stop), captions, ())
    if len(set(fed)) <= 1:
        return Span(prompt, captions, fed)
    counts = torch.tensor(fed)
    steps, starts = torch.arange(max(fed)), counts.cumsum(0) - counts
    outside = steps >= counts[:, None]
    grid = (starts[:, None] + steps).where(~outside, starts[:, None])
    order = torch.cat([torch.arange(n) + row * max(fed) for row, n in enumerate(fed)])
    return Span(prompt, captions, fed, *(x.to(device) for x in (grid, outside, order)))
