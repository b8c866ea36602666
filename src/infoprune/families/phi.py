"""Phi-1.5 and Phi-2: pre-norm decoder with attention and feed-forward network in parallel."""

from infoprune.families.table import Family, Rows, Setting, SiteRow

GROUPS = "self_attn:num_key_value_groups"
PHI = Family(
    model_type="phi",
    models="Phi-1.5, Phi-2",
    task="causal-lm",
    layers="layers",
    requires=(("qk_layernorm", False),),  # a variant that nobody has published
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("self_attn.q_proj"), Rows("self_attn.k_proj"), Rows("self_attn.v_proj")),
            readers=("self_attn.dense",),
            stream=None,  # the network in parallel corrects errors of the residual; both would correct them twice
            unit_size=(GROUPS, "self_attn:head_dim"),
            attention="self_attn",
            config=(
                Setting("num_attention_heads", each=GROUPS),
                Setting("num_key_value_heads"),
                Setting("head_dim", each="self_attn:head_dim", fixed=True),
            ),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.fc1"),),
            readers=("mlp.fc2",),
            stream="input_layernorm",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
