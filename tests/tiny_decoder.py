"""Tiny language models and byte-level tokenizers, built on the spot."""

import json

import torch
import transformers
from packaging.version import Version
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from infoprune.plan import Plan
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NAMED = ("pad_token", "bos_token", "eos_token")
TEXTS = (
    "The film is long, the plot is thin, and the music comes in whenever somebody has to be moved.",
    "Please tell me where my parcel is: it should have come on Tuesday 1234, and nobody's answered the phone.",
    "  def f(x):\n    return 12345 + x  # L'été, ça va?\n\n\nWE'LL see, ohne Straße, 日本語 и так далее 🙂",
)
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SIZES = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def build_decoder(model_type="llama", seed=0, **settings):
    """Return a model whose weights, biases and norms are all drawn from the seed, in evaluation mode."""
    rope = settings.get("rope_parameters")
    if rope is not None and Version(transformers.__version__) < Version("5"):
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        settings |= {"rope_theta": rope["rope_theta"], "rope_scaling": scaling}
    config = AutoConfig.for_model(model_type, **(SIZES | settings))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.1)
            else:
                torch.nn.init.normal_(parameter, std=0.2)
        model.get_output_embeddings().weight.data[: len(SPECIAL)] = 0  # likelier tokens exist: no text ends
    return model.eval()


def build_words(size=SIZES["vocab_size"]):
    """Return a tokenizer whose tokens are ASCII words, with one merge: any of them is a text of its own."""
    tokens = [*SPECIAL, "a", "b", "ab"]
    tokens += [f"word{index}" for index in range(len(tokens), size)]
    made = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, [("a", "b")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(tokenizer_object=made, **dict(zip(NAMED, SPECIAL, strict=True)))


def build_bpe(steps=None, size=460, edit=None, **settings):
    """Return a byte-level BPE tokenizer of the texts above.

    `steps` are its pre-tokenizers before the bytes (by default GPT-2's words), `edit` changes its tokenizer.json.
    """
    made = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=steps is None or steps[-1:] == ["words"])
    made.pre_tokenizer = pre_tokenizers.Sequence([*(step for step in steps or () if step != "words"), last])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=list(SPECIAL), show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    if edit is not None:
        state = json.loads(made.to_str())
        edit(state)
        made = Tokenizer.from_str(json.dumps(state))
    named = dict(zip(NAMED, SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=TEMPLATE, **(named | settings))


def cut_freely(model, empty=()):
    """Return a model with another number of heads and neurons in every layer, and none at the sites named."""
    units = {site.name: site.units for site in find_sites(model)}
    kept = {}
    for index, (name, n) in enumerate(units.items()):
        heads = name.endswith("heads")
        kept[name] = (
            () if name in empty else tuple(range(1 + index % 4 // 2)) if heads else tuple(range(0, n, 2 + index))
        )
    return apply_plan(model, Plan(model.config.model_type, units, kept, "first", 0))
