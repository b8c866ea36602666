"""Options: all arguments and options of the commands, each defined once, in panels by their purpose."""

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

Keep = Annotated[
    str | None,
    typer.Option(
        "--keep", metavar="SHARE", help="Keep the same share of the units in every layer.", rich_help_panel=SIZE
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="COST",
        help="What the result may cost: flops=0.4, latency=0.5, params=10M or bytes=20MB; default: flops=0.5, for "
        "models of experts params=0.5.",
        rich_help_panel=SIZE,
    ),
]
MaxLossOption = Annotated[
    str | None,
    typer.Option(
        "--max-loss",
        metavar="LOSS",
        help="Search the smallest model that loses at most this on the --eval texts: accuracy=0.5 for half a point.",
        rich_help_panel=SIZE,
    ),
]
MaxKl = Annotated[
    str | None,
    typer.Option(
        "--max-kl",
        metavar="NATS",
        help="The same, for the KL divergence from MODEL's answers; needs no labels.",
        rich_help_panel=SIZE,
    ),
]
Allocation = Annotated[
    str | None,
    typer.Option(
        "--allocation",
        metavar="NAME",
        help="How the budget is divided among layers: nats (least loss) or uniform (same share).",
        rich_help_panel=SIZE,
    ),
]
Depth = Annotated[
    bool,
    typer.Option(
        "--depth",
        help="Let the budget remove whole attention and feed-forward blocks.",
        rich_help_panel=SIZE,
    ),
]

Structures = Annotated[
    str | None,
    typer.Option(
        "--structures",
        metavar="NAME,...",
        help="Types of structure to cut: ffn, heads, cross-heads, experts, expert-neurons, hidden-size, "
        "hidden-size-per-layer, pooler, vocabulary; default: ffn, heads and experts.",
        rich_help_panel=STRUCTURES,
    ),
]
LayerStructures = Annotated[
    str | None,
    typer.Option(
        "--structures",
        metavar="NAME,...",
        help="Types of structure that will be cut: ffn, heads, cross-heads, experts, expert-neurons, pooler, "
        "hidden-size or hidden-size-per-layer; default: ffn, heads and experts.",
        rich_help_panel=STRUCTURES,
    ),
]
ComparedStructures = Annotated[
    str | None,
    typer.Option(
        "--structures",
        metavar="NAME,...",
        help="Types of structure to cut: ffn, heads, cross-heads, experts, expert-neurons or pooler; default: ffn and "
        "heads, of models of experts the experts alone.",
        rich_help_panel=STRUCTURES,
    ),
]
ShapeOption = Annotated[
    str,
    typer.Option(
        "--shape",
        metavar="NAME",
        help="free, or uniform: same sizes in every layer, so that plain transformers opens the result.",
        rich_help_panel=STRUCTURES,
    ),
]
CriterionName = Annotated[
    str,
    typer.Option(
        "--criterion",
        metavar="NAME",
        help="How the units are chosen: information, or for comparison fan2021, kwon, brain-surgeon, leverage, flap, "
        "wanda, taylor, activation, magnitude, magnitude-l1 or random, and of experts reap or frequency.",
        rich_help_panel=STRUCTURES,
    ),
]
StatisticsFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--statistics",
        metavar="DIR",
        help="Choose the units by statistics from infoprune collect; may be repeated.",
        rich_help_panel=STRUCTURES,
    ),
]

MinCount = Annotated[
    int | None,
    typer.Option(
        "--min-count",
        metavar="N",
        help="Remove tokens that occur less than N times in FILE; default: 1.",
        rich_help_panel=VOCABULARY,
    ),
]
ExtraTokens = Annotated[
    int | None,
    typer.Option(
        "--extra-tokens",
        metavar="N",
        help="Keep N more tokens that are likely in new text; default: 0.",
        rich_help_panel=VOCABULARY,
    ),
]
DroppedTokens = Annotated[
    str | None,
    typer.Option(
        "--dropped-tokens",
        metavar="NAME",
        help="How to handle removed tokens: pieces (the tokenizer splits them) or remap (the model reads a similar "
        "kept token); default: remap where only infoprune opens the result anyway, else pieces.",
        rich_help_panel=VOCABULARY,
    ),
]

Repair = Annotated[
    bool,
    typer.Option(
        "--repair/--no-repair", help="Re-fit the remaining weights to the original model.", rich_help_panel=AFTER
    ),
]
Effort = Annotated[
    str,
    typer.Option(
        "--effort",
        metavar="EFFORT",
        help="Time for the repair: quick re-fits linear modules; normal also the neurons together, where there are "
        "enough tokens (up to 3 times as long, a tenth less KL); thorough always does.",
        rich_help_panel=AFTER,
    ),
]
Distill = Annotated[
    float | None,
    typer.Option(
        "--distill",
        metavar="EPOCHS",
        help="Distill from the original model for N epochs over FILE; needs no labels.",
        rich_help_panel=AFTER,
    ),
]
Rounds = Annotated[
    int,
    typer.Option("--rounds", metavar="N", help="Number of prune-and-repair iterations.", rich_help_panel=AFTER),
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
