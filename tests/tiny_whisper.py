"""A tiny Whisper with its processor, and clips of noise with transcripts."""

import numpy
import pytest
import soundfile
import torch
import transformers
import zoo
from packaging.version import Version
from rows import write_rows
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = {
    token: number for number, token in enumerate((*SPECIAL, *LETTERS, "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"))
}
RATE = 16_000
SAID = ("a cat", "the dog sat", "fish", "two words", "one more", "and the last")


def build_whisper():
    """A Whisper of 2 + 2 layers that reads a second of sound."""
    return zoo.build(
        "whisper",
        dtype=torch.float32,
        auto="AutoModelForSpeechSeq2Seq",
        max_source_positions=50,
        decoder_start_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=0,
    )


def save_whisper(folder):
    """A folder with the model and its processor, as from `save_pretrained`."""
    if Version(transformers.__version__) < Version("5"):
        pytest.skip("this tokenizer is made in memory, which needs transformers 5")
    build_whisper().save_pretrained(folder)
    tokenizer = WhisperTokenizer(vocab=VOCABULARY, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    WhisperProcessor(WhisperFeatureExtractor(feature_size=6, chunk_length=1), tokenizer).save_pretrained(folder)
    return folder


def noise(seed=0, seconds=0.5, rate=RATE, channels=1):
    """Random sound (samples, channels)."""
    generator = numpy.random.default_rng(seed)
    return 0.1 * generator.standard_normal((int(seconds * rate), channels))


def write_clips(folder, count=6, column="text"):
    """Clips of a second at most, as WAV and FLAC, with metadata.csv."""
    folder.mkdir(parents=True)
    names = [f"{index}.{'flac' if index % 2 else 'wav'}" for index in range(count)]
    for index, name in enumerate(names):
        soundfile.write(folder / name, noise(index, 0.3 + 0.1 * index), RATE)
    write_rows(folder / "metadata.csv", list(zip(names, SAID * count, strict=False)), columns=("file_name", column))
    return folder
