"""A tiny ViT with its image processor, and pictures of three classes that it has learnt to tell apart."""

import numpy
import torch
import zoo
from PIL import Image

CLASSES = ("cat", "dog", "fish")
NAMES = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: number for number, name in enumerate(CLASSES)}}
SIDE = 8


def build_vit(**settings):
    """A ViT of 2 layers for 3 classes."""
    return zoo.build(
        "vit", dtype=torch.float32, auto="AutoModelForImageClassification", **({"num_labels": 3, **NAMES} | settings)
    )


def build_image_processor(**settings):
    """The image processor of a ViT for pictures of 8 x 8."""
    try:
        from transformers import ViTImageProcessorPil as ViTImageProcessor  # needs no torchvision
    except ImportError:
        from transformers import ViTImageProcessor
    return ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **settings)


def save_vit(folder, **settings):
    """A folder with both, as from `save_pretrained`."""
    build_vit(**settings).save_pretrained(folder)
    build_image_processor().save_pretrained(folder)
    return folder


def pixels(seed=0, rows=10, columns=12, channels=3):
    """Random bytes in the shape of a picture."""
    return numpy.random.default_rng(seed).integers(0, 256, (rows, columns, channels), dtype=numpy.uint8)


def write_pictures(folder, each=8, classes=CLASSES):
    """Pictures of unlike sizes in a sub-folder for each class, in which one colour is strong."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            values = pixels(100 * number + index, 3 + index, 20 - index) // 2
            values[..., number % 3] += 120
            Image.fromarray(values).save(folder / name / f"{index}.png")
    return folder
