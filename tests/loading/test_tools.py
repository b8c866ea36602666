"""The tools that users of transformers have, on a pruned model as on a dense one."""

import copy
import io

import pytest
import torch
from cuts_of_all_types import cut_everything
from peft import LoraConfig, PeftModel, get_peft_model
from sentence_transformers import CrossEncoder, SentenceTransformer
from tiny import logits_of, make_batches
from torch.nn.parallel import DataParallel
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, pipeline

from infoprune.checkpoint import load, save
from infoprune.errors import InputError

TEXTS = ["a good film", "the plot is dull and poor", "not bad!"]


@pytest.fixture
def small(tiny_bert):
    return cut_everything(tiny_bert)


@pytest.fixture
def folder(small, tokenizer, tmp_path):
    save(small, tmp_path / "out", tokenizer)
    return tmp_path / "out"


@pytest.fixture
def opened(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder)


def trainer_for(model, out, **options):
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(index % 2)}
        for batch in make_batches()
        for index, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True))
    ]
    longest = max(len(row["input_ids"]) for row in rows)

    def stack(rows):
        pad = {
            name: [torch.nn.functional.pad(row[name], (0, longest - len(row[name]))) for row in rows]
            for name in ("input_ids", "attention_mask")
        }
        return {name: torch.stack(each) for name, each in pad.items()} | {
            "labels": torch.stack([r["labels"] for r in rows])
        }

    settings = {
        "output_dir": str(out),
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "save_steps": 2,
        "eval_steps": 2,
        "eval_strategy": "steps",
        "load_best_model_at_end": True,
        "learning_rate": 1e-3,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    return Trainer(
        model, TrainingArguments(**settings | options), train_dataset=rows, eval_dataset=rows, data_collator=stack
    )


def test_trainer(folder, tmp_path):
    """Train, open a checkpoint, go on from it, and come to the weights of the run in one go."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    before = logits_of(model, make_batches())
    whole = trainer_for(model, tmp_path / "run", load_best_model_at_end=False)
    whole.train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert not (checkpoint / "plan.json").exists()
    half = load(checkpoint)
    assert not torch.equal(logits_of(half, make_batches()), before)
    resumed = trainer_for(
        AutoModelForSequenceClassification.from_pretrained(folder), tmp_path / "again", load_best_model_at_end=False
    )
    resumed.train(resume_from_checkpoint=str(checkpoint))
    after = logits_of(model.eval(), make_batches())
    torch.testing.assert_close(logits_of(resumed.model.eval(), make_batches()), after, rtol=1e-5, atol=1e-6)
    assert torch.equal(logits_of(load(tmp_path / "run" / "checkpoint-4"), make_batches()), after)


def test_the_best_model_of_a_training(opened, tmp_path):
    trainer = trainer_for(opened, tmp_path / "run")
    trainer.train()
    best = load(trainer.state.best_model_checkpoint)
    assert torch.equal(logits_of(best, make_batches()), logits_of(opened.eval(), make_batches()))


def test_lora(opened, folder, tmp_path):
    lora = LoraConfig(target_modules=["query", "intermediate.dense"], r=2, layers_to_transform=[0])
    adapted = get_peft_model(opened, lora)
    optimiser = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):  # one of the two factors begins at zero
        adapted(**make_batches()[0], labels=torch.tensor([0, 1, 0, 1])).loss.backward()
        optimiser.step()
    adapted.eval()
    expected = logits_of(adapted, make_batches())
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match=r"has adapters of peft.*merge_and_unload"):
        save(adapted, tmp_path / "refused")
    back = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(folder), tmp_path / "adapter")
    assert torch.equal(logits_of(back.eval(), make_batches()), expected)
    merged = back.merge_and_unload()
    assert not torch.equal(logits_of(merged, make_batches()), logits_of(load(folder), make_batches()))
    save(merged, tmp_path / "merged")
    for again in (load(tmp_path / "merged"), AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")):
        assert torch.equal(logits_of(again, make_batches()), logits_of(merged, make_batches()))
    torch.testing.assert_close(logits_of(merged, make_batches()), expected, rtol=1e-4, atol=1e-5)


def test_pipeline(small, folder, tokenizer):
    expected = pipeline("text-classification", model=small, tokenizer=tokenizer)(TEXTS)
    assert pipeline("text-classification", model=str(folder))(TEXTS) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sentence_transformers(folder, tokenizer, tmp_path):
    from sentence_transformers.models import Pooling, Transformer  # the name in old and new releases

    built = SentenceTransformer(modules=[Transformer(str(folder)), Pooling(30)], device="cpu")
    vectors = built.encode(TEXTS, convert_to_tensor=True)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = load(folder, headless=True)(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    torch.testing.assert_close(vectors, (hidden * mask).sum(1) / mask.sum(1), rtol=1e-4, atol=1e-5)
    built.save(str(tmp_path / "sentences"))
    again = SentenceTransformer(str(tmp_path / "sentences"), device="cpu")
    assert torch.equal(again.encode(TEXTS, convert_to_tensor=True), vectors)


def test_cross_encoder(make_tiny_bert, tokenizer, tmp_path):
    small = cut_everything(make_tiny_bert(num_labels=1))
    save(small, tmp_path / "out", tokenizer)
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[0])]
    scores = CrossEncoder(str(tmp_path / "out"), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    batch = tokenizer([a for a, _ in pairs], [b for _, b in pairs], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = small(**batch).logits[:, 0]
    torch.testing.assert_close(torch.tensor(scores), expected, rtol=1e-4, atol=1e-5)


def test_it_is_a_dense_model(opened, small):
    batches = make_batches()
    assert not getattr(opened, "is_quantized", False)
    assert not {"hf_quantizer", "quantization_method"} & vars(opened).keys()
    expected = logits_of(small, batches)
    assert torch.equal(logits_of(copy.deepcopy(opened), batches), expected)
    stored = io.BytesIO()
    torch.save(opened, stored)
    stored.seek(0)
    assert torch.equal(logits_of(torch.load(stored, weights_only=False), batches), expected)
    torch.testing.assert_close(logits_of(opened.to(torch.float64), batches), expected.double(), rtol=1e-4, atol=1e-5)
    assert opened.half().dtype == torch.float16
    assert opened.float().dtype == torch.float32


@pytest.mark.parametrize("options", [{"dtype": torch.float64}, {"device_map": "cpu"}, {"device_map": {"": "cpu"}}])
def test_options_of_loading(folder, small, options):
    back = AutoModelForSequenceClassification.from_pretrained(folder, **options)
    expected = logits_of(small, make_batches()).to(back.dtype)
    torch.testing.assert_close(logits_of(back, make_batches()), expected, rtol=1e-5, atol=1e-5)


def test_exported_programs(opened):
    batch = make_batches()[0]
    program = torch.export.export(opened, (), dict(batch), strict=False)
    torch.testing.assert_close(program.module()(**batch).logits, opened(**batch).logits, rtol=1e-4, atol=1e-5)


def test_what_is_compiled_is_saved_as_the_model_inside(opened, small, tmp_path):
    save(torch.compile(opened), tmp_path / "again")
    assert torch.equal(logits_of(load(tmp_path / "again"), make_batches()), logits_of(small, make_batches()))


REFUSED = {
    "DataParallel": (DataParallel, r"wrapped in DataParallel.*pass model\.module"),
    "dynamically quantised": (
        lambda model: torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}),
        "is quantised.*as it was before quantising",
    ),
    "traced": (
        lambda model: torch.jit.trace(model, dict(make_batches()[0])["input_ids"], strict=False),
        "expected a model of transformers",
    ),
    "on the meta device": (lambda model: copy.deepcopy(model).to("meta"), "has no values"),
    "no model": (lambda model: model.bert.encoder.layer[0], "expected a model of transformers"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrapper", REFUSED)
def test_what_cannot_be_saved(small, tmp_path, wrapper):
    wrap, words = REFUSED[wrapper]
    with pytest.raises(InputError, match=words) as raised:
        save(wrap(small), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_adapters_within_a_model(small, tmp_path):
    small.add_adapter(LoraConfig(target_modules=["query"], layers_to_transform=[0]))
    with pytest.raises(InputError, match="has adapters of peft"):
        save(small, tmp_path / "out")
