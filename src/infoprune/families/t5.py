"""T5: pre-norm encoder and decoder, gated or not; relative positions are one bias for all layers."""

from dataclasses import replace

from infoprune.families.table import Family, Rows, Setting, SiteRow, Stack


def _ffn(module: str, norm: str) -> SiteRow:
    producers = (f"{module}.wi", f"{module}.wi_0", f"{module}.wi_1")
    return SiteRow(
        structure="ffn",
        producers=tuple(Rows(path, optional=True) for path in producers),
        readers=(f"{module}.wo",),
        stream=norm,
        config=(Setting("d_ff"),),
    )


T5 = Family(
    model_type="t5",
    models="T5, Flan-T5",
    task="seq2seq",
    layers="encoder.block",
    # no heads: the first layer computes one position bias for all heads, and every layer adds it
    sites=(_ffn("layer.1.DenseReluDense", norm="layer.1.layer_norm"),),
    decoder=Stack(
        layers="decoder.block",
        sites=(_ffn("layer.2.DenseReluDense", norm="layer.2.layer_norm"),),
    ),
)
MT5 = replace(T5, model_type="mt5", models="mT5")
