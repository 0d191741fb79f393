"""Directories as the hub has them for the 3B and 7B models, with small random weights in them.

Names of files, of configuration keys and of weights are those of Qwen/Qwen2.5-VL-7B-Instruct and
llava-hf/llava-1.5-7b-hf; only numbers are smaller.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from torch import Tensor

from repic.models.engine.plain import PlainEngine
from repic.models.export import export_policy
from repic.models.policy import Policy
from tests import tiny
from tests.fakes import Noise, example

CONF = Path(__file__).parents[2] / "repic/conf"
IMAGE_MEAN = [0.48145466, 0.4578275, 0.40821073]
IMAGE_STD = [0.26862954, 0.26130258, 0.27577711]


def write(folder: Path, **files: dict) -> None:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def shard(folder: Path, rename: Callable[[str], str], weights: dict[str, Tensor]) -> None:
    """Write bfloat16 weights under the names on the hub, in three files and an index."""
    total, index = 3, {}
    renamed = {rename(name): value.bfloat16() for name, value in weights.items()}
    for part in range(total):
        file = f"model-{part + 1:05}-of-{total:05}.safetensors"
        chosen = dict(list(renamed.items())[part::total])
        save_file(chosen, folder / file, {"format": "pt"})
        index.update(dict.fromkeys(chosen, file))
    write(folder, **{"model.safetensors.index": {"metadata": {}, "weight_map": index}})


def build_qwen_7b(folder: Path) -> dict[str, Tensor]:
    """Lay a small model out as Qwen2.5-VL-7B-Instruct is; return its weights by library name."""
    small = tiny.build_qwen(folder / "small")
    weights = load_weights(small)
    tokenizer = json.loads((small / "tokenizer.json").read_text())
    added = {str(token["id"]): token for token in tokenizer["added_tokens"]}
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    shutil.copy(small / "tokenizer.json", folder)
    vocab = {k: v for k, v in tokenizer["model"]["vocab"].items() if k not in ids}
    merges = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges), encoding="utf-8")
    vision = {
        "depth": 2,
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "in_chans": 3,
        "out_hidden_size": 32,
        "patch_size": 7,
        "spatial_merge_size": 2,
        "spatial_patch_size": 7,
        "window_size": 28,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
        "temporal_patch_size": 2,
    }
    config = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "max_position_embeddings": 128000,
        "max_window_layers": 2,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": vision,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vocab_size": weights["lm_head.weight"].shape[0],
    }
    write(
        folder,
        config=config,
        vocab=vocab,
        chat_template={"chat_template": tiny.QWEN_CHAT},
        tokenizer_config={
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": added,
            "additional_special_tokens": tiny.QWEN_SPECIAL[1:],
            "bos_token": None,
            "chat_template": tiny.QWEN_CHAT,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 131072,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
        generation_config={
            "bos_token_id": ids["<|endoftext|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "do_sample": True,
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "repetition_penalty": 1.05,
            "temperature": 0.000001,
        },
        preprocessor_config={
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 7,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": IMAGE_MEAN,
            "image_std": IMAGE_STD,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    shard(
        folder,
        lambda name: name.replace("model.language_model.", "model.").replace(
            "model.visual.", "visual."
        ),
        weights,
    )
    shutil.rmtree(small)
    return weights


def llama_tokenizer(folder: Path) -> None:
    """Write pieces with a leading mark for spaces, as SentencePiece does."""
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    codes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[*special, *codes], show_progress=False
    )
    tokenizer.train_from_iterator(tiny.CORPUS * 20, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] < 3]
    size = len(content["model"]["vocab"])
    for i, token in enumerate(["<image>", "<pad>"]):
        content["added_tokens"].append({**content["added_tokens"][0]} | {"content": token})
        content["added_tokens"][-1]["id"] = size + i
    (folder / "tokenizer.json").write_text(json.dumps(content))
    write(
        folder,
        tokenizer_config={
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "legacy": False,
            "model_max_length": 1000000000000000019884624838656,
            "pad_token": "<pad>",
            "padding_side": "left",
            "processor_class": "LlavaProcessor",
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
            "use_default_system_prompt": False,
        },
        special_tokens_map={"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        added_tokens={"<image>": size, "<pad>": size + 1},
    )


def build_llava_7b(folder: Path) -> dict[str, Tensor]:
    """Lay a small model out as llava-1.5-7b-hf is; return its weights by library name."""
    small = tiny.build_llava(folder / "small")
    weights = load_weights(small)
    llama_tokenizer(folder)
    image = json.loads((folder / "added_tokens.json").read_text())["<image>"]
    vocab_size = image + 2
    for name in ("lm_head.weight", "model.language_model.embed_tokens.weight"):
        weights[name] = torch.randn(vocab_size, 32) * 0.2
    text = {
        "_name_or_path": "lmsys/vicuna-7b-v1.5",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 32,
        "intermediate_size": 48,
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "torch_dtype": "float16",
        "vocab_size": vocab_size,
    }
    vision = {
        "hidden_size": 32,
        "image_size": 28,
        "intermediate_size": 48,
        "model_type": "clip_vision_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "patch_size": 14,
        "projection_dim": 32,
        "vocab_size": 32000,
    }
    write(
        folder,
        config={
            "architectures": ["LlavaForConditionalGeneration"],
            "ignore_index": -100,
            "image_token_index": image,
            "model_type": "llava",
            "pad_token_id": image + 1,
            "projector_hidden_act": "gelu",
            "text_config": text,
            "torch_dtype": "float16",
            "transformers_version": "4.36.0.dev0",
            "vision_config": vision,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "vocab_size": vocab_size,
        },
        chat_template={"chat_template": tiny.LLAVA_CHAT},
        generation_config={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": image + 1},
        preprocessor_config={
            "crop_size": {"height": 28, "width": 28},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": IMAGE_MEAN,
            "image_processor_type": "CLIPImageProcessor",
            "image_std": IMAGE_STD,
            "processor_class": "LlavaProcessor",
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 28},
        },
        processor_config={
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 14,
            "processor_class": "LlavaProcessor",
            "vision_feature_select_strategy": "default",
        },
    )

    def rename(name: str) -> str:
        name = name.replace("lm_head.", "language_model.lm_head.")
        name = name.replace("model.language_model.", "language_model.model.")
        name = name.replace("model.vision_tower.", "vision_tower.vision_model.")
        return name.replace("model.multi_modal_projector.", "multi_modal_projector.")

    shard(folder, rename, weights)
    shutil.rmtree(small)
    return weights


def load_weights(folder: Path) -> dict[str, Tensor]:
    return dict(tiny.load(folder).network.state_dict())


BUILD = {
    "qwen2_5_vl_7b": build_qwen_7b,
    "qwen2_5_vl_3b": build_qwen_7b,
    "llava_1_5_7b": build_llava_7b,
}


@pytest.fixture(scope="module", params=BUILD)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp(request.param)
    weights = BUILD[request.param](folder)
    return request.param, folder, weights


def load(name: str, folder: Path, **changes: object) -> Policy:
    """Load with the values of conf/model, from another path."""
    config = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"), resolve=False)
    return instantiate({**config, "path": str(folder), "prompt": None, **changes})(
        prompt=tiny.Prompt()
    )


EXAMPLES = [example("a", [Noise(1)], Noise(2, 56, 42)), example("b", query=Noise(3))]
TARGETS = ["a red bear, <bo>", "right"]


def test_weights_arrive_where_they_belong(real: tuple) -> None:
    name, folder, weights = real
    loaded = load(name, folder, lora=None).network.state_dict()
    assert loaded.keys() == weights.keys()
    for key, value in weights.items():
        assert torch.equal(loaded[key], value.bfloat16()), key


def test_sample_score_and_take_a_step(real: tuple, tmp_path: Path) -> None:
    name, folder, _ = real
    policy, engine = load(name, folder), PlainEngine()
    assert {p.dtype for n, p in policy.model.named_parameters() if ".lora_" not in n} == {
        torch.bfloat16
    }
    draw = tiny.sampling(top_k=50, max_new_tokens=6)
    rollouts = engine.sample(policy, EXAMPLES, group_size=2, sampling=draw, seed=0)
    sampled = torch.nn.utils.rnn.pad_sequence([r.logprobs for r in rollouts], batch_first=True)
    scored = engine.logprobs(policy, rollouts).logprobs.detach()
    # Eight bits of mantissa; another batch and another order of sums.
    torch.testing.assert_close(scored, sampled, atol=0.15, rtol=0)

    policy.freeze_reference()
    policy.train()
    before = {n: p.clone() for n, p in policy.model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.Adam(policy.trainable_parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = -engine.target_logprobs(policy, EXAMPLES, TARGETS).logprobs.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    assert all(torch.equal(p, before[n]) for n, p in policy.model.named_parameters() if n in before)
    policy.eval()
    reference = engine.reference_logprobs(policy, rollouts)
    torch.testing.assert_close(reference, scored, atol=1e-4, rtol=0)

    (tmp_path / "out").mkdir()
    export_policy(policy, tmp_path / "out", sampling=tiny.sampling(temperature=0.0))
    again = load(name, tmp_path / "out", lora=None, dtype="float32", train_vision=False)
    exported = engine.target_logprobs(again, EXAMPLES, TARGETS).logprobs
    trained = engine.target_logprobs(policy, EXAMPLES, TARGETS).logprobs
    torch.testing.assert_close(exported, trained, atol=0.3, rtol=0.05)
