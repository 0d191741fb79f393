"""A small byte-level BPE tokenizer with Qwen2.5-VL's special tokens and chat format.

Any text can be encoded (bytes are the last resort). Syllables are the first merges and words
are built behind a leading space, so that a name between brackets always falls into its
syllables, in prompts and captions alike: that is what lets a model copy a name it has never met.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# Order and spelling of Qwen2.5-VL's added tokens; only their ids differ.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Splits like Qwen2's tokenizer: a letter run takes one leading character, digits stand alone.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(syllables: Sequence[str], words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer in which each syllable and each word is one token.

    Args:
        syllables: two-letter pieces of names.
        words: whole words, with their leading space where they have one in running text.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: i for i, symbol in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    ranks: dict[tuple[str, str], int] = {}

    def add(left: str, right: str) -> None:
        ranks[left, right] = len(merges)
        merges.append((left, right))
        vocab.setdefault(left + right, len(vocab))

    for syllable in syllables:
        add(syllable[0], syllable[1])
    for word in dict.fromkeys(words):
        pieces = _apply(list(word.replace(" ", "Ġ").replace("\n", "Ċ")), ranks)
        while len(pieces) > 1:
            add(pieces[0], pieces[1])
            pieces = _apply(pieces, ranks)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _apply(pieces: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Apply merges in order of rank, as the tokenizer itself does."""
    while True:
        pairs = [(ranks.get(pair, len(ranks)), i) for i, pair in enumerate(pairwise(pieces))]
        best = min(pairs, default=(len(ranks), 0))
        if best[0] == len(ranks):
            return pieces
        i = best[1]
        pieces = [*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :]]
