"""llama.cpp splits texts as the tokenizer of a GGUF file does, and writes its chat template."""

import json

import gguf
import pytest
from llama_cpp import LlamaCpp
from tiny_decoder import SPECIAL, TEXTS, build_bpe, build_decoder, build_words
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import infoprune
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.serving.llama_cpp.export import export_gguf
from infoprune.serving.llama_cpp.pre_tokenizer import LLAMA3, QWEN2, TEKKEN

ASKED = (
    *TEXTS,
    "They'll pay 1234567 for it, won't they? I'M HERE\r\n\r\n \t  and   gone ...  ",
    "naïve café — “quoted” x²+y³ ٣٤ 中文字符 한국어 ไทย",
    "<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\n",
    "camelCaseWords and HTTPServer",
    "",
)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def ignore_merges(state):
    """Words that are tokens are found at once: the last merges, which make the longest of them, are gone."""
    state["model"]["ignore_merges"] = True
    del state["model"]["merges"][-60:]


def begin_with_start(state):
    template = processors.TemplateProcessing(single=f"{SPECIAL[1]} $A", special_tokens=[(SPECIAL[1], 1)])
    state["post_processor"] = json.loads(template.__getstate__())


BYTE_LEVEL = {
    "gpt-2": lambda: build_bpe(),
    "smollm": lambda: build_bpe([DIGITS, "words"]),
    "llama-bpe": lambda: build_bpe([split(LLAMA3)], edit=ignore_merges),
    "smaug-bpe": lambda: build_bpe([split(LLAMA3)]),
    "qwen2": lambda: build_bpe([split(QWEN2)]),
    "tekken": lambda: build_bpe([split(TEKKEN)], edit=ignore_merges),
}


def write(tokenizer, folder, **settings):
    model = build_decoder(**({"vocab_size": len(tokenizer)} | settings))
    export_gguf(model, tokenizer, folder / "model.gguf")


def exported(tokenizer, folder, **settings):
    write(tokenizer, folder, **settings)
    return LlamaCpp(folder / "model.gguf")


def field(folder, name):
    found = gguf.GGUFReader(folder / "model.gguf").fields.get(f"tokenizer.{name}")
    return None if found is None else found.contents()


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_texts_become_the_same_tokens(name, tmp_path):
    tokenizer = BYTE_LEVEL[name]()
    server = exported(tokenizer, tmp_path)
    assert field(tmp_path, "ggml.pre") == name
    for text in ASKED:
        assert server.tokens(text) == tokenizer(text)["input_ids"], text


def test_tokens_become_the_same_texts(tmp_path):
    tokenizer = build_bpe()
    server = exported(tokenizer, tmp_path)
    for text in TEXTS:
        assert server.text(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe"])
def test_the_start_of_texts_is_what_the_tokenizer_writes(name, tmp_path):
    """llama.cpp would put a token before each text of a Llama 3 by itself."""
    plain = BYTE_LEVEL[name]()
    steps = [split(LLAMA3)] if name == "llama-bpe" else None
    marked = build_bpe(steps, edit=lambda state: (begin_with_start(state), name == "gpt-2" or ignore_merges(state)))
    for index, tokenizer in enumerate((plain, marked)):
        folder = tmp_path / str(index)
        server = exported(tokenizer, folder)
        assert field(folder, "ggml.add_bos_token") == bool(index)
        assert server.tokens("The film") == tokenizer("The film")["input_ids"]
        assert (server.tokens("The film")[0] == tokenizer.bos_token_id) == bool(index)


def test_special_tokens_are_kept_apart(tmp_path):
    tokenizer = build_bpe()
    tokenizer.add_tokens(["<tool>"])
    write(tokenizer, tmp_path)
    types = field(tmp_path, "ggml.token_type")
    assert [types[tokenizer.convert_tokens_to_ids(token)] for token in (*SPECIAL, "<tool>", "a")] == [3, 3, 3, 4, 1]
    named = {name: field(tmp_path, f"ggml.{name}_token_id") for name in ("padding", "bos", "eos")}
    assert named == {"padding": 0, "bos": 1, "eos": 2}


def test_rows_without_a_token_are_unused(tmp_path):
    """Embedding tables are often filled up to a round number of rows."""
    tokenizer = build_bpe()
    server = exported(tokenizer, tmp_path, vocab_size=len(tokenizer) + 5)
    assert field(tmp_path, "ggml.token_type")[-6:] == [1, 6 - 1, 5, 5, 5, 5]
    assert server.tokens(TEXTS[0]) == tokenizer(TEXTS[0])["input_ids"]


def test_the_chat_template_is_written(tmp_path):
    tokenizer = build_bpe()
    messages = [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "A film."},
        {"role": "user", "content": "Ah."},
    ]
    said = exported(tokenizer, tmp_path).chat(messages)
    assert said == tokenizer.apply_chat_template(messages, tokenize=False)


def test_a_smaller_vocabulary(tmp_path):
    """Tokens are renumbered, and there are fewer merges."""
    tokenizer = build_bpe([DIGITS, "words"])
    model = build_decoder(vocab_size=len(tokenizer))
    small = infoprune.prune_vocabulary(model, tokenizer, TextData(("the film is long",), None, None, "texts"))
    assert len(small.tokenizer) < len(tokenizer)
    export_gguf(small.model, small.tokenizer, tmp_path / "model.gguf")
    server = LlamaCpp(tmp_path / "model.gguf")
    for text in ASKED:
        assert server.tokens(text) == small.tokenizer(text)["input_ids"], text


def build_pieces(normalizer, pre_tokenizer, **settings):
    """A tokenizer as Llama 2 and Mistral have: BPE of characters with byte tokens, every split of a token a merge."""
    words = [
        "▁the",
        "▁film",
        "▁is",
        "▁lo",
        "ng",
        "the",
        "▁",
        "▁▁",
        "▁so",
        "ing",
        "film",
        "▁long",
        "▁f",
        "il",
        "lm",
        "in",
    ]
    letters = sorted({*"".join(words), *"abcdefghijklmnopqrstuvwxyzT.,é"})
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made = sorted(
        {word[:end] for word in words for end in range(2, len(word) + 1)}, key=lambda token: (len(token), token)
    )
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*tokens, *made, *letters]))}
    merges = [
        (token[:cut], token[cut:])
        for token in made
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    model = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    pieces = Tokenizer(model)
    pieces.add_special_tokens(["<unk>", "<s>", "</s>"])
    if normalizer is not None:
        pieces.normalizer = normalizer
    if pre_tokenizer is not None:
        pieces.pre_tokenizer = pre_tokenizer
    pieces.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pieces.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **(named | settings))


SPACES = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
PLAIN = ("the film is so long", "The  film\nis é, 日本 🙂", "singing films", "lolongthefilm")
CHAT = ("<s>the film</s>", "<s> the film</s> is<s>the film")


def metaspace(scheme, **settings):
    return build_pieces(None, pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False), **settings)


PIECES = {
    "Llama 2": (lambda: build_pieces(SPACES, None), (*PLAIN, *CHAT, "  the film")),
    "always": (lambda: metaspace("always"), PLAIN),
    "Mistral": (lambda: metaspace("first"), PLAIN),
    "Mistral, chat": (lambda: metaspace("first", chat_template="{{ messages }}"), CHAT),
    "never": (lambda: metaspace("never"), (*PLAIN, *CHAT, "  the film")),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_as_sentencepiece_makes_them(name, tmp_path):
    build, texts = PIECES[name]
    tokenizer = build()
    server = exported(tokenizer, tmp_path)
    assert field(tmp_path, "ggml.model") == "llama"
    for text in texts:
        assert server.tokens(text) == tokenizer(text)["input_ids"], text


def test_types_of_pieces(tmp_path):
    write(PIECES["Llama 2"][0](), tmp_path)
    assert field(tmp_path, "ggml.token_type")[:5] == [2, 3, 3, 6, 6]


def mark_ends(state):
    state["model"]["end_of_word_suffix"] = "</w>"


REFUSED = {
    "punctuation": (
        lambda: build_bpe([pre_tokenizers.Punctuation()]),
        "llama.cpp has no name for the way in which the tokenizer splits texts, expected one of: gpt-2, smollm",
    ),
    "lower case": (
        lambda: build_bpe(edit=lambda state: state.update(normalizer={"type": "Lowercase"})),
        "llama.cpp has no name for the way in which the tokenizer splits texts",
    ),
    "other words": (
        lambda: build_bpe([split(r"\p{L}+")]),
        "llama.cpp has no name for the way in which the tokenizer splits texts",
    ),
    "space first": (
        lambda: build_bpe(edit=lambda state: state["pre_tokenizer"]["pretokenizers"][0].update(add_prefix_space=True)),
        "llama.cpp has no name for the way in which the tokenizer splits texts",
    ),
    "ends of words": (
        lambda: build_bpe(edit=mark_ends),
        "the tokenizer is a BPE model, expected BPE without prefixes and suffixes of words",
    ),
    "pieces, lower case": (
        lambda: build_pieces(normalizers.Lowercase(), None),
        "the tokenizer has the step Lowercase, which llama.cpp does not have",
    ),
    "pieces, digits": (
        lambda: build_pieces(None, pre_tokenizers.Digits()),
        "the tokenizer has the step Digits, which llama.cpp does not have",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_tokenizers_are_refused(name, tmp_path):
    build, message = REFUSED[name]
    tokenizer = build()
    with pytest.raises(InputError, match=message):
        export_gguf(build_decoder(vocab_size=len(tokenizer)), tokenizer, tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []


def test_wordpieces_are_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match="the tokenizer is a WordPiece model, expected BPE"):
        export_gguf(build_decoder(), tokenizer, tmp_path / "model.gguf")


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    """llama.cpp would end texts at token 11, whatever it is."""
    with pytest.raises(InputError, match="names no token that ends a text, expected one"):
        export_gguf(build_decoder(vocab_size=500), build_bpe(eos_token=None), tmp_path / "model.gguf")


def test_more_tokens_than_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match="tokens up to number 127, expected fewer than the 100 rows"):
        export_gguf(build_decoder(vocab_size=100), build_words(), tmp_path / "model.gguf")
