"""Names of models and several places of texts on the command line, without a network; tests/sources has one."""

import json
import shutil

import pytest
from hub_cache import files_of, put_in_cache
from huggingface_hub import ModelCard
from safetensors.torch import save_file
from torch import equal, eye, zeros

import infoprune

ROUGH = ("--criterion", "random", "--no-repair", "--keep", "0.5")


def make_sentence_folder(folder, *more):
    """Write what sentence-transformers saves around a Transformer."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *more]
    rows = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in modules]
    rows = [{"idx": number, "name": str(number), **row} for number, row in enumerate(rows)]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    )
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [sentence-transformers]\n---\n")
    return folder


def read(out, name="report.json"):
    return json.loads((out / name).read_text())


def test_a_model_of_the_cache_is_pruned_by_its_name(run, saved, texts, offline_hub, out):
    folder = make_sentence_folder(saved("embedding"))
    snapshot = put_in_cache(offline_hub, "owner/embedder", files_of(folder), revision="v1")
    shutil.rmtree(folder)
    before = files_of(snapshot)
    status, _, err = run("prune", "owner/embedder@v1", out, "--data", texts, *ROUGH, "--structures", "ffn")
    assert (status, err) == (0, "")
    card = ModelCard((out / "README.md").read_text())
    assert (card.data.base_model, card.data.library_name) == ("owner/embedder", "sentence-transformers")
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "sentence-similarity")
    assert 'SentenceTransformer("out")' in card.text
    assert not any(path.is_symlink() for path in out.rglob("*")), "links of the cache become files"
    assert (out / "1_Pooling" / "config.json").read_bytes() == before["1_Pooling/config.json"]
    assert files_of(snapshot) == before
    status, printed, _ = run("evaluate", out, "--against", "owner/embedder@v1", "--eval", texts, "--json")
    assert status == 0
    assert json.loads(printed)["metrics"]["cosine"] > 0.1


def test_python_opens_a_model_of_the_cache_by_its_name(saved_bert, offline_hub):
    snapshot = put_in_cache(offline_hub, "owner/name", files_of(saved_bert))
    for name in ("owner/name", f"owner/name@{snapshot.name}"):
        model = infoprune.load(name)
        for mine, theirs in zip(model.parameters(), infoprune.load(saved_bert).parameters(), strict=True):
            assert equal(mine, theirs)
    assert infoprune.empty_model("owner/name").num_parameters() == model.num_parameters()
    with pytest.raises(infoprune.InputError, match="no folder owner/none"):
        infoprune.load("owner/none")


def test_sentence_transformers_opens_a_result_as_its_card_says(run, saved, texts, out):
    folder = make_sentence_folder(saved("embedding"), ("2_Dense", "Dense"))
    (folder / "2_Dense").mkdir()
    sizes = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.Identity"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(sizes))
    save_file({"linear.weight": eye(8, 32), "linear.bias": zeros(8)}, folder / "2_Dense" / "model.safetensors")
    status, _, err = run("prune", folder, out, "--data", texts, *ROUGH)
    assert (status, err) == (0, "")
    card = ModelCard((out / "README.md").read_text())
    assert card.data.get("base_model") is None, "a local folder has no name on the hub"
    code = card.text.partition("```python\n")[2].partition("```")[0]
    assert code.startswith("import infoprune  #")
    seen = {}
    exec(code.replace('"out"', repr(str(out))), seen)
    assert seen["model"].encode(["a good film"]).shape == (1, 8)


def test_a_name_in_the_config_of_a_local_folder_is_not_trusted(run, saved_bert, reviews, out):
    config = json.loads((saved_bert / "config.json").read_text())
    (saved_bert / "config.json").write_text(json.dumps({**config, "_name_or_path": "microsoft/mpnet-base"}))
    assert run("prune", saved_bert, out, "--data", reviews, *ROUGH)[0] == 0
    assert read(out)["base_model"] is None
    assert "microsoft" not in (out / "README.md").read_text()


def test_a_link_out_of_a_folder_is_refused_before_the_work(refused, saved, texts, tmp_path, out):
    folder = make_sentence_folder(saved("embedding"))
    (tmp_path / "secret").write_text("secret")
    (folder / "1_Pooling" / "more.json").symlink_to(tmp_path / "secret")
    refused("prune", folder, out, "--data", texts, words=["more.json is a link to", "put the file itself there"])


def test_texts_of_several_places(run, saved_bert, reviews, tmp_path, out):
    lines = reviews.read_text().splitlines()
    for number in (1, 2):
        (tmp_path / f"part-{number}.csv").write_text("\n".join([lines[0], *lines[number::2]]) + "\n")
    (tmp_path / "more.txt").write_text("one more text\n")
    data = ("--data", tmp_path / "part-*.csv", "--data", tmp_path / "more.txt")
    status, _, err = run("prune", saved_bert, out, *data, "--eval", tmp_path / "part-[12].csv", *ROUGH)
    assert (status, err) == (0, "")
    assert read(out)["samples"] == 73
    assert run("evaluate", out, "--eval", tmp_path / "part-1.csv", "--eval", tmp_path / "part-2.csv")[0] == 0


def test_an_input_within_the_output_is_found_in_all_places(run, saved_bert, reviews, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(reviews, out / "part-1.csv")
    for data in ((out / "part-*.csv",), (reviews, "--data", out / "part-1.csv")):
        status, _, err = run("prune", saved_bert, out, "--data", *data, "--force")
        assert status == 2
        assert "contains the input" in err
    assert (out / "part-1.csv").is_file()


def test_a_name_on_the_hub_is_no_input_within_the_output(run, saved_bert, reviews, offline_hub):
    put_in_cache(offline_hub, "owner/name", files_of(saved_bert))
    status, _, err = run("prune", "owner/name", "owner", "--data", reviews, *ROUGH)
    assert (status, err) == (0, "")
    status, _, err = run("prune", "hf://owner/name", "hub", "--data", reviews, *ROUGH, "--force")
    assert status == 2
    assert "hub contains the input" in err
    assert "snapshots" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("prune", "owner/none", "out", "--data", "texts.csv"), ["no folder owner/none", "HF_HUB_OFFLINE"]),
        (("collect", "owner/none", "out", "--data", "texts.csv"), ["no folder owner/none", "HF_HUB_OFFLINE"]),
        (("finetune", "owner/none", "out", "--data", "texts.csv"), ["no folder owner/none", "HF_HUB_OFFLINE"]),
        (("evaluate", "owner/none", "--eval", "texts.csv"), ["no folder owner/none", "HF_HUB_OFFLINE"]),
        (("evaluate", "tiny-bert", "--against", "a/b/c", "--eval", "texts.csv"), ["no folder a/b/c", "owner/name"]),
        (("forecast", "owner/none"), ["no folder owner/none", "HF_HUB_OFFLINE"]),
        (("bench", "owner/none"), ["no folder owner/none", "HF_HUB_OFFLINE"]),
        (("report", "owner/none"), ["no folder owner/none", "HF_HUB_OFFLINE"]),
        (("prune", "tiny-bert", "out", "--data", "owner/none:test"), ["no file owner/none:test", "HF_HUB_OFFLINE"]),
        (("prune", "tiny-bert", "out", "--data", "none-*.csv"), ["none-*.csv: no file matches"]),
        (("prune", "tiny-bret", "out", "--data", "texts.csv"), ["no folder tiny-bret (but tiny-bert)"]),
        (("push", "tiny-bert", "owner/name"), ["HF_HUB_OFFLINE is set", "unset it"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_what_is_neither_here_nor_in_the_cache(refused, saved_bert, texts, offline_hub, out, arguments, words):
    refused(*arguments, words=words)
