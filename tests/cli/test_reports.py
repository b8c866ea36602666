"""What users reported of other tools, made anew: the rows of docs/robustness.md that no other test has."""

import json
import shutil

import pytest
import torch
import zoo
from peft import LoraConfig, get_peft_model
from rows import TEXTS, write_rows
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers import models as modules
from tiny import make_batches
from tiny_bert import build_tiny_bert
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertModel

from infoprune import Settings, load, prune, save
from infoprune.errors import InputError

CHEAP = ("--keep", "0.5", "--no-repair", "--samples", "8")


def edit(file, **fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.fixture
def encoder(tmp_path, tokenizer):
    """A folder of sentence-transformers, with modules after the pooling and prompts."""

    def build(*more, **options):
        BertModel(build_tiny_bert().config).save_pretrained(tmp_path / "bert")
        tokenizer.save_pretrained(tmp_path / "bert")
        transformer = modules.Transformer(str(tmp_path / "bert"))
        whole = SentenceTransformer(modules=[transformer, modules.Pooling(32), *more], device="cpu", **options)
        whole.save(str(tmp_path / "encoder"))
        return tmp_path / "encoder", whole

    return build


def test_a_cross_encoder_scores_pairs(run, tmp_path, tokenizer, out):
    build_tiny_bert(num_labels=1).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    dense = CrossEncoder(str(tmp_path / "bert"), activation_fn=torch.nn.Identity(), device="cpu")
    dense.save(str(tmp_path / "scorer"))
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    data = write_rows(tmp_path / "pairs.csv", pairs, columns=("text", "other"))
    command = ("prune", tmp_path / "scorer", out, "--data", data, "--text-pair", "other", "--no-repair")
    assert run(*command, "--keep", "1")[0] == 0
    small = CrossEncoder(str(out), device="cpu")
    assert isinstance(small.activation_fn, torch.nn.Identity), "what the scorer's own settings say"
    assert small.predict(pairs) == pytest.approx(dense.predict(pairs), abs=1e-6)


def test_what_follows_the_pooling_stays(run, encoder, texts, out):
    folder, dense = encoder(modules.Dense(32, 12), modules.Normalize())
    assert run("prune", folder, out, "--data", texts, "--keep", "1", "--no-repair")[0] == 0
    small = SentenceTransformer(str(out), device="cpu").encode(TEXTS)
    assert small.shape[1] == 12
    assert small == pytest.approx(dense.encode(TEXTS), abs=1e-6)


def test_a_prompt_in_front_of_every_text_is_named(run, encoder, texts, out):
    folder, _ = encoder(prompts={"query": "find: "}, default_prompt_name="query")
    status, _, err = run("prune", folder, out, "--data", texts, *CHEAP)
    assert status == 0
    assert "puts 'find: ' before every text" in err


def test_settings_of_generation_that_contradict_one_another(run, saved, texts, out):
    folder = saved("causal-lm")
    edit(folder / "generation_config.json", temperature=0.6, do_sample=False)
    assert run("prune", folder, out, "--data", texts, *CHEAP)[0] == 0
    assert json.loads((out / "generation_config.json").read_text())["temperature"] == 0.6


def test_an_implementation_of_attention_that_is_not_here(saved_bert):
    before = load(saved_bert)
    edit(saved_bert / "config.json", attn_implementation="flash_attention_2")
    batch = make_batches()[0]
    assert torch.equal(load(saved_bert)(**batch).logits, before(**batch).logits)


def test_the_output_layer_of_the_file_is_the_one_that_is_used(tmp_path):
    own = zoo.build("llama", dtype=torch.float32, tie_word_embeddings=False)
    own.save_pretrained(tmp_path / "own")
    edit(tmp_path / "own" / "config.json", tie_word_embeddings=True)
    assert torch.equal(load(tmp_path / "own").lm_head.weight, own.lm_head.weight)
    tied = zoo.build("gpt2", dtype=torch.float32)
    tied.save_pretrained(tmp_path / "tied")
    file = tmp_path / "tied" / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors.pop("transformer.wte.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    assert torch.equal(load(tmp_path / "tied").transformer.wte.weight, tied.transformer.wte.weight)


def test_an_adapter_is_merged_as_the_line_says(saved_bert, tmp_path):
    adapted = get_peft_model(load(saved_bert), LoraConfig(target_modules=["query"], r=2, init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match=r"holds an adapter alone .* call merge_and_unload\(\) and save"):
        load(tmp_path / "adapter")
    both = shutil.copytree(saved_bert, tmp_path / "both")
    shutil.copytree(tmp_path / "adapter", both, dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"beside the weights.*remove adapter_config\.json if it is merged"):
        load(both)
    batch = make_batches()[0]
    wanted = adapted.eval()(**batch).logits
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(load(tmp_path / "merged")(**batch).logits, wanted)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_text_is_written_with_a_cache_as_without(family):
    batches = zoo.inputs(family)
    small = prune(zoo.build(family, dtype=torch.float32), batches, keep=0.5, settings=Settings(repair=False)).model
    ids = batches[0]["input_ids"][2:, :6]
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    written = small.generate(ids, use_cache=True, **options)
    assert torch.equal(written, small.generate(ids, use_cache=False, **options))
    assert written.shape[1] == 12


def test_a_whole_model_saved_by_torch(tmp_path):
    small = prune(build_tiny_bert(), make_batches(), keep=0.5, settings=Settings(repair=False)).model
    torch.save(small, tmp_path / "small.pt")
    again = torch.load(tmp_path / "small.pt", weights_only=False)
    save(again, tmp_path / "folder")
    for opened in (load(tmp_path / "folder"), AutoModelForSequenceClassification.from_pretrained(tmp_path / "folder")):
        assert torch.equal(opened(**make_batches()[0]).logits, small(**make_batches()[0]).logits)


def test_grouped_queries_with_biases_open_in_transformers(tmp_path):
    batches = zoo.inputs("qwen2")
    small = prune(zoo.build("qwen2", dtype=torch.float32), batches, keep=0.5, settings=Settings(repair=False)).model
    save(small, tmp_path / "small")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert torch.equal(opened(**batches[0]).logits, small(**batches[0]).logits)


def test_a_moved_result_names_no_place(run, saved_bert, reviews, out, tmp_path):
    assert run("prune", saved_bert, out, "--data", reviews, *CHEAP)[0] == 0
    moved = out.rename(tmp_path / "moved")
    shutil.rmtree(saved_bert)
    assert run("evaluate", moved, "--eval", reviews)[0] == 0
    assert not [file.name for file in moved.iterdir() if str(saved_bert).encode() in file.read_bytes()]
