"""Tokenizers of every kind, trained on a few sentences, in the classes that the families use."""

import json
from functools import cache
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from infoprune.data.texts import TextData

SENTENCES = (
    "the plot of this film is thin and its jokes are thinner",
    "a great cast makes the thinnest of plots worth watching",
    "nothing in this lovely film is wasted, not a word, not a glance",
    "it is a dull, dreary and joyless exercise in thinking nothing",
    "the writers think that shouting is the same as wit!",
    "watching it again, one laughs at the same jokes and cries at the same words",
    "an unwatchable mess: the worst writing, the worst acting, the worst of all.",
    "Zoë's film, in 1994, was great; the others were not.",
    "thinking about the casting, the acting and the writing makes the film worse",
    "quite lovely, quite dull, quite a film",
)
SEEN = TextData(SENTENCES[:4], None, None, "seen")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
ANGLES = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
ROLES = ANGLES | {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
SQUARES = {
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
ALBERT = SQUARES | {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "[CLS]", "eos_token": "[SEP]"}


def wordpiece(roles):
    special = [roles[f"{role}_token"] for role in ("pad", "unk", "cls", "sep", "mask")]
    tokenizer = Tokenizer(models.WordPiece(unk_token=roles["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=160, special_tokens=special))
    tokenizer.post_processor = processors.BertProcessing(
        *((roles[f"{role}_token"], tokenizer.token_to_id(roles[f"{role}_token"])) for role in ("sep", "cls"))
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def bytes_bpe(roles):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if "mask_token" in roles else [roles["eos_token"]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if "sep_token" in roles:
        ends = (("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")))
        tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    return tokenizer


def pieces_bpe(roles):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<unk>", "<s>", "</s>", *BYTES])
    tokenizer.train_from_iterator(SENTENCES, trainer)
    # SentencePiece's bytes are ordinary tokens
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    start = [("<s>", tokenizer.token_to_id("<s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=start
    )
    return tokenizer


def unigram(special):
    def make(roles):
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False, right=True)])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token=roles["unk_token"])
        tokenizer.train_from_iterator(SENTENCES, trainer)
        cls, sep = roles["cls_token"], roles["sep_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}",
            pair=f"{cls} $A {sep} {sep} $B {sep}",
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
        )
        return tokenizer

    return make


# model type: how the tokenizer is made, its class, the roles of its special tokens
KINDS = {
    "bert": (wordpiece, "BertTokenizer", SQUARES),
    "roberta": (bytes_bpe, "RobertaTokenizer", ROLES),
    "gpt2": (bytes_bpe, "GPT2Tokenizer", dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")),
    "llama": (pieces_bpe, "LlamaTokenizer", {k: v for k, v in ANGLES.items() if k != "pad_token"}),
    "qwen2": (bytes_bpe, "PreTrainedTokenizerFast", {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}),
    "xlm-roberta": (unigram(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), "XLMRobertaTokenizer", ROLES),
    "albert": (unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]), "AlbertTokenizer", ALBERT),
    "deberta-v2": (
        unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]),
        "DebertaV2Tokenizer",
        SQUARES | {"bos_token": "[CLS]", "eos_token": "[SEP]"},
    ),
}


@cache
def tokenizer_for(model_type):
    """A tokenizer as AutoTokenizer gives it, from a folder."""
    make, tokenizer_class, roles = KINDS[model_type]
    with TemporaryDirectory() as folder:
        make(roles).save(f"{folder}/tokenizer.json")
        with open(f"{folder}/tokenizer_config.json", "w", encoding="utf-8") as file:
            json.dump({"tokenizer_class": tokenizer_class, "model_max_length": 64, **roles}, file)
        return AutoTokenizer.from_pretrained(folder)
