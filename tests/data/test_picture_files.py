"""Pictures of every mode and fault become what a model's image processor is given, or one clear line."""

import io

import numpy
import pytest
import torch
from PIL import Image
from tiny_vit import SIDE, build_image_processor, pixels

from infoprune.data.media import MediaData
from infoprune.data.pictures import open_picture, picture_batches, prepared
from infoprune.errors import InputError
from infoprune.sources.item import MediaItem


def item(picture, form="PNG", **settings):
    file = io.BytesIO()
    picture.save(file, form, **settings)
    return MediaItem("a.png", file.getvalue)


def values(found):
    return numpy.asarray(found)


def test_colours_come_back_as_they_are():
    assert (values(open_picture(item(Image.fromarray(pixels())))) == pixels()).all()


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 3), ("P", 3), ("1", 3), ("RGBA", 3), ("RGBA", 4)])
def test_every_mode_gets_the_channels_of_the_model(mode, channels):
    picture = Image.fromarray(pixels()).convert(mode)
    found = open_picture(item(picture), channels)
    assert len(found.getbands()) == channels
    plain = picture.convert("RGBA").convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    assert (values(found) == values(plain)).all()


def test_transparency_is_left_out_as_in_pipelines():
    four = pixels(channels=4)
    assert (values(open_picture(item(Image.fromarray(four)))) == four[..., :3]).all()


def test_16_bits_are_scaled_to_8():
    deep = numpy.arange(120, dtype=numpy.uint16).reshape(10, 12) * 500
    found = values(open_picture(item(Image.fromarray(deep)), 1))
    assert numpy.abs(found - deep / 257).max() <= 0.5
    light = numpy.linspace(0, 1, 120, dtype=numpy.float32).reshape(10, 12)
    found = values(open_picture(item(Image.fromarray(light), "TIFF"), 1))
    assert numpy.abs(found - 255 * light).max() <= 0.5


def test_a_picture_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    upright = Image.fromarray(pixels()).transpose(Image.Transpose.ROTATE_270)
    found = open_picture(item(Image.fromarray(pixels()), exif=exif))
    assert (values(found) == values(upright)).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a.png is empty, expected a picture"),
        (b"text,label\nfilm,1\n", "cannot be read as a picture (no known format)"),
        (
            item(Image.fromarray(pixels(rows=90, columns=90))).load()[:900],
            "expected an undamaged one; remove or replace",
        ),
    ],
)
def test_what_is_no_picture_is_named(content, says):
    with pytest.raises(InputError) as refused:
        open_picture(MediaItem("a.png", lambda: content))
    assert says in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 50), (50, 3), (8, 8), (1, 200)])
def test_odd_sizes_are_prepared_as_by_the_processor_itself(rows, columns):
    processor = build_image_processor()
    picture = Image.fromarray(pixels(rows=rows, columns=columns))
    resized = values(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert torch.allclose(prepared(processor, [picture])[0], torch.tensor(resized / 127.5 - 1).float(), atol=1e-5)


def test_a_processor_of_grey_pictures():
    processor = build_image_processor(image_mean=[0.25], image_std=[0.5])
    grey = Image.fromarray(pixels(rows=SIDE, columns=SIDE)).convert("L")
    found = prepared(processor, [grey])
    assert torch.allclose(found[0, 0], torch.tensor((values(grey) / 255 - 0.25) / 0.5).float(), atol=1e-6)


def test_batches_are_read_when_they_are_used():
    read = []

    def one(number):
        read.append(number)
        return item(Image.fromarray(pixels(number))).load()

    data = MediaData(tuple(MediaItem(str(n), lambda n=n: one(n)) for n in range(5)), None, None, "five")
    batches = picture_batches(data, build_image_processor(), channels=3, batch_size=2, labels=[0, 1, 2, 0, 1])
    assert len(batches) == 3
    assert len(read) <= 2, "the type checker of the tests may look at one batch"
    read.clear()
    assert batches[1]["labels"].tolist() == [2, 0]
    assert read == [2, 3]
    assert [len(batch["pixel_values"]) for batch in batches[1:]] == [2, 1]
    changed = batches.then(lambda batch: {**batch, "labels": batch["labels"] + 1})
    assert changed[2]["labels"].tolist() == [2]
