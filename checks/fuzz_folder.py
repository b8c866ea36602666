"""Damaged config.json and tokenizer.json of saved models: each is refused with an InputError of one line, or opens.

A model that opens has to answer a text, or refuse it. The folders are those of a tiny BERT, dense and pruned in several
ways. A few milliseconds a case; what a config could make large is refused by the shapes of the weights before it is
built, so that the process stays small.

Run: python -m checks.fuzz_folder --cases 100000 --file config.json
"""

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from checks.fuzz_plan import PIECES, SCALARS, WORDS, value
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.jobs.models import chosen_task, open_tokenizer
from infoprune.pipeline.prune import prune
from infoprune.tasks.evaluate import evaluate

ROOT = Path(__file__).parent.parent
FIELDS = (
    "num_hidden_layers",
    "num_labels",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "return_dict",
    "output_attentions",
    "torch_dtype",
    "dtype",
    "quantization_config",
    "attn_implementation",
    "problem_type",
    "pad_token_id",
    "is_decoder",
    "add_cross_attention",
    "chunk_size_feed_forward",
    "pruned_heads",
    "id2label",
    "auto_map",
)
LARGE = (1 << 20, 1 << 31, 1 << 40, 10**18, "bert", "gpt2", "float16", "eager", "BertModel", {}, [], [1, 2])


def folders(root: Path) -> list[Path]:
    """Write the folders to damage: a dense model, one with free sizes, one of even sizes, one with remapped tokens."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny import make_batches
    from tiny_bert import build_tiny_bert, build_tokenizer

    from infoprune.data.texts import TextData
    from infoprune.vocabulary.tokens import prune_vocabulary

    model, batches = build_tiny_bert(), make_batches()
    made = {"dense": model}
    made["free"] = prune(model, batches, budget="flops=0.5").model
    made["even"] = prune(model, batches, keep=0.5, structures=("ffn",)).model
    texts = TextData(("the film is good", "a very bad plot") * 4, None, None, "texts")
    made["remapped"] = prune_vocabulary(model, build_tokenizer(), texts, dropped_tokens="remap", batches=batches).model
    for name, each in made.items():
        save(each, root / name, build_tokenizer())
    return [root / name for name in made]


def damaged(text: str, chance: random.Random) -> str:
    """Return a text with one to three changes of its values or of its characters."""
    if chance.random() < 0.3:
        for _ in range(chance.randint(1, 3)):
            at, size = chance.randrange(len(text)), chance.randrange(12)
            text = text[:at] + chance.choice(("", *PIECES)) + text[at + size :]
        return text
    tree = json.loads(text)
    for _ in range(chance.randint(1, 3)):
        node, key = tree, chance.choice([*tree, *FIELDS])
        while isinstance(node.get(key), dict) and node[key] and chance.random() < 0.85:
            node, key = node[key], chance.choice(list(node[key]))
        held = node.get(key)
        if isinstance(held, list) and held and chance.random() < 0.8:
            at = chance.randrange(len(held))
            if isinstance(held[at], dict) and held[at] and chance.random() < 0.8:
                held[at][chance.choice(list(held[at]))] = value(chance)
            else:
                held[at] = chance.choice(SCALARS + WORDS)
        elif chance.random() < 0.15:
            node.pop(key, None)
        else:
            node[key] = chance.choice(LARGE) if chance.random() < 0.4 else value(chance)
    return json.dumps(tree)


def attempt(folder: Path, file: str, batch: dict[str, torch.Tensor]) -> str:
    """Open a folder as the commands do; return "refused" or "opened".

    Raises:
        InputError: Not past this function; any other error is a fault.
    """
    try:
        if file == "config.json":
            chosen_task(folder)
            evaluate(load(folder), [batch])
        else:
            tokenizer: PreTrainedTokenizerFast = open_tokenizer(folder)
            tokenizer(["a good film"])
    except InputError as error:
        if "\n" in str(error).replace("a\nb", ""):
            raise SystemExit(f"a message of several lines: {error}") from error
        return "refused"
    return "opened"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", default="config.json", choices=("config.json", "tokenizer.json"))
    parser.add_argument("--faults", type=int, default=1, help="faults after which it stops")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity(60)
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    chance, found, began, faults = random.Random(options.seed), Counter(), time.perf_counter(), 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        places = folders(Path(scratch))
        texts = {place: (place / options.file).read_text(encoding="utf-8") for place in places}
        batch = {"input_ids": torch.tensor([[2, 7, 9, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
        for number in range(options.cases):
            place = chance.choice(places)
            text = damaged(texts[place], chance)
            (place / options.file).write_text(text, encoding="utf-8", errors="surrogatepass")
            start = time.perf_counter()
            try:
                found[attempt(place, options.file, batch)] += 1
            except Exception:
                faults += 1
                found["faults"] += 1
                keep = Path(tempfile.gettempdir()) / f"fuzz_folder-{options.file}-{options.seed}-{number}"
                shutil.rmtree(keep, ignore_errors=True)
                shutil.copytree(place, keep)
                print(f"case {number}, kept in {keep}:\n{traceback.format_exc(limit=-4)}", flush=True)
                if faults >= options.faults:
                    break
            finally:
                slowest = max(slowest, time.perf_counter() - start)
                (place / options.file).write_text(texts[place], encoding="utf-8")
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(found.items()))
    print(
        f"{sum(found.values()):,} of {options.file}, seed {options.seed}: {counts}; {seconds:.0f} s, the slowest "
        f"{slowest:.1f} s; {peak:,} MB at most"
    )
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
