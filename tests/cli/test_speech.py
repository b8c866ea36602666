"""A Whisper from the command line: prune, evaluate, compare and bench on a folder of clips, and what is refused."""

import json

import numpy
import pytest
import soundfile
from tiny_whisper import RATE, noise, save_whisper, write_clips
from transformers import AutoProcessor

import infoprune


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips")


@pytest.fixture
def whisper(tmp_path):
    return save_whisper(tmp_path / "whisper")


def test_prune_and_evaluate_with_transcripts(run, whisper, clips, out):
    status, printed, err = run("prune", whisper, out, "--data", clips, "--eval", clips, "--budget", "params=0.7")
    assert (status, err) == (0, "")
    assert "chosen on 6 clips." in printed
    report = json.loads((out / "report.json").read_text())
    assert report["task"] == "speech-recognition"
    assert report["dense"]["metrics"].keys() == {"loss", "perplexity", "word_error_rate"}
    assert report["pruned"]["metrics"].keys() == report["dense"]["metrics"].keys() | {"same_words"}
    assert report["pruned"]["parameters"] <= 0.7 * report["dense"]["parameters"]
    assert AutoProcessor.from_pretrained(out).tokenizer.decode([3, 4, 5]) == "abc"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Of 6 evaluation clips" in page
    assert "label: the dog sat" in page
    scores = json.loads(run("evaluate", out, "--eval", clips, "--against", whisper, "--json")[1])
    for name, value in report["pruned"]["metrics"].items():
        assert scores["metrics"][name] == pytest.approx(value), name
    assert scores["metrics"]["kl"] == pytest.approx(report["kl"])
    same = json.loads(run("evaluate", whisper, "--eval", clips, "--against", whisper, "--json")[1])["metrics"]
    assert same["same_words"] == 1
    assert same["agreement"] == 1


def test_without_transcripts_the_model_writes_them_itself(run, whisper, clips, out):
    (clips / "metadata.csv").unlink()
    status, _, err = run("prune", whisper, out, "--data", clips, "--samples", "4", "--keep", "0.5")
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert report["samples"] == 4
    assert report["pruned"]["metrics"].keys() == {"same_words"}
    assert report["kl"] > 0
    assert infoprune.load(out).num_parameters() < infoprune.load(whisper).num_parameters()


def test_stereo_other_rates_silence_and_long_clips(run, whisper, clips, out):
    soundfile.write(clips / "0.wav", noise(0, 0.5, 44_100, 2), 44_100)
    soundfile.write(clips / "2.wav", numpy.zeros(RATE // 2), RATE)
    soundfile.write(clips / "4.wav", noise(4, 3.0), RATE)
    status, _, err = run("evaluate", whisper, "--eval", clips)
    assert status == 0
    assert err.startswith(f"warning: {clips / '4.wav'} is longer than 1 s, of which the first 1 s are read")
    assert len(err.splitlines()) == 1


def test_compare_and_bench(run, whisper, clips, out):
    arguments = ("--criteria", "random", "--keep", "0.5")
    assert run("compare", whisper, out, "--data", clips, "--eval", clips, *arguments)[0] == 0
    cell = json.loads((out / "cells.jsonl").read_text())
    assert cell["metrics"].keys() == {"loss", "perplexity", "agreement", "kl"}
    options = ("--batch-size", "1", "--length", "4", "--repeats", "1", "--no-peak-memory", "--json")
    status, printed, _ = run("bench", whisper, *options)
    assert status == 0
    assert json.loads(printed)["timed"][0]["tokens"] == 4


def test_refusals(refused, whisper, clips, photos_for, reviews, out):
    refused("prune", whisper, out, "--data", reviews, words=["no clips in it", "a folder of clips"])
    refused("prune", whisper, out, "--data", photos_for, words=["no clips in it", ".wav"])
    refused("prune", whisper, out, "--data", clips, "--distill", "1", words=["encoder-decoders cannot be distilled"])
    refused("finetune", whisper, out, "--data", clips, words=["is a model of speech", "texts or pictures"])
    refused("prune", whisper, out, "--data", clips, "--text-pair", "x", words=["--text-pair is 'x'", "as --text"])
    (clips / "1.flac").write_bytes(b"no sound")
    refused("prune", whisper, out, "--data", clips, words=["1.flac cannot be read as sound", "remove or replace"])
    (clips / "metadata.csv").unlink()
    refused("evaluate", whisper, "--eval", clips, words=["no transcripts", "--text", "--against"])
    for file in whisper.glob("*processor_config.json"):
        file.unlink()
    refused("prune", whisper, out, "--data", clips, words=["has no processor", "save it there with"])


@pytest.fixture
def photos_for(tmp_path):
    from tiny_vit import write_pictures

    return write_pictures(tmp_path / "photos", each=1)


@pytest.mark.parametrize("module", ["soundfile", "jiwer"])
def test_the_extra_is_named(refused, whisper, clips, out, monkeypatch, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    refused("prune", whisper, out, "--data", clips, words=[f"{module} is not installed", "infoprune[speech]"])
