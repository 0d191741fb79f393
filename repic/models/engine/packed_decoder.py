"""Decoding for all rollouts of a batch, against prompts that are kept once."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repic.models.encoder import EncodedPrompt
from repic.models.engine.cache import GroupCache
from repic.models.policy import Policy


class PackedDecoder:
    """Rollouts that decode against the cache of their groups; see ``repic.models.engine.decoding``.

    Args:
        last: of each prompt, the hidden state that predicts the first token.
        captures: let the device repeat the recorded kernels of a step (a CUDA graph), instead of
            being told them one by one; for a cache with a capacity.
    """

    def __init__(
        self,
        policy: Policy,
        prompts: Sequence[EncodedPrompt],
        cache: GroupCache,
        last: Float[Tensor, "B H"],
        *,
        captures: bool,
    ) -> None:
        self.policy, self.cache, self.captures = policy, cache, captures
        self.axes = len(prompts[0].position_ids)
        positions = torch.tensor([prompt.next_position for prompt in prompts], device=last.device)
        self.next_position = positions.repeat_interleave(cache.width)
        self.logits = policy.logits(last).repeat_interleave(cache.width, dim=0)
        self._step: Callable[[Tensor, Tensor], Tensor] = self._compute
        self._captured_rows = 0

    def keep(self, is_going: Bool[Tensor, " rows"]) -> Int[Tensor, " kept"]:
        kept = self.cache.keep(is_going)
        self.next_position = self.next_position[kept]
        return kept

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        if self.captures and self._captured_rows != len(tokens):  # its tensors are others now
            self._step = CapturedStep(self._compute, tokens, self.next_position)
            self._captured_rows = len(tokens)
        self.logits = self._step(tokens, self.next_position)
        self.cache.advance()
        self.next_position = self.next_position + 1

    def _compute(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows V"]:
        hidden = self.policy.hidden_states(
            self.policy.embed_tokens(tokens[:, None]),
            position_ids=positions[None, :, None].expand(self.axes, -1, -1),
            packing=self.cache,
        )
        return self.policy.logits(hidden[:, -1])


class CapturedStep:
    """A function of two tensors on a GPU, recorded once and then repeated for others.

    Its kernels read and write the same memory each time: the cache's tensors must stay where they
    are, and what is returned is overwritten by the next call.
    """

    def __init__(self, compute: Callable[[Tensor, Tensor], Tensor], *inputs: Tensor) -> None:
        self.inputs = [x.clone() for x in inputs]
        # Libraries prepare themselves on their first call, which must not be recorded. The call
        # writes into the cache what the first repetition will write there again.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            compute(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = compute(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for kept, new in zip(self.inputs, inputs, strict=True):
            kept.copy_(new)
        self.graph.replay()
        return self.output
