"""`infoprune forecast`."""

import json


def test_the_command_reads_no_weights(run, refused, saved_bert, out):
    for file in saved_bert.glob("*.safetensors"):
        file.write_bytes(b"")
    status, printed, err = run("forecast", saved_bert, "--samples", 100, "--max-length", 500)
    assert (status, err) == (0, "")
    for words in ("collect", "repair", "Statistics: 4 sites", "one pass", "Peak: "):
        assert words in printed
    status, printed, _ = run("forecast", saved_bert, "--memory", "9GB", "--structures", "ffn", "--json")
    assert status == 0
    found = json.loads(printed)
    assert found["passes"] == 1
    assert set(found["sites"]) == {"layers.0.ffn", "layers.1.ffn"}
    assert found["peak"] > found["bytes"] > 0
    refused(
        "forecast",
        saved_bert,
        "--structures",
        "ffn,width",
        words=["--structures are ffn, width", "expected some of heads, ffn", "hidden-size"],
    )
    refused("forecast", out, words=["no config.json"])
    refused("forecast", saved_bert, "--samples", 0, words=["--samples is 0"])
    refused("forecast", saved_bert, "--keep", "none", words=["--keep is 'none'"])
    refused("forecast", saved_bert, "--memory", "1B", words=["take", "allow at least"])
