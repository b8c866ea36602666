"""A tiny real BERT classifier and its tokenizer, built from a config."""

import string

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

VOCABULARY = 100
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "good",
    "great",
    "fine",
    "bad",
    "poor",
    "dull",
    "film",
    "plot",
    "the",
    "a",
    "is",
    "and",
    "very",
    "not",
    ".",
    "!",
)


def build_tiny_bert(dtype=torch.float32, seed=0, **settings):
    """Return a BERT classifier of 2 layers in evaluation mode, all weights drawn from the seed."""
    defaults = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "num_labels": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(BertConfig(**(defaults | settings)))
        for parameter in model.parameters():
            # Fresh models have zero biases and nearly equal answers: laws would hold for the wrong reason.
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.1)
            else:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.to(dtype).eval()


def build_tokenizer():
    """Return a WordPiece tokenizer of 100 tokens: a few words, and letters for everything else."""
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    tokens = [*SPECIAL, *WORDS, *letters]
    tokens = list(dict.fromkeys(tokens))
    tokens += [f"[unused{index}]" for index in range(VOCABULARY - len(tokens))]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
