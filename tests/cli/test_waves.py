"""Encoders of sound from the command line: CTC, classifiers and embeddings of clips through every command."""

import json

import numpy
import pytest
import soundfile
import torch
from tiny_waves import KINDS, save_ctc, save_hearing, write_tones
from tiny_whisper import RATE, noise, write_clips
from transformers import AutoFeatureExtractor, AutoProcessor

import infoprune
from infoprune.tasks.transcribe import word_error_rate


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips")


@pytest.fixture
def tones(tmp_path):
    return write_tones(tmp_path / "tones")


def metrics_of(run, *arguments):
    status, printed, err = run("evaluate", *arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(printed)["metrics"]


@pytest.mark.parametrize("masks", [False, True])
def test_a_model_that_writes_letters(run, clips, out, tmp_path, masks):
    dense = save_ctc(tmp_path / "ctc", masks=masks)
    status, printed, err = run("prune", dense, out, "--data", clips, "--eval", clips, "--keep", "0.5")
    assert (status, err) == (0, "")
    assert "wav2vec2 ctc" in printed
    assert "chosen on 6 clips." in printed
    report = json.loads((out / "report.json").read_text())
    assert report["pruned"]["metrics"].keys() == {"word_error_rate", "same_words"}
    assert "Of 6 evaluation clips" in (out / "report.html").read_text(encoding="utf-8")
    assert "AutoProcessor" in (out / "report.md").read_text()
    scores = metrics_of(run, out, "--eval", clips, "--against", dense)
    assert scores["kl"] == pytest.approx(report["kl"], rel=1e-4)
    same = metrics_of(run, dense, "--eval", clips, "--against", dense)
    assert (same["same_words"], same["agreement"]) == (1, 1)


def test_words_are_those_of_the_processor(run, clips, tmp_path):
    """By hand and clip by clip: without padding, the likeliest token of every frame."""
    folder = save_ctc(tmp_path / "ctc")
    model, processor = infoprune.load(folder), AutoProcessor.from_pretrained(folder)
    said, truth = [], []
    for line in (clips / "metadata.csv").read_text().splitlines()[1:]:
        name, text = line.split(",")
        sound, _ = soundfile.read(clips / name, dtype="float32")
        with torch.no_grad():
            logits = model(**processor(sound, sampling_rate=RATE, return_tensors="pt")).logits
        said += processor.batch_decode(logits.argmax(-1))
        truth.append(text)
    scores = metrics_of(run, folder, "--eval", clips, "--batch-size", "1")
    assert scores == {"word_error_rate": pytest.approx(word_error_rate(truth, said))}


def test_the_other_commands_of_letters(run, clips, out, tmp_path):
    dense, half = save_ctc(tmp_path / "ctc", "wavlm", masks=True), tmp_path / "half"
    assert run("collect", dense, tmp_path / "statistics", "--data", clips)[0] == 0
    by = ("--statistics", tmp_path / "statistics", "--keep", "0.5")
    assert run("prune", dense, half, "--data", clips, *by, "--distill", "0.5")[0] == 0
    assert run("finetune", half, tmp_path / "tuned", "--data", clips, "--teacher", dense, "--epochs", "0.5")[0] == 0
    AutoProcessor.from_pretrained(tmp_path / "tuned")
    compared = ("--criteria", "information,random", "--keep", "0.5")
    assert run("compare", dense, out, "--data", clips, "--eval", clips, *compared)[0] == 0
    cell = json.loads((out / "cells.jsonl").read_text().splitlines()[0])
    assert cell["metrics"].keys() == {"agreement", "kl"}
    assert run("forecast", dense)[0] == 0
    options = ("--batch-size", "1", "--length", "8", "--repeats", "1", "--no-peak-memory", "--json")
    assert len(json.loads(run("bench", dense, half, *options)[1])["timed"]) == 2


def test_a_classifier_learns_loses_nothing_and_is_searched(run, tones, out, tmp_path):
    dense, tuned = save_hearing(tmp_path / "dense"), tmp_path / "tuned"
    learning = ("--epochs", "10", "--learning-rate", "0.003", "--batch-size", "6")
    status, printed, err = run("finetune", dense, tuned, "--data", tones, "--eval", tones, *learning)
    assert (status, err) == (0, "")
    assert "under new names: deep, high, middle" in printed
    assert (
        metrics_of(run, tuned, "--eval", tones)["accuracy"] > 0.8 > metrics_of(run, dense, "--eval", tones)["accuracy"]
    )
    status, _, err = run("prune", tuned, out, "--data", tones, "--eval", tones, "--max-loss", "accuracy=20")
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert report["pruned"]["parameters"] < report["dense"]["parameters"]
    assert report["pruned"]["metrics"].keys() == {"accuracy", "macro_f1"}
    assert "AutoFeatureExtractor" in (out / "report.md").read_text()
    assert "Of 12 evaluation clips" in (out / "report.html").read_text(encoding="utf-8")
    AutoFeatureExtractor.from_pretrained(out)
    options = ("--batch-size", "1", "--length", "8", "--repeats", "1", "--no-peak-memory", "--json")
    bench = json.loads(run("bench", tuned, out, *options, "--eval", tones)[1])
    assert bench["evaluated"][1]["metrics"] == pytest.approx(report["pruned"]["metrics"])


def test_any_encoder_of_sound_can_become_a_classifier(run, tones, tmp_path):
    dense, tuned = save_ctc(tmp_path / "ctc"), tmp_path / "tuned"
    status, printed, _ = run("finetune", dense, tuned, "--data", tones, "--epochs", "0.5")
    assert status == 0
    assert "gets a new head for 3 classes (deep, high, middle)" in printed
    assert [*infoprune.load(tuned).config.id2label.values()] == [*KINDS]


def test_embeddings_need_no_labels(run, tones, out, tmp_path):
    dense = save_hearing(tmp_path / "dense", "wav2vec2", "AutoModel")
    assert run("prune", dense, out, "--data", tones, "--eval", tones, "--keep", "0.5")[0] == 0
    assert json.loads((out / "report.json").read_text())["task"] == "audio-embedding"
    assert 0.5 < metrics_of(run, out, "--eval", tones, "--against", dense)["cosine"] < 1


def test_stereo_other_rates_silence_short_and_long_clips(run, clips, tmp_path):
    """A clip of one sample is filled with silence, and one of a minute is read to its half."""
    soundfile.write(clips / "0.wav", noise(0, 0.5, 44_100, 2), 44_100)
    soundfile.write(clips / "2.wav", numpy.zeros(RATE // 2), RATE)
    soundfile.write(clips / "4.wav", noise(4, 60.0, 1000), 1000)
    soundfile.write(clips / "1.flac", noise(1, 1 / RATE), RATE)
    folder = save_ctc(tmp_path / "ctc", conv_kernel=[80, 160], conv_stride=[80, 160])
    status, _, err = run("evaluate", folder, "--eval", clips, "--batch-size", "1")
    assert status == 0
    assert err.startswith(f"warning: {clips / '4.wav'} is longer than 30 s, of which the first 30 s are read")
    assert len(err.splitlines()) == 1


def test_transcripts_of_a_classifier_are_not_read(run, clips, out, tmp_path):
    (clips / "metadata.csv").write_text("file_name,text,label\n0.wav,,LABEL_0\n1.flac,b,LABEL_2\n2.wav,,LABEL_2\n")
    dense = save_hearing(tmp_path / "dense")
    status, _, err = run("prune", dense, out, "--data", clips, "--eval", clips, "--keep", "0.5")
    assert (status, err) == (0, "")


def test_clips_without_transcripts_calibrate_a_model_that_writes(run, clips, out, tmp_path):
    """What is said is no part of the calibration, so a table may hold it for some clips alone."""
    (clips / "metadata.csv").unlink()
    (clips / "metadata.jsonl").write_text('{"file_name": "0.wav", "text": "a"}\n{"file_name": "2.wav", "text": null}\n')
    dense = save_ctc(tmp_path / "ctc")
    status, _, err = run("prune", dense, out, "--data", clips, "--keep", "0.5")
    assert (status, err) == (0, "")


def test_refusals(refused, clips, tones, out, tmp_path):
    ctc, classifier = save_ctc(tmp_path / "ctc"), save_hearing(tmp_path / "classifier")
    refused("export", ctc, words=["is for ctc, expected one that reads texts or pictures", "run it in PyTorch"])
    refused("export", classifier, words=["is for audio-classification", "run it in PyTorch"])
    refused("bench", ctc, "--eval", clips, words=["is for ctc, expected a classifier", "infoprune evaluate"])
    refused("evaluate", classifier, "--eval", clips, words=["no column 'label'"])
    refused("evaluate", ctc, "--eval", tones, words=["no transcripts", "--against"])
    refused("prune", classifier, out, "--data", tones, "--text", "text", words=["reads clips", "leave --text out"])
    (tones / "deep").rename(tones / "wolf")
    refused("evaluate", classifier, "--eval", tones / "high", words=["no labels", "a sub-folder for each class"])
    (ctc / "processor_config.json").write_text("{")
    refused("prune", ctc, out, "--data", clips, words=["the processor cannot be read", "save it again"])
    (classifier / "preprocessor_config.json").unlink()
    refused("prune", classifier, out, "--data", tones, words=["has no feature extractor", "AutoFeatureExtractor"])


def test_a_processor_of_another_model(refused, clips, out, tmp_path):
    from transformers import WhisperFeatureExtractor

    folder = save_hearing(tmp_path / "classifier")
    WhisperFeatureExtractor(feature_size=6).save_pretrained(folder)
    refused("prune", folder, out, "--data", clips, words=["does not take what its feature extractor", "sound waves"])
