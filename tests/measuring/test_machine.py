import json

import pytest
import torch
from huggingface_hub import cached_assets_path

from infoprune.budgets.rounding import MULTIPLES, least_good, preferred_multiple
from infoprune.measuring.machine import fingerprint, remembered

CPU = torch.device("cpu")


def never():
    raise AssertionError("this was measured before")


def files(what):
    return list(cached_assets_path("infoprune", namespace="measured", subfolder=what).glob("*.json"))


def test_what_was_measured_is_not_measured_again():
    assert remembered("length", {"of": "a"}, CPU, lambda: [1.5, 2.0]) == [1.5, 2.0]
    assert remembered("length", {"of": "a"}, CPU, never) == [1.5, 2.0]
    assert remembered("length", {"of": "b"}, CPU, lambda: [3.0]) == [3.0]


def test_another_number_of_threads_is_another_machine():
    assert remembered("threads", {}, CPU, lambda: [1.0]) == [1.0]
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert remembered("threads", {}, CPU, lambda: [2.0]) == [2.0]
    finally:
        torch.set_num_threads(before)
    assert remembered("threads", {}, CPU, never) == [1.0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"key": {}, "values": ["x"]}'])
def test_a_damaged_file_is_measured_again(text):
    remembered("damage", {}, CPU, lambda: [1.0])
    (file,) = files("damage")
    file.write_text(text)
    assert remembered("damage", {}, CPU, lambda: [2.0]) == [2.0]
    assert remembered("damage", {}, CPU, never) == [2.0]
    file.unlink()


def test_the_fingerprint_says_what_times_depend_on():
    assert {"device", "name", "threads", "torch", "transformers"} <= fingerprint(CPU).keys()
    assert json.loads(json.dumps(fingerprint(CPU))) == fingerprint(CPU)


def test_the_least_multiple_that_is_nearly_the_best():
    assert least_good({1: 1.3, 2: 1.2, 4: 1.05, 8: 1.02, 16: 1.0, 32: 1.01}) == 8
    assert least_good({1: 1.0, 8: 1.0}) == 1


def test_this_machine_has_a_preferred_multiple():
    assert preferred_multiple(CPU, torch.float32) in MULTIPLES
    assert len(files("rounding")) >= 1
