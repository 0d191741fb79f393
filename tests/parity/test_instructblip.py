"""The real InstructBLIP class comes in by the same door, and is asked in three forms."""

from pathlib import Path

import pytest
import torch
from transformers import (
    BlipImageProcessorPil,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    PreTrainedTokenizerFast,
)

from repic.captioners.captioner import Labels
from repic.captioners.model import ModelCaptioner
from repic.captioners.zero_shot import Montage, ZeroShot
from repic.models.engine.plain import PlainEngine
from repic.models.soft_tokens import SoftTokens
from repic.toybox.scene import portrait
from repic.toybox.world import toys
from repic.types import Example, Friend, ImageSource, Reference
from tests.tiny import bpe_tokenizer, load, sampling

SPECIAL = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
LENGTH = 30  # longer than what the library draws where nobody says how long
BO, TI = (portrait(toy, str(i), scale=1.0) for i, toy in enumerate(toys("test")[:2]))


def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe_tokenizer(SPECIAL),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
        padding_side="left",
    )


@pytest.fixture(scope="module")
def instructblip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instructblip")
    small = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    text = dict(model_type="llama", max_position_embeddings=512, vocab_size=len(tokenizer()))
    config = InstructBlipConfig(
        vision_config={**small, "image_size": 28, "patch_size": 14},
        qformer_config={**small, "vocab_size": len(tokenizer()), "encoder_hidden_size": 32},
        text_config={**small, **text, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 4},
        num_query_tokens=4,
        image_token_index=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        InstructBlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": 28, "width": 28})
    InstructBlipProcessor(images, tokenizer(), tokenizer(), num_query_tokens=4).save_pretrained(
        folder
    )
    # Its processor puts the picture's places before the words, so the template writes none.
    words = "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}"
    template = f"{{% for m in messages %}}{words}{{% endfor %}}"
    (folder / "chat_template.jinja").write_text(template)
    return folder


def example(name: str = "a", picture: ImageSource = BO) -> Example:
    return Example(name, "caption", (), picture, "Who is it?", "a red hat", (), (), 1)


def test_it_says_what_the_library_s_generate_says_as_long_as_it_is_told(
    instructblip: Path,
) -> None:
    policy, engine = load(instructblip), PlainEngine()
    told = sampling(temperature=0.0, max_new_tokens=LENGTH)
    rollouts = engine.sample(policy, [example()], group_size=1, sampling=told, seed=0)
    inputs = policy.encoder.library_inputs(policy.encoder.prompts([example()])[0])
    own = load(instructblip).network
    with torch.no_grad():
        rows = own.generate(**inputs, max_new_tokens=LENGTH, do_sample=False)
    expected = rows[0, inputs["input_ids"].shape[1] :]
    assert len(rollouts[0].completion_ids) == len(expected) == LENGTH
    assert torch.equal(rollouts[0].completion_ids, expected)
    scored = engine.logprobs(policy, rollouts)
    torch.testing.assert_close(scored.logprobs[0], rollouts[0].logprobs, atol=1e-5, rtol=1e-5)


def test_three_forms_of_asking_it(instructblip: Path) -> None:
    model = ModelCaptioner(
        Labels("InstructBLIP", "InstructBLIP", is_shared=True, has_model=True),
        "instructblip",
        None,
        load=lambda: load(instructblip),
        engine=PlainEngine(),
        sampling=sampling(temperature=0.0, max_new_tokens=4),
        batch_size=2,
    )
    references = (Reference("<bo>", None, BO), Reference("<ti>", "a red cat", TI))
    asked = [Example("a", "caption", references, TI, "Who is it?", "", (), (), 2)]
    known = [Friend("<bo>", "a green bear", "bear", ())]
    found = {}
    for form in ("nothing", "text", "montage"):
        asks = "Above: {names}. {question}"
        system = ZeroShot(label=form, on=None, needs=0, form=form, asks=asks).bind(model)
        system.meet(known, {})
        (found[form],) = system.reword(asked)
        assert len(system.write(asked)) == 1
    assert found["nothing"].references == ()
    infos = [(r.name, r.info, r.image) for r in found["text"].references]
    assert infos == [("<bo>", "a green bear", None), ("<ti>", "a red cat", None)]
    assert found["montage"].question == "Above: <bo>, <ti>. Who is it?"
    whole = found["montage"].query
    assert isinstance(whole, Montage)
    drawn = whole.load()
    assert drawn.size == (64, 64 + 25)
    below = drawn.crop((0, 25, 64, 89))
    assert below.tobytes() == TI.load().tobytes()
    assert drawn.crop((0, 0, 25, 25)).tobytes() == BO.load().resize((25, 25)).tobytes()


def test_vectors_cannot_be_put_into_its_prompts(instructblip: Path) -> None:
    with pytest.raises(ValueError, match=r"vectors cannot be put into its prompts.*another model"):
        SoftTokens(load(instructblip), hidden=["<|a|>"])
