"""T5: pre-norm encoder and decoder, gated or not; relative positions are one bias for all layers."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, PositionBias, Rows, Setting, SiteRow, Stack


def _heads(structure: str, module: str, norm: str, bias: PositionBias, crossing: tuple[str, ...] = ()) -> SiteRow:
    return SiteRow(
        structure=structure,
        producers=(Rows(f"{module}.q"), Rows(f"{module}.k"), Rows(f"{module}.v")),
        readers=(f"{module}.o",),
        stream=norm,
        crossing=crossing,
        unit_size=(f"{module}:key_value_proj_dim",),
        attributes=(
            Attribute(module, "n_heads"),
            Attribute(module, "inner_dim", each=f"{module}:key_value_proj_dim"),
        ),
        attention=module,
        bias=bias,
        # no `config`: one field for both stacks, and a table with a column for every head
    )


def _self_heads(stack: str) -> SiteRow:
    module = "layer.0.SelfAttention"
    bias = PositionBias(
        module,
        table=f"{stack}.block.0.{module}.relative_attention_bias",
        passed_on=True,
        method="compute_bias",
        flag="has_relative_attention_bias",
    )
    return _heads("heads", module, "layer.0.layer_norm", bias)


def _cross_heads() -> SiteRow:
    module = "layer.1.EncDecAttention"
    bias = PositionBias(module, table=None, passed_on=True)
    return _heads("cross-heads", module, "layer.1.layer_norm", bias, crossing=(f"{module}.k", f"{module}.v"))


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
    sites=(_self_heads("encoder"), _ffn("layer.1.DenseReluDense", norm="layer.1.layer_norm")),
    decoder=Stack(
        layers="decoder.block",
        sites=(
            _self_heads("decoder"),
            _cross_heads(),
            _ffn("layer.2.DenseReluDense", norm="layer.2.layer_norm"),
        ),
    ),
)
MT5 = replace(T5, model_type="mt5", models="mT5")
