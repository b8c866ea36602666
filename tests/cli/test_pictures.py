"""Models of pictures from the command line: every command on a folder of pictures, and what is refused."""

import json
import re
import shutil

import pytest
import torch
from rows import write_rows
from tiny_vit import CLASSES, build_image_processor, build_vit, save_vit, write_pictures
from transformers import AutoImageProcessor
from zoo import build

import infoprune


@pytest.fixture
def photos(tmp_path):
    return write_pictures(tmp_path / "photos")


@pytest.fixture
def vit(tmp_path):
    return save_vit(tmp_path / "vit")


@pytest.fixture
def half(run, vit, photos, out):
    status, printed, err = run("prune", vit, out, "--data", photos, "--eval", photos, "--samples", "20")
    assert (status, err) == (0, "")
    assert "chosen on 20 pictures." in printed
    return out


def test_prune_and_evaluate(run, half, vit, photos):
    report = json.loads((half / "report.json").read_text())
    assert report["task"] == "image-classification"
    assert report["pruned"]["flops"] <= 0.5 * report["dense"]["flops"]
    assert report["pruned"]["metrics"].keys() == {"accuracy", "macro_f1"}
    processor = AutoImageProcessor.from_pretrained(half)
    assert processor.size == build_image_processor().size, "it is saved with the result"
    assert 'processor = AutoImageProcessor.from_pretrained("out")' in (half / "report.md").read_text()
    scores = json.loads(run("evaluate", half, "--eval", photos, "--against", vit, "--json")[1])
    assert (scores["inputs"], scores["reads"]) == (24, "pictures")
    assert scores["metrics"]["kl"] == pytest.approx(report["kl"])
    assert scores["metrics"]["accuracy"] == pytest.approx(report["pruned"]["metrics"]["accuracy"])
    assert scores["against"] == pytest.approx(report["dense"]["metrics"])
    # by hand: the image processor, the model, the name of the folder
    from PIL import Image

    model = infoprune.load(half)
    right = 0
    for name in CLASSES:
        for file in (photos / name).iterdir():
            with Image.open(file) as picture, torch.no_grad():
                logits = model(**processor(picture.convert("RGB"), return_tensors="pt")).logits
            right += model.config.id2label[int(logits.argmax())] == name
    assert scores["metrics"]["accuracy"] == pytest.approx(right / 24)


def test_the_page_shows_pictures_with_both_answers(half):
    text = (half / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="data:image/jpeg;base64,[A-Za-z0-9+/=]+" alt="([^"]+)"', text)
    assert 0 < len(shown) <= 12
    assert all(name.endswith(".png") for name in shown)
    agreement = json.loads((half / "report.json").read_text())["agreement"]
    found = re.search(r"Of 24 evaluation pictures, (\d+) ha(?:s|ve) another answer", text)
    assert int(found[1]) == pytest.approx(24 * (1 - agreement))
    assert "http" not in re.sub(r"base64,[^\"]+", "", text).replace("http-equiv", "")


def test_finetune_learns_the_classes_and_distillation_keeps_the_size(run, vit, half, photos, tmp_path):
    tuned = tmp_path / "tuned"
    arguments = ("--epochs", "6", "--learning-rate", "0.003", "--batch-size", "8")
    status, printed, err = run("finetune", vit, tuned, "--data", photos, "--eval", photos, *arguments)
    assert (status, err) == (0, "")
    assert "for 3 classes is trained further" in printed
    before, after = (json.loads(run("evaluate", x, "--eval", photos, "--json")[1])["metrics"] for x in (vit, tuned))
    assert after["accuracy"] > max(0.8, before["accuracy"])
    other = write_pictures(tmp_path / "two", each=3, classes=("day", "night"))
    status, printed, _ = run("finetune", half, tmp_path / "headed", "--data", other, "--epochs", "0.5")
    assert status == 0
    assert "gets a new head for 2 classes (day, night)" in printed
    assert infoprune.load(tmp_path / "headed").config.id2label == {0: "day", 1: "night"}
    status, printed, err = run(
        "finetune", half, tmp_path / "distilled", "--data", photos, "--teacher", vit, "--batch-size", "4"
    )
    assert status == 0
    sizes = [infoprune.load(place).num_parameters() for place in (half, tmp_path / "distilled")]
    assert sizes[0] == sizes[1]
    AutoImageProcessor.from_pretrained(tmp_path / "distilled")


def test_search_collect_and_distill_in_one_run(run, vit, photos, out, tmp_path):
    assert run("collect", vit, tmp_path / "collected", "--data", photos)[0] == 0
    with_statistics = ("--statistics", tmp_path / "collected", "--keep", "0.5")
    assert run("prune", vit, out, "--data", photos, *with_statistics, "--distill", "0.5", "--batch-size", "6")[0] == 0
    shutil.rmtree(out)
    assert run("prune", vit, out, "--data", photos, "--eval", photos, "--max-loss", "accuracy=20")[0] == 0
    report = json.loads((out / "report.json").read_text())
    assert report["dense"]["metrics"]["accuracy"] - report["pruned"]["metrics"]["accuracy"] <= 0.2 + 1e-9


def test_bench_export_and_compare(run, vit, photos, out, tmp_path):
    file = tmp_path / "vit.onnx"
    status, printed, err = run("export", vit, file)
    assert (status, err) == (0, "")
    assert "inputs x channels x rows x columns" in printed
    status, printed, _ = run(
        "bench", vit, file, "--batch-size", "2", "--length", "64,32", "--repeats", "2", "--no-peak-memory", "--json",
        "--eval", photos,
    )  # fmt: skip
    assert status == 0
    bench = json.loads(printed)
    assert [(row["inputs"], row["tokens"]) for row in bench["timed"]] == [(2, 5)] * 2, "4 patches and one more"
    assert bench["evaluated"][1]["agreement"] == 1
    assert bench["evaluated"][1]["metrics"] == pytest.approx(bench["evaluated"][0]["metrics"])
    arguments = ("--criteria", "information,random", "--keep", "0.5")
    assert run("compare", vit, out, "--data", photos, "--eval", photos, *arguments)[0] == 0
    cells = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert all(cell["metrics"].keys() >= {"accuracy", "kl", "agreement"} for cell in cells)


def test_a_model_of_grey_pictures(run, photos, out, tmp_path):
    folder = tmp_path / "grey"
    build_vit(num_channels=1).save_pretrained(folder)
    build_image_processor(image_mean=[0.3], image_std=[0.4]).save_pretrained(folder)
    status, _, err = run("prune", folder, out, "--data", photos, "--keep", "0.7")
    assert (status, err) == (0, "")


def test_the_rest_of_the_pictures_is_evaluated_where_none_are_named(run, vit, photos, out):
    assert run("prune", vit, out, "--data", photos, "--samples", "16")[0] == 0
    report = json.loads((out / "report.json").read_text())
    assert report["samples"] == 16
    assert report["kl"] > 0
    assert report["pruned"]["metrics"] == {}, "labels of calibration data are not read"


def damaged(photos):
    file = photos / "dog" / "3.png"
    file.write_bytes(file.read_bytes()[:60])
    return ("dog/3.png", "cannot be read as a picture", "remove or replace it")


def empty(photos):
    (photos / "dog" / "3.png").write_bytes(b"")
    return ("dog/3.png is empty", "remove it")


def unknown(photos):
    (photos / "dog").rename(photos / "wolf")
    return ("labels 'wolf' are unknown to this model", "'cat', 'dog', 'fish'")


@pytest.mark.parametrize("spoil", [damaged, empty, unknown])
def test_bad_evaluation_pictures_stop_the_work_before_it_begins(refused, vit, photos, out, tmp_path, spoil):
    other = write_pictures(tmp_path / "other")
    words = spoil(other)
    refused("prune", vit, out, "--data", photos, "--eval", other, words=words)
    if spoil is not unknown:
        refused("prune", vit, out, "--data", other, words=words)
    refused("evaluate", vit, "--eval", other, words=words)


def test_wrong_inputs_are_told_from_one_another(refused, vit, saved_bert, reviews, photos, out, tmp_path):
    refused("prune", vit, out, "--data", reviews, words=["no pictures in it", "'text', 'label'", "file_name"])
    refused("prune", saved_bert, out, "--data", photos, words=["holds pictures", "the model reads texts"])
    refused("prune", vit, out, "--data", photos, "--text", "caption", words=["--text is 'caption'", "reads pictures"])
    refused("prune", vit, out, "--data", photos, "--max-loss", "accuracy=1", words=["evaluation", "--eval"])
    refused("evaluate", vit, "--eval", photos / "cat", words=["no labels", "a sub-folder for each class"])
    lost = write_rows(photos / "metadata.csv", [("nowhere.png", "cat")], columns=("file_name", "label"))
    refused("prune", vit, out, "--data", photos, words=[lost, "row 1 names 'nowhere.png'", "relative to the table"])


def test_a_missing_or_wrong_image_processor(refused, vit, photos, out):
    build_image_processor(do_resize=False).save_pretrained(vit)
    refused("prune", vit, out, "--data", photos, words=["does not take what its image processor makes"])
    (vit / "preprocessor_config.json").write_text("{")
    refused("prune", vit, out, "--data", photos, words=["the image processor cannot be read", "save it again"])
    (vit / "preprocessor_config.json").unlink()
    refused("prune", vit, out, "--data", photos, words=["has no image processor", "preprocessor_config.json"])


def test_pillow_is_asked_for_by_name(refused, vit, photos, out, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    refused("prune", vit, out, "--data", photos, words=["Pillow is not installed", "pip install pillow"])


@pytest.mark.parametrize("model_type", ["vit", "dinov2", "clip_vision_model", "siglip_vision_model"])
def test_models_without_a_head_embed_pictures(run, photos, tmp_path, model_type):
    """Also the tower of pictures alone; the target is the embedding, and labels are not read."""
    dense, out = tmp_path / "dense", tmp_path / "out"
    auto = {"clip_vision_model": None, "siglip_vision_model": "SiglipVisionModel"}.get(model_type, "AutoModel")
    build(model_type, dtype=torch.float32, auto=auto).save_pretrained(dense)
    build_image_processor().save_pretrained(dense)
    status, _, err = run("prune", dense, out, "--data", photos, "--eval", photos, "--keep", "0.5")
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert report["task"] == "image-embedding"
    assert "image-feature-extraction" in (out / "README.md").read_text()
    assert "data:image/jpeg" not in (out / "report.html").read_text(), "an embedding has no name to show"
    scores = json.loads(run("evaluate", out, "--eval", photos, "--against", dense, "--json")[1])
    assert scores["metrics"]["cosine"] == pytest.approx(report["agreement"])
    assert 0 < report["agreement"] < 1
    status, _, err = run("evaluate", out, "--eval", photos)
    assert status == 2
    assert "pass the model to compare it with as --against" in err
