"""`infoprune export`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.table import Table

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.errors import InputError

if TYPE_CHECKING:
    from infoprune.jobs.export_gguf import ExportedGguf
    from infoprune.serving.export import Exported
    from infoprune.serving.llama_cpp.export import Type

ONNX, GGUF = ".onnx", ".gguf"


def export_command(
    model: options.Model,
    out: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="New .onnx or .gguf file; without it, the graph is written to MODEL/onnx/model.onnx. It is written "
            "completely or not at all.",
            show_default=False,
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="ONNX: quantise weights and activations to 8 bits; without FILE, to MODEL/onnx/model_quantized.onnx "
            "as well.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    type: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="GGUF: number format of the weights, f16, q8_0 or f32; default: f16.",
            show_default=False,
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="ONNX: texts or pictures to compare the graph with MODEL on; a few are built in.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    text: options.Text = None,
    text_pair: options.TextPair = None,
    samples: options.Samples = 256,
    max_length: options.MaxLength = None,
    batch_size: options.BatchSize = 4,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace the file, or MODEL/onnx, if it exists.", rich_help_panel=options.OUTPUT),
    ] = False,
) -> None:
    """Write a model as ONNX, compared with PyTorch, or as GGUF for llama.cpp."""
    suffix = None if out is None else Path(out).suffix
    if suffix not in (None, ONNX, GGUF):
        raise InputError(
            f"{out} does not end in {ONNX} or {GGUF}, expected one of them; pass e.g. {out}{ONNX}, or no file for "
            f"{model}/onnx/model.onnx"
        )
    if out is not None and suffix == GGUF:
        _check_absent(GGUF, ONNX, int8=int8, data=bool(data))
        _export_gguf(model, out, type or "f16", force=force, as_json=as_json)
        return
    _check_absent(ONNX, GGUF, type=type is not None)
    with bars() as advance:
        from infoprune.jobs.export import Compared, export_folder, export_inside
        from infoprune.jobs.inputs import Columns, Packing

        advance("export", 0, 1)
        texts = Compared(data or None, Columns(text, text_pair), Packing(batch_size, max_length), samples, seed)
        if out is None:
            graphs = export_inside(model, texts=texts, int8=int8, force=force)
        else:
            graphs = (export_folder(model, out, texts=texts, int8=int8, force=force, progress=advance),)
        advance("export", 1, 1)
    if as_json:
        typer.echo(json.dumps(asdict(graphs[0]) if out is not None else {"graphs": [asdict(each) for each in graphs]}))
        return
    console = stdout()
    for graph in graphs:
        console.print(_table(graph))
        console.print(f"Written to {graph.file}.", soft_wrap=True, markup=False)


def _check_absent(this: str, other: str, **given: bool) -> None:
    """Raise InputError where an option was given that has no effect for this type of file."""
    for name, there in given.items():
        if there:
            raise InputError(
                f"`{name}` was given for {this}, expected it for {other} only; leave it out, or write {other}"
            )


def _table(exported: "Exported") -> Table:
    from infoprune.reports.render import human, metric

    table = Table("", "value", title=f"{'int8' if exported.int8 else 'float32'} graph compared with PyTorch in float32")
    shapes = ", ".join(" x ".join(map(str, shape)) for shape in exported.shapes[:6])
    more = ", ..." if len(exported.shapes) > 6 else ""
    axes = (
        "inputs x channels x rows x columns" if exported.shapes and len(exported.shapes[0]) > 2 else "inputs x tokens"
    )
    table.add_row("compared on", f"{exported.inputs:,} inputs; {axes}: {shapes}{more}")
    table.add_row("largest difference", f"{exported.difference:.2g} (outputs up to {exported.scale:.3g})")
    if exported.agreement is not None:  # of embeddings, which have no divergence, it is the mean cosine
        name = "cosine" if exported.kl is None else "agreement"
        table.add_row(name, metric(name, exported.agreement))
    if exported.kl is not None:
        table.add_row("KL (nats)", f"{exported.kl:.4f}")
    table.add_row("size", human(exported.bytes, "B"))
    return table


def _export_gguf(model: str, out: str, type: str, *, force: bool, as_json: bool) -> None:
    with bars() as advance:
        from infoprune.jobs.export_gguf import export_gguf_folder

        advance("export", 0, 1)
        exported = export_gguf_folder(model, out, type=_type_named(type), force=force, progress=advance)
        advance("export", 1, 1)
    if as_json:
        typer.echo(json.dumps(asdict(exported)))
        return
    console = stdout()
    console.print(_gguf_table(exported))
    console.print(f"Written to {exported.file}.", soft_wrap=True, markup=False)


def _type_named(text: str) -> "Type":
    from infoprune.serving.llama_cpp.export import Type

    name: Type
    for name in get_args(Type):
        if text == name:
            return name
    raise InputError(f"--type is {text!r}, expected one of: {', '.join(get_args(Type))}; pass e.g. --type f16")


def _gguf_table(exported: "ExportedGguf") -> Table:
    from infoprune.reports.render import human

    table = Table("", "value", title="GGUF file for llama.cpp")
    table.add_row("architecture", exported.architecture)
    table.add_row("number format", exported.type)
    table.add_row("size", human(exported.bytes, "B"))
    return table
