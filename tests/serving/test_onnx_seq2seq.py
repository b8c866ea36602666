"""An encoder-decoder as two graphs: ONNX Runtime writes what PyTorch writes."""

import numpy as np
import onnxruntime
import pytest
import torch
import zoo
from test_onnx_decoder import cut, text

from infoprune.serving.export import write_graphs

TOKENS = 8


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    """A BART with fewer heads than its config says, without a head in its decoder's own attention; and its graphs."""
    small = cut(zoo.build("bart", dtype=torch.float32, encoder_layers=1, decoder_layers=1), ["decoder.0.heads"])
    folder = tmp_path_factory.mktemp("bart")
    return small, folder, write_graphs(small, folder, zoo.inputs("bart"))


def opened(folder):
    files = ("encoder_model.onnx", "decoder_model_merged.onnx")
    return [onnxruntime.InferenceSession(folder / file, providers=["CPUExecutionProvider"]) for file in files]


@pytest.mark.parametrize("lengths", [(1,), (3, 9, 1)])
def test_onnxruntime_computes_the_logits_of_pytorch(bart, lengths):
    """In one call, and token by token from the cache."""
    small, folder, _ = bart
    encoder, decoder = opened(folder)
    ids, mask = (tensor.flip(1) for tensor in text(lengths))
    targets = torch.randint(5, 100, (len(ids), TOKENS), generator=torch.Generator().manual_seed(3))
    expected = small(input_ids=ids, attention_mask=mask, decoder_input_ids=targets).logits.detach()
    (states,) = encoder.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    read = {"encoder_hidden_states": states, "encoder_attention_mask": mask.numpy()}
    names = [value.name for value in decoder.get_inputs() if value.name.startswith("past_key_values.")]
    empty = {name: np.zeros((len(ids), 6, 0, 8), np.float32) for name in names}  # as config.json says
    logits = decoder.run(["logits"], {"input_ids": targets.numpy(), **read, **empty})[0]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    cache, found = empty, []
    for token in targets.T.numpy():
        logits, *new = decoder.run(None, {"input_ids": token[:, None], **read, **cache})
        cache = dict(zip(names, new, strict=True))
        found.append(logits)
    np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=1e-4, atol=1e-5)
    assert {array.shape[2] for name, array in cache.items() if ".decoder." in name} == {TOKENS}
    assert {array.shape[2] for name, array in cache.items() if ".encoder." in name} == {max(lengths)}


def test_both_files_are_compared_as_one_model(bart):
    _, folder, (exported,) = bart
    files = ("decoder_model_merged.onnx", "encoder_model.onnx")
    assert sorted(path.name for path in folder.iterdir()) == [*files]
    assert exported.file == files[0]
    assert exported.bytes == sum((folder / file).stat().st_size for file in files)
    assert exported.difference < 1e-4 * exported.scale
    assert exported.agreement == 1
