"""The engine that computes a prompt and its pictures once for all of its completions.

What comes out is what ``PlainEngine`` computes, up to rounding. A group's prompt goes through the
model once in the rollout, once in the reference and once in the update, gradients and all: the
completions stand behind it in one packed row (``packing.py``), or decode against its keys and
values (``cache.py``), of which there is one copy. A frozen tower sees each picture once.

A family that cannot be packed goes the plain engine's way.

With dropout, rollouts of a group share the masks of their prompt, where rows of their own would
draw one each; the expectation is the same.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repic.models.costs import PACKED
from repic.models.encoder import EncodedPrompt
from repic.models.engine.attention import PACKABLE, install
from repic.models.engine.base import cut
from repic.models.engine.cache import GroupCache
from repic.models.engine.decoding import Drawn, draw
from repic.models.engine.features import FeatureCache
from repic.models.engine.library import runs
from repic.models.engine.logprobs import TokenLogprobs
from repic.models.engine.packed_decoder import PackedDecoder
from repic.models.engine.packing import Group, PackedRow, pack
from repic.models.engine.plain import PlainEngine
from repic.models.engine.sampling import Sampling
from repic.models.policy import Injection, Policy
from repic.types import Example, Rollout, picture_content
from repic.values import AmountOrNone

# Prompts go through the model in portions of so many tokens, whatever the size of the batch.
_PREFILL_TOKENS = 16384


class PackedEngine(PlainEngine):
    """A prompt and its pictures once for all of its completions.

    Args:
        feature_cache: MiB of pictures' features that are kept, where the vision tower and its
            projector are frozen.
        cuda_graphs: on a GPU, decode by repeating a recorded step, whose launch takes no time.
            Memory for all of ``max_new_tokens`` is then taken at once.
    """

    scheme = PACKED

    def __init__(self, *, feature_cache: AmountOrNone, cuda_graphs: bool) -> None:
        super().__init__()
        self.cuda_graphs = cuda_graphs
        self.feature_bytes = feature_cache * 2**20
        self._features: WeakKeyDictionary[Policy, FeatureCache] = WeakKeyDictionary()

    def prepare(self, policy: Policy) -> None:
        """Teach the library's attention about packed rows, or say why that cannot be."""
        config = policy.network.config.get_text_config()
        attention = config._attn_implementation
        if attention not in PACKABLE:
            raise ValueError(
                f"model.attention={attention} cannot compute a prompt once for its group: choose"
                f" {' or '.join(PACKABLE)}, or engine=plain"
            )
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            raise ValueError("the model has layers with a sliding window: choose engine=plain")
        if getattr(config, "attention_dropout", 0.0) and policy.training:
            raise ValueError("the model trains with attention dropout: choose engine=plain")
        install(attention)

    def draw(
        self,
        policy: Policy,
        prompts: Sequence[EncodedPrompt],
        uniforms: Float[Tensor, "N T"],
        sampling: Sampling,
    ) -> Drawn:
        lengths = [len(prompt.input_ids) for prompt in prompts]
        is_sharded = policy.sharding is not None  # whose layers do what cannot be recorded
        captures = self.cuda_graphs and policy.device.type == "cuda" and not is_sharded
        capacity = sampling.max_new_tokens if captures else None
        cache = GroupCache(lengths, len(uniforms) // len(prompts), capacity=capacity)
        last = [
            self._prefill(policy, prompts[part], cache, part.start)
            for part in cut(lengths, _PREFILL_TOKENS)
        ]
        with self.meter.time("decode", policy.device):
            decoder = PackedDecoder(policy, prompts, cache, torch.cat(last), captures=captures)
            return draw(decoder, uniforms, policy=policy, sampling=sampling)

    def split(self, policy: Policy, rollouts: Sequence[Rollout], *, max_tokens: int) -> list[slice]:
        """Cut rollouts into portions of at most ``max_tokens`` tokens, a prompt counted once.

        A group is cut only if it is too long by itself; its prompt is then computed once for
        each portion.
        """
        if policy.family.unpackable is not None:
            return super().split(policy, rollouts, max_tokens=max_tokens)
        prompts = policy.encoder.prompts([rollout.example for rollout in rollouts])
        portions: list[slice] = []
        room = 0
        for group in runs(prompts):
            lengths = [len(rollout.completion_ids) for rollout in rollouts[group]]
            prompt = len(prompts[group.start].input_ids)
            needed = prompt + sum(lengths)
            if needed <= room:
                portions[-1] = slice(portions[-1].start, group.stop)
                room -= needed
            else:
                parts = cut(lengths, max(max_tokens - prompt, 1))
                portions += [slice(group.start + p.start, group.start + p.stop) for p in parts]
                room = max_tokens - needed if len(parts) == 1 else 0
        return portions

    def score(
        self,
        policy: Policy,
        examples: Sequence[Example],
        completions: Sequence[Int[Tensor, " _"]],
        *,
        entropy: bool,
        jumps: float = 0.0,
    ) -> TokenLogprobs:
        if policy.family.unpackable is not None:
            return super().score(policy, examples, completions, entropy=entropy, jumps=jumps)
        self.prepare(policy)
        prompts = policy.encoder.prompts(examples)
        groups = [
            Group(prompts[run.start], tuple(ids[:-1].cpu() for ids in completions[run]))
            for run in runs(prompts)
        ]
        row = pack(
            groups,
            image_token_id=policy.encoder.image_token_id,
            device=policy.device,
            jumps=jumps,
        )
        embeddings, injection = self._embed(policy, groups, row)
        hidden = policy.hidden_states(
            embeddings, position_ids=row.position_ids, packing=row, injection=injection
        )
        computed = sum(len(group.prompt.input_ids) for group in groups)
        self.meter.count(
            prompt=computed,
            completion=row.input_ids.shape[1] - computed,
            saved=sum(len(prompt.input_ids) for prompt in prompts) - computed,
        )
        return policy.score(hidden[0, row.sources], completions, entropy=entropy)

    def pictures(self, policy: Policy) -> FeatureCache:
        """What a policy's vision tower has made of pictures."""
        return self._features.setdefault(policy, FeatureCache(self.feature_bytes))

    def _prefill(
        self, policy: Policy, prompts: Sequence[EncodedPrompt], cache: GroupCache, first: int
    ) -> Float[Tensor, "B H"]:
        """Run prompts, leave keys and values in the cache, and return the last hidden states."""
        groups = [Group(prompt) for prompt in prompts]
        row = pack(groups, image_token_id=policy.encoder.image_token_id, device=policy.device)
        embeddings, injection = self._embed(policy, groups, row)
        with self.meter.time("prefill", policy.device):
            hidden = policy.hidden_states(
                embeddings,
                position_ids=row.position_ids,
                packing=cache.filling(row, first),
                injection=injection,
            )
        return hidden[0, [span.prompt.stop - 1 for span in row.spans]]

    def _embed(
        self, policy: Policy, groups: Sequence[Group], row: PackedRow
    ) -> tuple[Float[Tensor, "1 L H"], Injection | None]:
        """Embed a packed row, with the features of its pictures."""
        embeddings = policy.embed_tokens(row.input_ids)
        shown = [source for group in groups for source in group.prompt.images]
        if not shown:
            return embeddings, None
        with self.meter.time("vision", policy.device):
            features = self.pictures(policy).features(policy, shown)
        return policy.show(
            embeddings, row.image_mask, [features[picture_content(s)] for s in shown]
        )
