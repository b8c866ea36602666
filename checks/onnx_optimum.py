"""Open graphs with Optimum and sentence-transformers; `checks.onnx_tools` runs this in an environment that has them.

Run: python checks/onnx_optimum.py FOLDER...; one line of JSON for each folder and tool.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from optimum import onnxruntime as ort
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

CLASSES = {
    "classification": ort.ORTModelForSequenceClassification,
    "pictures": ort.ORTModelForImageClassification,
    "embedding": ort.ORTModelForFeatureExtraction,
    "causal-lm": ort.ORTModelForCausalLM,
    "seq2seq": ort.ORTModelForSeq2SeqLM,
}


def answers(folder: str, known: dict, int8: bool) -> list:
    task, given = known["task"], known["given"]
    if int8 and task == "seq2seq":
        raise ValueError("Optimum finds a decoder with its cache by its name in float32 only")
    options = {"file_name": "model_quantized.onnx", "subfolder": "onnx"} if int8 else {}
    model = CLASSES[task].from_pretrained(folder, **options)
    if task == "embedding":
        inputs = AutoTokenizer.from_pretrained(folder)(given["texts"], padding=True, return_tensors="pt")
        mask = inputs["attention_mask"][..., None]
        means = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(means, dim=-1).tolist()
    inputs = {name: torch.tensor(value) for name, value in given.items()}
    if task in ("causal-lm", "seq2seq"):
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return model.generate(**inputs, max_new_tokens=known["tokens"], do_sample=False, pad_token_id=0).tolist()
    return model(**inputs).logits.tolist()


def sentences(folder: str, known: dict, int8: bool) -> list:
    options = {"file_name": "onnx/model_quantized.onnx"} if int8 else {}
    model = SentenceTransformer(folder, backend="onnx", model_kwargs=options)
    return model.encode(known["given"]["texts"], normalize_embeddings=True).tolist()


def main() -> None:
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    for folder in sys.argv[1:]:
        known = json.loads((Path(folder) / "expected.json").read_text())
        tools = {"Optimum": answers} | ({"sentence-transformers": sentences} if known["task"] == "embedding" else {})
        for tool, run in tools.items():
            for int8 in (False, True):
                found = {"folder": folder, "tool": tool, "int8": int8}
                try:
                    found["answers"] = run(folder, known, int8)
                except Exception as error:
                    found["error"] = f"no ({error})"[:300]
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
