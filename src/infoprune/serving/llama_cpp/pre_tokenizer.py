"""Pre-tokenizer: the name that llama.cpp has for the way a tokenizer splits texts. Dictionaries only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infoprune.errors import InputError

State = dict[str, Any]

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_MARK = r"[^\r\n\p{L}\p{N}]?"

DIGITS, WORDS = "digits", "words"
"""Steps of a pre-tokenizer other than a regular expression: single digits, and the words of GPT-2."""

LLAMA3 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
QWEN2 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}"
TEKKEN = (
    rf"{_MARK}{_UPPER}*{_LOWER}+|{_MARK}{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

NAMES: dict[tuple[object, ...], dict[bool, str]] = {
    (WORDS,): {False: "gpt-2"},
    (DIGITS, WORDS): {False: "smollm"},
    (LLAMA3,): {False: "smaug-bpe", True: "llama-bpe"},
    (QWEN2,): {False: "qwen2"},
    (TEKKEN,): {True: "tekken"},
}
"""Names by the steps, and by whether a word that is a token is one whatever the merges say."""

SPACE = "▁"
"""What SentencePiece writes for a space."""


def byte_level_name(state: State) -> str:
    """Return llama.cpp's name for the pre-tokenizer of a byte-level BPE tokenizer.

    Args:
        state: Contents of tokenizer.json.

    Raises:
        InputError: llama.cpp has no name for it.
    """
    steps = tuple(_steps(state))
    ignores = bool(state["model"].get("ignore_merges"))
    normalizers = {each["type"] for each in _members(state.get("normalizer"), "normalizers")}
    name = NAMES.get(steps, {}).get(ignores)
    if name is None or normalizers - {"NFC"}:
        known = ", ".join(name for names in NAMES.values() for name in names.values())
        raise InputError(
            f"llama.cpp has no name for the way in which the tokenizer splits texts, expected one of: {known}; run "
            "this model in PyTorch"
        )
    return name


def puts_space_first(state: State, *, chats: bool) -> bool:
    """Return whether llama.cpp has to put a space before texts, as a tokenizer of SentencePiece's type does.

    llama.cpp then puts one behind special tokens too. A tokenizer that does so at the very start alone puts none into
    conversations, which begin with special tokens.

    Args:
        state: Contents of tokenizer.json.
        chats: Whether the tokenizer is for conversations: it has a template.

    Raises:
        InputError: It changes texts in another way than by marking spaces.
    """
    first = False
    for step in _members(state.get("normalizer"), "normalizers"):
        if step == {"type": "Prepend", "prepend": SPACE}:
            first = True
        elif step != {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}:
            raise _unknown(step)
    for step in _members(state.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] != "Metaspace" or step.get("replacement") != SPACE:
            raise _unknown(step)
        first = {"always": True, "first": not chats}.get(step.get("prepend_scheme", "always"), False)
    return first


def _steps(state: State) -> Iterator[object]:
    for step in _members(state.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "ByteLevel":
            if step.get("add_prefix_space"):
                yield "a space before the text"
            if step.get("use_regex", True):
                yield WORDS
        elif step["type"] == "Split" and step["behavior"] == "Isolated" and not step.get("invert"):
            yield step["pattern"].get("Regex")
        elif step == {"type": "Digits", "individual_digits": True}:
            yield DIGITS
        else:
            yield step["type"]


def _members(step: State | None, name: str) -> list[State]:
    """Return the steps of a sequence, or the only one."""
    if step is None:
        return []
    return [inner for each in step[name] for inner in _members(each, name)] if step["type"] == "Sequence" else [step]


def _unknown(step: State) -> InputError:
    return InputError(
        f"the tokenizer has the step {step['type']}, which llama.cpp does not have for tokenizers with byte tokens; "
        "run this model in PyTorch"
    )
