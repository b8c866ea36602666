"""Tiny encoders of sound with their processors, and clips in folders named after classes."""

import json

import numpy
import soundfile
import torch
import zoo
from tiny_whisper import RATE
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
FRAMES = {"conv_kernel": [80, 16], "conv_stride": [40, 8]}
"""A frame is 320 samples, as in published models: 50 in a second."""
KINDS = {"deep": 150, "high": 3000, "middle": 800}


def save_ctc(folder, model_type="wav2vec2", masks=False, **settings):
    """A model that writes letters, and its processor, as `save_pretrained` of both writes them."""
    zoo.build(model_type, torch.float32, vocab_size=len(TOKENS), pad_token_id=0, **(FRAMES | settings)).save_pretrained(
        folder
    )
    letters = folder.parent / "letters.json"
    letters.write_text(json.dumps({token: number for number, token in enumerate(TOKENS)}))
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=masks)
    Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(letters))).save_pretrained(folder)
    return folder


def save_hearing(folder, model_type="hubert", auto="AutoModelForAudioClassification", **settings):
    """A model that writes nothing, with a feature extractor alone."""
    zoo.build(model_type, torch.float32, auto=auto, **FRAMES, **settings).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def write_tones(folder, each=4):
    """Tones of three pitches in sub-folders, half a second at most."""
    generator = numpy.random.default_rng(0)
    for name, hertz in KINDS.items():
        (folder / name).mkdir(parents=True)
        for index in range(each):
            time = numpy.arange(int(RATE * (0.3 + 0.05 * index))) / RATE
            sound = 0.3 * numpy.sin(2 * numpy.pi * hertz * time) + 0.01 * generator.standard_normal(len(time))
            soundfile.write(folder / name / f"{index}.wav", sound, RATE)
    return folder
