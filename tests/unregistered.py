"""transformers as it is in a process that has not imported infoprune."""

from contextlib import contextmanager

from transformers import PreTrainedModel
from transformers.quantizers import auto


@contextmanager
def plain_transformers():
    tables = auto.AUTO_QUANTIZER_MAPPING, auto.AUTO_QUANTIZATION_CONFIG_MAPPING
    taken = [table.pop("infoprune") for table in tables]
    wrapped = vars(PreTrainedModel)["_from_config"]
    PreTrainedModel._from_config = classmethod(wrapped.__func__.__wrapped__)
    try:
        yield
    finally:
        PreTrainedModel._from_config = wrapped
        for table, value in zip(tables, taken, strict=True):
            table["infoprune"] = value
