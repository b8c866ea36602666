"""Cut options: how small a model becomes, what is cut, and what follows the cut; each is defined once."""

from typing import Annotated

import typer

from infoprune.cli.options import AFTER, SIZE, STRUCTURES, VOCABULARY

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
