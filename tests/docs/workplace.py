"""What the pages of docs/guides take for granted: tiny models and small files, under the names that the pages use."""

import csv
import json
import random

import torch
import zoo
from tiny_vit import NAMES as LABELS
from tiny_vit import build_image_processor, write_pictures
from tiny_whisper import save_whisper, write_clips

POSITIVE, NEGATIVE = ("good", "great", "fine"), ("bad", "poor", "dull")
NAMES = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
# Folder: the model type, its class and settings of a tiny model.
MODELS = {
    "my-classifier": ("bert", "AutoModelForSequenceClassification", {"num_labels": 2, **NAMES}),
    "my-tagger": ("bert", "AutoModelForTokenClassification", {}),
    "my-qa": ("bert", "AutoModelForQuestionAnswering", {"num_labels": 2}),
    "my-embedder": ("bert", "AutoModel", {}),
    "my-llm": ("llama", "AutoModelForCausalLM", {}),
    "my-translator": ("marian", "AutoModelForSeq2SeqLM", {}),
    "my-vit": ("vit", "AutoModelForImageClassification", LABELS),
    "my-whisper": ("whisper", "AutoModelForSpeechSeq2Seq", {}),
    "my-clip": ("clip", "AutoModel", {}),
    "my-wav2vec2": ("wav2vec2", "AutoModelForCTC", {}),
    "my-smolvlm": ("smolvlm", "AutoModelForImageTextToText", {}),
}
FILES = {"texts": 40, "valid": 16, "test": 16, "part-1": 20, "part-2": 20}
"""Rows of every file."""


def furnish(folder, models, tokenizer):
    """Fill a folder with some of the models, each with the tokenizer if it reads texts, and with all files."""
    for name in models:
        model_type, auto, settings = MODELS[name]
        zoo.build(model_type, dtype=torch.float32, auto=auto, **settings).save_pretrained(folder / name)
        if model_type in ("clip", "wav2vec2", "smolvlm"):
            continue
        if model_type == "vit":
            build_image_processor().save_pretrained(folder / name)
            write_pictures(folder / "photos", each=12)
            write_pictures(folder / "photos-valid", each=4)
            continue
        if model_type == "whisper":
            save_whisper(folder / name)
            write_clips(folder / "clips")
            continue
        tokenizer.save_pretrained(folder / name)
        if model_type != "bert":  # the others read no token types
            file = folder / name / "tokenizer_config.json"
            config = json.loads(file.read_text(encoding="utf-8")) | {
                "model_input_names": ["input_ids", "attention_mask"]
            }
            file.write_text(json.dumps(config), encoding="utf-8")
    for seed, (name, count) in enumerate(FILES.items()):
        write_texts(folder, name, sentences(count, seed))


def sentences(count, seed):
    """Sentences of words that the tiny tokenizer knows, of unlike lengths; the fourth word is positive or negative."""
    generator = random.Random(seed)
    rated, more = (*POSITIVE, *NEGATIVE), ("very", "not", "a", "the", "film")
    starts = [f"the {generator.choice(['film', 'plot'])} is {generator.choice(rated)} and" for _ in range(count)]
    return [f"{start} {' '.join(generator.choices(more + rated, k=generator.randint(2, 12)))}" for start in starts]


def write_texts(folder, name, texts):
    """The same texts for every task: with a label, with a tag for every word, with a question, with a target."""
    words = [text.split() for text in texts]
    labels = ["positive" if row[3] in POSITIVE else "negative" for row in words]
    tags = [[int(word in POSITIVE) + 2 * (word in NEGATIVE) for word in row] for row in words]
    asked = [f"is the {row[1]} {row[3]}" for row in words]
    write_csv(folder / f"{name}.csv", {"text": texts, "label": labels})
    write_csv(folder / f"questions-{name}.csv", {"question": asked, "context": texts})
    write_csv(folder / f"pairs-{name}.csv", {"source": texts, "target": asked})
    rows = [json.dumps({"words": row, "tags": tagged}) for row, tagged in zip(words, tags, strict=True)]
    (folder / f"words-{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")


def write_csv(path, columns):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
