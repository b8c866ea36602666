"""Outputs: what a config asks a forward pass to return changes no result, and comes back unchanged."""

import json

import pytest
import torch
from tiny import logits_of, make_batches

from infoprune.checkpoint import check_writable, load, save
from infoprune.errors import InputError
from infoprune.forecasting.forecast import forecast
from infoprune.forecasting.workload import Workload
from infoprune.pipeline.prune import prune
from infoprune.structure.outputs import plain_outputs
from infoprune.tasks.evaluate import evaluate
from infoprune.training.distill import Distillation, distill

FIELDS = {
    "return_dict": False,
    "output_attentions": True,
    "output_hidden_states": True,
    "torchscript": True,
    "chunk_size_feed_forward": 3,
}


@pytest.fixture
def asked(saved_bert):
    """A folder whose config asks for everything that a pass can return in other ways."""
    config = json.loads((saved_bert / "config.json").read_text())
    (saved_bert / "config.json").write_text(json.dumps(config | FIELDS))
    return saved_bert


def test_every_field_is_overridden_for_our_passes_and_kept_in_the_result(asked, tiny_bert, tmp_path):
    model, batches = load(asked), make_batches()
    with plain_outputs(model):
        assert list(model(**batches[0])) == ["logits"]
    assert type(model(input_ids=torch.ones(1, 3, dtype=torch.long))) is tuple
    torch.testing.assert_close(evaluate(model, batches).logits, logits_of(tiny_bert, batches))
    small, plain = (prune(each, batches, keep=0.5, structures=("ffn",)).model for each in (model, tiny_bert))
    assert all(map(torch.equal, small.state_dict().values(), plain.state_dict().values()))
    kl = [distill(each, model, batches, how=Distillation(epochs=1, learning_rate=1e-4)).kl for each in (small, plain)]
    assert kl[0] == kl[1]
    assert forecast(model, Workload()).forward == forecast(tiny_bert, Workload()).forward
    save(small, tmp_path / "small")
    written = json.loads((tmp_path / "small" / "config.json").read_text())
    assert FIELDS.items() <= written.items()
    back = load(tmp_path / "small")
    assert all(map(torch.equal, small.state_dict().values(), back.state_dict().values()))


def test_fields_come_back_also_after_an_error(tiny_bert):
    tiny_bert.config.return_dict = False

    def fail():
        with plain_outputs(tiny_bert):
            assert tiny_bert.config.return_dict is True
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert tiny_bert.config.return_dict is False


def test_what_cannot_be_written_is_refused_with_the_file_to_correct(tiny_bert, tokenizer, tmp_path):
    import zoo

    check_writable(tiny_bert, tokenizer)
    tiny_bert.config.note = {1, 2}  # no JSON
    with pytest.raises(InputError, match=r"refuses to write the config of this Bert.*correct config\.json beside"):
        check_writable(tiny_bert)
    with pytest.raises(InputError, match="refuses to write the config"):
        save(tiny_bert, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [], "nothing half-written remains"
    writer = zoo.build("llama")
    writer.generation_config.temperature, writer.generation_config.do_sample = 0.5, False
    with pytest.raises(
        InputError, match=r"the generation_config.*temperature.*correct generation_config\.json"
    ) as raised:
        check_writable(writer)
    assert "\n" not in str(raised.value)
    assert "Fix these" not in str(raised.value)
