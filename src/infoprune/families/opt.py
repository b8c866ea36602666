"""OPT: pre-norm decoder (all sizes but 350m)."""

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

OPT = Family(
    model_type="opt",
    models="OPT, but for 350m",
    task="causal-lm",
    layers="decoder.layers",
    requires=(("do_layer_norm_before", True),),
    sites=(
        SiteRow(
            kind="heads",
            producers=(Rows("self_attn.q_proj"), Rows("self_attn.k_proj"), Rows("self_attn.v_proj")),
            readers=("self_attn.out_proj",),
            stream="self_attn_layer_norm",
            refit=("self_attn.v_proj",),
            unit_size=("self_attn:head_dim",),
            attributes=(
                Attribute("self_attn", "num_heads"),
                Attribute("self_attn", "embed_dim", each="self_attn:head_dim"),
            ),
            attention="self_attn",
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("fc1"),),
            readers=("fc2",),
            stream="final_layer_norm",
            refit=("fc1",),
            config=(Setting("ffn_dim"),),
        ),
    ),
)
