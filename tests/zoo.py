"""A tiny model of every family in the table, built from its config alone: a new row is tested once it is there."""

import inspect
import re
from dataclasses import fields, is_dataclass
from functools import cache

import pytest
import tiny  # noqa: F401  one thread
import torch
import transformers
from packaging.version import Version
from transformers import AutoConfig

from infoprune.families import FAMILIES

AUTO = {
    "classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
    "causal-lm": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "speech-recognition": "AutoModelForSpeechSeq2Seq",
    "embedding": "AutoModel",
    "ctc": "AutoModelForCTC",
    "image-text-to-text": "AutoModelForImageTextToText",
}
KINDS = {  # where no automatic class has what is served
    "clip_text_model": "CLIPTextModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip_text_model": "SiglipTextModel",
}
INNER = {"smolvlm": {"text_config": "llama"}, "idefics3": {"text_config": "llama"}}  # model types within others
SIZES = {
    "vocab_size": 100,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "max_position_embeddings": 80,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "image_size": 8,
    "patch_size": 4,
    "num_labels": 3,
    "relative_attention": True,  # DeBERTa: not the default, but what every published one has
    "pos_att_type": ["p2c", "c2p"],
    "sliding_window": 8,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
    "d_kv": 8,
    "num_decoder_layers": 2,
    "d_model": 48,
    "num_mel_bins": 6,
    "max_source_positions": 12,
    "max_target_positions": 80,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "intermediate_size": 40,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "first_k_dense_replace": 0,
    "routed_scaling_factor": 1.5,
    "kv_lora_rank": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "mlp_ratio": 1,
    "num_register_tokens": 2,
    "conv_dim": [8, 8],
    "conv_stride": [3, 2],
    "conv_kernel": [4, 2],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "image_token_id": 4,
    "scale_factor": 1,
}
OWN = {  # what other families' configs have not, or call otherwise
    "cohere": {"use_qk_norm": True},
    "granite": {"residual_multiplier": 0.3, "embedding_multiplier": 3.0, "attention_multiplier": 0.2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8, "num_layers": 2},
    "gpt_bigcode": {"attention_softmax_in_fp32": False, "scale_attention_softmax_in_fp32": False},
    "gptj": {"rotary_dim": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"], "intermediate_size": 40, "block_auto_adjust_ff_dim": False},
    "qwen3_5_text": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 4,
        "linear_value_head_dim": 4,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
    },
}
NEURONS = 40
NAMES = {
    "model_type",
    "models",
    "since",
    "requires",
    "config",
    "tables_config",
    "attributes",
    "unit_size",
    "tables",
    "heads",
}


def form(value, field=None):
    """A table without its names: what is done with one table is done with another of this form."""
    if is_dataclass(value):
        return tuple(form(getattr(value, each.name), each.name) for each in fields(value) if each.name not in NAMES)
    if isinstance(value, tuple):
        return tuple(form(each) for each in value)
    return "" if isinstance(value, str) and field != "task" else value


FORMS = list({form(family): name for name, family in reversed(FAMILIES.items())}.values())[::-1]
"""The first family with a table of each form, for laws that take longer and do not depend on names."""
MASKABLE = [name for name in FORMS if not any(row.experts for row in FAMILIES[name].sites)]
"""Those whose units can be masked in training."""
each_form = pytest.mark.parametrize("family", FORMS, indirect=True)


def tiny_config(model_type, **settings):
    """A config with the sizes above, as far as the family has words for them; skips what needs a later transformers."""
    since = FAMILIES[model_type].since
    if since is not None and Version(transformers.__version__) < Version(since):
        pytest.skip(f"{model_type} needs transformers {since}")
    config_class = AutoConfig.for_model(model_type).__class__
    chosen = dict(sizes_of(model_type, config_class, {"num_labels", "decoder_start_token_id"}))
    for name, inner in config_class.sub_configs.items():
        kind = INNER.get(model_type, {}).get(name)
        inner = inner if kind is None else AutoConfig.for_model(kind).__class__
        chosen[name] = dict(sizes_of(model_type, inner, set(), f"{name}.")) | (
            {} if kind is None else {"model_type": kind}
        )
    return config_class(**(chosen | {"architectures": []} | OWN.get(model_type, {}) | settings))


def sizes_of(model_type, config_class, general, prefix=""):
    """The sizes that a config, or one within another, has fields for."""
    known = {*inspect.signature(config_class).parameters, *config_class.attribute_map}
    own = {field.name.removeprefix(prefix) for field in ffn_fields(model_type) if field.name.startswith(prefix)}
    own = {name for name in own if "." not in name}  # the others are those of a config within
    sizes = SIZES | dict.fromkeys(own, NEURONS) | dict(() if prefix else FAMILIES[model_type].requires)
    if "kv_lora_rank" in known:  # then every head has keys and values of its own
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    return [(name, value) for name, value in sizes.items() if name in known | general | own]


def has_experts(model_type):
    return any(row.experts for row in FAMILIES[model_type].sites)


def ffn_fields(model_type):
    rows = [row for stack in FAMILIES[model_type].stacks.values() for row in stack.sites]
    return [field for row in rows if row.structure == "ffn" for field in row.config]


def kind_of(model_type):
    """The class of a family's usual task."""
    if model_type in KINDS:
        return getattr(transformers, KINDS[model_type])
    classes = getattr(transformers, AUTO[FAMILIES[model_type].task])._model_mapping[type(tiny_config(model_type))]
    return classes[0] if isinstance(classes, tuple) else classes


def build(model_type, dtype=torch.float64, auto=None, seed=0, **settings):
    """A model whose weights are all drawn from the seed, in evaluation mode."""
    config = tiny_config(model_type, **settings)
    auto = getattr(transformers, auto or KINDS.get(model_type) or AUTO[FAMILIES[model_type].task])
    make = auto._from_config if issubclass(auto, transformers.PreTrainedModel) else auto.from_config
    # the default of experts has no products in float64
    implementation = {"experts_implementation": "eager"} if has_experts(model_type) else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make(config, dtype=dtype, **implementation)
        # it computes positions as it is built, and from_pretrained of transformers 5 builds in float32
        if model_type == "gptj" and Version(transformers.__version__) >= Version("5"):
            model = make(config, dtype=torch.float32).to(dtype)
        fixed = "|".join(model._keys_to_ignore_on_save or ()) or "^$"
        for name, parameter in model.named_parameters():
            if re.search(fixed, name):
                continue
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.1)
            else:
                torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


@cache
def inputs(model_type, lengths=((5, 9, 12), (11, 4))):
    """Two batches, padded if they are texts."""
    generator = torch.Generator().manual_seed(1)
    if FAMILIES[model_type].reads == ("pictures",):
        return tuple({"pixel_values": torch.randn(len(rows), 3, 8, 8, generator=generator)} for rows in lengths)
    batches = []
    for rows in lengths:
        mask = (torch.arange(max(rows)) < torch.tensor(rows)[:, None]).long()
        ids = torch.randint(5, 100, mask.shape, generator=generator) * mask
        batches.append({"input_ids": ids, "attention_mask": mask})
        if FAMILIES[model_type].task == "ctc":  # a frame takes 6 samples, and 1 more at the end
            batches[-1] = {"input_values": torch.randn(len(rows), 6 * max(rows) + 1, generator=generator)}
            ends = (6 * torch.tensor(rows) + 1)[:, None]
            batches[-1]["attention_mask"] = (torch.arange(6 * max(rows) + 1) < ends).long()
        if FAMILIES[model_type].task == "speech-recognition":
            batches[-1] = {"input_features": torch.randn(len(rows), 6, 24, generator=generator)}
        if FAMILIES[model_type].decoder is not None:  # what the decoder reads has other lengths
            targets = {"decoder_input_ids": ids.flip(0), "decoder_attention_mask": mask.flip(0)}
            batches[-1] |= {name: value[:, :-1] for name, value in targets.items()}
    if "pictures" in FAMILIES[model_type].reads:
        for batch, rows in zip(batches, lengths, strict=True):
            batch["pixel_values"] = torch.randn(len(rows), 3, 8, 8, generator=generator)
            if FAMILIES[model_type].task == "image-text-to-text":  # whose four patches stand for four tokens
                batch["pixel_values"] = batch["pixel_values"][:, None]
                batch["input_ids"][:, :4] = 4
    if "siglip" in model_type:  # which reads padding as it reads text
        batches = [{name: each for name, each in batch.items() if name != "attention_mask"} for batch in batches]
    return tuple(batches)


def long_inputs(model_type):
    """More tokens than any reader has inputs."""
    return tuple(cast(inputs(model_type, ((30, 26, 30, 28, 30) * 4,) * 2), torch.float64))


def cast(batches, dtype):
    """Pictures in a model's precision."""
    return [{name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.items()} for batch in batches]


def embeddings(model, output):
    """What a model without a head gives for a text, a picture or both."""
    named = [output[name] for name in ("text_embeds", "image_embeds") if name in output]
    return torch.cat(named or [output[FAMILIES[model.config.model_type].embedding]], -1)


def answers(model, batches):
    """All outputs at real tokens."""
    if has_experts(model.config.model_type):
        model.set_experts_implementation("eager")
    found = []
    with torch.no_grad():
        for batch in cast(batches, next(model.parameters()).dtype):
            output = model(**batch)
            logits = output["logits"] if "logits" in output else embeddings(model, output)
            real = batch.get("decoder_attention_mask", batch.get("attention_mask"))
            if "input_values" in batch and logits.ndim == 3:
                real = model._get_feature_vector_attention_mask(logits.shape[1], real)
            found.append(logits[real.bool()] if real is not None and logits.ndim == 3 else logits.flatten(0, -2))
    return torch.cat(found)
