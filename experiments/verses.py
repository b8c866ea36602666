"""Verses in Spanish and English, both in the public domain, and a small Marian model that translates them.

Needs pysword, and Debian's sword-text-web and sword-text-sparv (or SWORD=folder with mods.d and modules).
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from pysword.modules import SwordModules
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from experiments.cells import console
from experiments.task import CACHE
from infoprune.checkpoint import load, write_model
from infoprune.files.folders import new_folder

FOLDER = CACHE / "verses"
SWORD = Path(os.environ.get("SWORD", "/usr/share/sword"))
MODULES = ("spaRV1909eb", "engWEB2015eb")
BOOKS = {"test": {"Ruth", "Jonah", "Mark", "James"}, "validation": {"Esther", "Philippians", "I John"}}
"""Whole books are held out; all other books are for training and calibration."""

TOKENS, LONGEST = 4000, 96
SPECIAL = ("<pad>", "</s>", "<unk>")
EPOCHS, BATCH, RATE, PART = 8, 32, 1e-3, 155


def verses() -> dict[str, list[tuple[str, str]]]:
    """Return the pairs (Spanish, English) of every split, read once, which takes two minutes."""
    path = FOLDER / "verses.csv"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(_read())
        draft.rename(path)
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    with path.open(encoding="utf-8", newline="") as file:
        for book, spanish, english in csv.reader(file):
            split = next((name for name, books in BOOKS.items() if book in books), "train")
            splits[split].append((spanish, english))
    return splits


def _read() -> Iterator[tuple[str, str, str]]:
    """Yield book, Spanish and English of every verse that has both."""
    modules = SwordModules(str(SWORD))
    modules.parse_modules()
    texts = [modules.get_bible_from_module(name) for name in MODULES]
    for books in texts[0].get_structure().get_books().values():
        for book in books:
            for chapter, length in enumerate(book.chapter_lengths, start=1):
                for verse in range(1, length + 1):
                    verse_of = {"books": [book.name], "chapters": [chapter], "verses": [verse]}
                    pair = [" ".join(text.get(**verse_of).split()) for text in texts]
                    if all(pair):
                        yield book.name, pair[0], pair[1]


def tokenizer() -> PreTrainedTokenizerBase:
    """Return a BPE tokenizer for both languages, trained on the training verses."""
    folder = FOLDER / "tokenizer"
    if not folder.is_dir():
        pieces = Tokenizer(models.BPE(unk_token="<unk>"))
        pieces.normalizer = normalizers.NFC()
        pieces.pre_tokenizer = pre_tokenizers.Metaspace()
        pieces.decoder = decoders.Metaspace()
        pieces.train_from_iterator(
            (text for pair in verses()["train"] for text in pair),
            trainers.BpeTrainer(vocab_size=TOKENS, special_tokens=list(SPECIAL)),
        )
        pieces.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        made = PreTrainedTokenizerFast(
            tokenizer_object=pieces,
            pad_token="<pad>",
            eos_token="</s>",
            unk_token="<unk>",
            model_max_length=LONGEST,
            model_input_names=["input_ids", "attention_mask"],
        )
        with new_folder(folder) as draft:
            made.save_pretrained(draft)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def dense_model() -> tuple[MarianMTModel, PreTrainedTokenizerBase]:
    """Return a model of 3 + 3 layers, hidden size 192, and its tokenizer; half an hour on one core, resumed."""
    words, folder = tokenizer(), FOLDER / "dense"
    if not folder.is_dir():
        torch.manual_seed(0)
        model = MarianMTModel(
            MarianConfig(
                vocab_size=len(words),
                d_model=192,
                encoder_layers=3,
                decoder_layers=3,
                encoder_attention_heads=6,
                decoder_attention_heads=6,
                encoder_ffn_dim=768,
                decoder_ffn_dim=768,
                max_position_embeddings=LONGEST + 32,
                pad_token_id=0,
                eos_token_id=1,
                forced_eos_token_id=None,
                decoder_start_token_id=0,
                dropout=0.1,
                scale_embedding=True,
                attn_implementation="eager",  # twice as fast in training on a CPU
            )
        )
        _train(model, words)
        with new_folder(folder) as draft:
            write_model(model.eval(), draft, words)
    return load(folder), words


def _train(model: MarianMTModel, words: PreTrainedTokenizerBase) -> None:
    """Train the model; the state for resuming is written every `PART` steps, a sixth of an epoch."""
    pairs = sorted(verses()["train"], key=lambda pair: len(pair[1]))
    fed = [words(list(side), truncation=True)["input_ids"] for side in zip(*pairs, strict=True)]
    length = len(pairs) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * length, pct_start=0.1)
    begun, kept = 0, FOLDER / "training.pt"
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
        begun = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    model.train()
    for step in range(begun, EPOCHS * length):
        order = torch.randperm(length, generator=torch.Generator().manual_seed(step // length))
        start = int(order[step % length]) * BATCH
        loss = _loss(model, *(side[start : start + BATCH] for side in fed), smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % PART == 0:
            nats = _held_out(model, words)
            console.print(f"step {step + 1} of {EPOCHS * length}, {nats:.3f} nats per held-out token")
            draft = kept.with_suffix(".draft")
            torch.save({"step": step + 1, **{name: part.state_dict() for name, part in parts.items()}}, draft)
            draft.rename(kept)
    kept.unlink(missing_ok=True)


def _loss(
    model: MarianMTModel, sources: list[list[int]], targets: list[list[int]], *, smoothing: float = 0.0
) -> torch.Tensor:
    """Return nats per token."""
    ids, target_ids = _padded(sources), _padded(targets)
    labels = target_ids.masked_fill(target_ids == 0, -100)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, attention_mask=(ids > 0).long(), labels=labels).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), label_smoothing=smoothing)


def _held_out(model: MarianMTModel, words: PreTrainedTokenizerBase) -> float:
    """Return the loss on the validation books."""
    sides = zip(*verses()["validation"], strict=True)
    with torch.no_grad():
        loss = _loss(model.eval(), *(words(list(side), truncation=True)["input_ids"] for side in sides))
    model.train()
    return float(loss)


def _padded(rows: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])
