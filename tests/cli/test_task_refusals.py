"""Tasks that do not fit the model, the options or the data are refused from the command line."""

import json

import pytest
import zoo
from rows import write_rows
from transformers import BertModel


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("embedding", ["--task", "poetry"], ["'poetry'", "causal-lm", "leave --task out"]),
        ("embedding", ["--task", "causal-lm"], ["BertModel is for embedding", "ForCausalLM"]),
        ("embedding", ["--task", "classification"], ["ForSequenceClassification", "infoprune finetune"]),
        ("embedding", ["--label", "text"], ["--label is 'text'", "embedding reads no labels"]),
        ("causal-lm", ["--label", "text"], ["causal-lm reads no labels"]),
        ("embedding", ["--text-pair", "text"], ["--text-pair", "one text per input"]),
        ("question-answering", [], ["--text and --text-pair"]),
        ("causal-lm", ["--max-kl", "0.1", "--eval", "texts"], ["causal-lm", "--keep or --budget"]),
        ("seq2seq", ["--distill", "1"], ["encoder-decoders", "leave --distill out"]),
        ("seq2seq", ["--task", "embedding"], ["T5ForConditionalGeneration is for seq2seq"]),
    ],
)
def test_tasks_that_do_not_fit(refused, saved, texts, out, task, options, words):
    options = [texts if option == "texts" else option for option in options]
    refused("prune", saved(task), out, "--data", texts, *options, words=words)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("embedding", ["no score of its own", "--against DIR"]),
        ("token-classification", ["'label'"]),
        ("seq2seq", ["--text-pair", "--against"]),
    ],
)
def test_what_a_score_needs(refused, saved, texts, task, words):
    refused("evaluate", saved(task), "--eval", texts, words=words)


@pytest.mark.parametrize(
    ("family", "name"), [("vit", "ViTForImageClassification"), ("whisper", "WhisperForConditionalGeneration")]
)
def test_pictures_and_sound_are_no_texts(refused, texts, tmp_path, tokenizer, out, family, name):
    folder = tmp_path / family
    zoo.build(family).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    words = [name, "infoprune.prune", "docs/concepts/families.md"]
    refused("prune", folder, out, "--data", texts, words=words)


def test_damaged_weights_of_an_embedding_model(refused, saved, texts, out):
    folder = saved("embedding")
    (folder / "model.safetensors").write_bytes(b"damaged")
    refused("prune", folder, out, "--data", texts, words=["cannot be loaded", "check or download"])


def test_a_vocabulary_is_not_cut_where_every_token_is_answered(run, refused, saved, texts, out):
    words = ["vocabulary is cut for causal-lm", "infoprune.prune_vocabulary"]
    refused("prune", saved("causal-lm"), out, "--data", texts, "--structures", "vocabulary", words=words)


def test_models_that_cannot_be_compared(refused, saved, saved_bert, texts, tmp_path, make_tiny_bert, tokenizer):
    folder = saved("embedding")
    refused("evaluate", folder, "--eval", texts, "--against", tmp_path / "none", words=["no folder", "none"])
    other = tmp_path / "other"
    BertModel(make_tiny_bert(vocab_size=120).config).save_pretrained(other)
    tokenizer.save_pretrained(other)
    refused("evaluate", folder, "--eval", texts, "--against", other, words=["120", "that it was pruned from"])


@pytest.mark.parametrize(
    ("tags", "words"),
    [("0 1", ["row 1 has 2 tags for 3 words"]), ("0 1 9", ["'9'", "unknown to this model"])],
)
def test_tags_that_do_not_fit(refused, saved, tmp_path, tags, words):
    data = write_rows(tmp_path / "tags.csv", [("a good film", tags)])
    refused("evaluate", saved("token-classification"), "--eval", data, words=words)


def test_a_masked_language_model_needs_a_mask(refused, saved, texts, tmp_path):
    folder = saved("masked-lm")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config.pop("mask_token")
    file.write_text(json.dumps(config))
    refused("evaluate", folder, "--eval", texts, words=["no mask token", "mask_token"])
