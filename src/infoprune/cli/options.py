"""Options: arguments and options of the commands, each defined once, in panels by their purpose.

Those that say what is cut, and what follows, are in `cut_options`.
"""

from typing import Annotated

import typer

INPUT, SIZE, STRUCTURES = "Input", "How small", "What is cut"
VOCABULARY, AFTER, MACHINE, OUTPUT = "Vocabulary", "After the cut", "Machine", "Output"
TRAINING = "Training"

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder of a model and its tokenizer or processor, or owner/name or owner/name@revision on the Hugging "
        "Face Hub.",
    ),
]
Out = Annotated[
    str, typer.Argument(metavar="OUT", help="New folder for the result; it is written completely or not at all.")
]

Data = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="FILE",
        help="Texts to calibrate or train on: csv, tsv, json, jsonl, parquet or txt, a quoted pattern, a folder of "
        "save_to_disk, or owner/dataset[:configuration][:split] on the Hub; may be repeated. For a model of pictures "
        "or speech a folder of files, in sub-folders named after classes or with a metadata.csv (file_name and label, "
        "or text), or such a dataset.",
        rich_help_panel=INPUT,
    ),
]
_EVAL_HELP = "Texts, pictures or clips to score on, with labels or transcripts if there are any; like --data."
Eval = Annotated[list[str] | None, typer.Option("--eval", metavar="FILE", help=_EVAL_HELP, rich_help_panel=INPUT)]
NeededEval = Annotated[list[str], typer.Option("--eval", metavar="FILE", help=_EVAL_HELP, rich_help_panel=INPUT)]
Text = Annotated[
    str | None,
    typer.Option(
        "--text",
        metavar="COL",
        help="Column of the texts, or of the transcripts of clips; 'text' or 'sentence' is found without it.",
        rich_help_panel=INPUT,
    ),
]
TextPair = Annotated[
    str | None,
    typer.Option(
        "--text-pair",
        metavar="COL",
        help="Column of the second sentence, the QA context or the target text.",
        rich_help_panel=INPUT,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="COL",
        help="Column of the labels; 'label' is found without it.",
        rich_help_panel=INPUT,
    ),
]
Samples = Annotated[
    int,
    typer.Option(
        "--samples", metavar="N", help="Number of calibration inputs sampled from FILE.", rich_help_panel=INPUT
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        metavar="N",
        help="Truncate texts to N tokens; default: the model's limit, at most 512.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="classification, token-classification, question-answering, embedding, causal-lm, masked-lm, seq2seq, "
        "image-classification, image-embedding, speech-recognition, ctc, audio-classification or audio-embedding; "
        "default: the task of the class in config.json.",
        rich_help_panel=INPUT,
    ),
]

BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        help="Inputs per batch; default: 32, or 4 for models of language and speech.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda or mps; auto uses a GPU if there is one.",
        rich_help_panel=MACHINE,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="BYTES",
        help="Largest memory of the process, e.g. 6GB; with little, layers are collected one by one, on disk.",
        rich_help_panel=MACHINE,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        help="Seed of everything that is random; the same seed gives the same result.",
        rich_help_panel=MACHINE,
    ),
]

PlanOnly = Annotated[
    bool,
    typer.Option("--plan-only", help="Write only plan.json: which units would be kept.", rich_help_panel=OUTPUT),
]
Onnx = Annotated[
    bool,
    typer.Option("--onnx", help="Write OUT/onnx/model.onnx as well, compared with PyTorch.", rich_help_panel=OUTPUT),
]
Int8 = Annotated[
    bool,
    typer.Option(
        "--int8",
        help="With --onnx, write OUT/onnx/model_quantized.onnx, with 8-bit weights, as well.",
        rich_help_panel=OUTPUT,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of a table.", rich_help_panel=OUTPUT)
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace OUT, with all that is in it, if it exists.", rich_help_panel=OUTPUT),
]
