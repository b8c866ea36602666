"""Tiny models whose vocabulary is that of a tokenizer, and cuts of it."""

import zoo
from transformers import BertTokenizer
from words import KINDS, SEEN, tokenizer_for

from infoprune.vocabulary.tokens import prune_vocabulary

EXTRA = 3  # rows of the table that are no token's, as in tables padded to a round size
CLASSIFIERS = [structure for structure in KINDS if structure not in ("llama", "gpt2", "qwen2")]


class Slow(BertTokenizer):
    is_fast = False


def model_for(model_type, tokenizer, **settings):
    roles = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    return zoo.build(model_type, **({"vocab_size": len(tokenizer) + EXTRA} | roles | settings))


def dense(model_type, **settings):
    tokenizer = tokenizer_for(model_type)
    return model_for(model_type, tokenizer, **settings), tokenizer


def answering(model_type="bert", **settings):
    tokenizer = tokenizer_for(model_type)
    roles = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    roles["pad_token_id"] = roles["eos_token_id"] if roles["pad_token_id"] is None else roles["pad_token_id"]
    auto = {} if model_type in CLASSIFIERS else {"auto": "AutoModelForSequenceClassification"}
    return zoo.build(model_type, **({"vocab_size": len(tokenizer) + EXTRA} | roles | auto | settings)), tokenizer


def cut(model_type="bert", data=SEEN, options=None, **settings):
    model, tokenizer = answering(model_type, **settings)
    return model, prune_vocabulary(model, tokenizer, data, dropped_tokens="remap", **(options or {}))
