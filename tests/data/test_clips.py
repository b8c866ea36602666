"""Clips of every form become what a feature extractor reads: one channel, its sampling rate; or one clear line."""

import io
import math

import numpy
import pytest
import soundfile

from infoprune.data.clips import check_clips, open_clip
from infoprune.data.media import MediaData, read_media
from infoprune.errors import InputError
from infoprune.sources.item import MediaItem
from infoprune.tasks.transcribe import word_error_rate, words_of

RATE = 16_000


def clip(sound, rate=RATE, form="WAV", name="a.wav", **settings):
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=form, **settings)
    return MediaItem(name, file.getvalue)


def tone(seconds=0.5, rate=RATE, hertz=440):
    return 0.5 * numpy.sin(2 * math.pi * hertz * numpy.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
def test_every_format_holds_the_same_sound(form):
    found = open_clip(clip(tone(), form=form), RATE)
    assert found.dtype == numpy.float32
    assert numpy.abs(found - tone()).max() < (0.05 if form == "OGG" else 1e-3)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_sampling_rate_is_resampled(rate):
    found = open_clip(clip(tone(rate=rate), rate), RATE)
    assert len(found) == pytest.approx(RATE / 2, abs=2)
    middle = slice(1000, 7000)  # the ends ring
    assert numpy.abs(found[middle] - tone()[middle]).max() < 0.01


def test_channels_are_mixed_and_silence_is_sound():
    both = numpy.stack([tone(), -tone()], 1)
    assert numpy.abs(open_clip(clip(both), RATE)).max() < 1e-4
    assert (open_clip(clip(numpy.zeros(800)), RATE) == 0).all()


@pytest.mark.parametrize("content", [b"", b"text", clip(tone(0.0)).load(), clip(tone(), form="FLAC").load()[:200]])
def test_what_is_no_sound_is_named(content):
    with pytest.raises(InputError) as refused:
        open_clip(MediaItem("a.wav", lambda: content), RATE)
    assert str(refused.value).startswith("a.wav ")
    assert "remove" in str(refused.value)
    assert "BytesIO" not in str(refused.value)


def test_of_long_clips_the_beginning_is_read_and_told():
    data = MediaData((clip(tone(0.2)), clip(tone(1.5), name="b.wav"), clip(tone(3.0))), None, None, "clips")
    with pytest.warns(UserWarning, match=r"2 clips, such as b\.wav, are longer than 1 s, of which the first 1 s"):
        check_clips(data, RATE, 1.0)


def test_transcripts_are_found_by_name(tmp_path):
    (tmp_path / "a.wav").write_bytes(clip(tone()).load())
    for column in ("text", "sentence", "transcription", "transcript"):
        (tmp_path / "metadata.csv").write_text(f"file_name,{column}\na.wav,hello there\n")
        assert read_media(tmp_path, "clips").transcripts == ("hello there",)
    (tmp_path / "metadata.csv").write_text("file_name,said\na.wav,hello there\n")
    assert read_media(tmp_path, "clips").transcripts is None
    assert read_media(tmp_path, "clips", transcript="said").transcripts == ("hello there",)
    with pytest.raises(InputError, match="no transcripts, expected a column text"):
        read_media(tmp_path, "clips", need_transcripts=True)


def test_word_error_rate_counts_words():
    assert word_error_rate(["a b c d"], ["A x, c."]) == 2 / 4, "one replaced, one left out"
    assert word_error_rate(["a", ""], ["a", "b c"]) == 2, "words where nothing is said are added ones"
    assert word_error_rate([""], ["a"]) is None
    assert words_of("It\N{RIGHT SINGLE QUOTATION MARK}s one-two!") == ["it's", "one", "two"]
