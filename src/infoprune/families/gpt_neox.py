"""GPT-NeoX: query, key and value of a head side by side in one weight; attention and network read the same residual."""

from infoprune.families.table import Family, Rows, Setting, SiteRow

GPT_NEOX = Family(
    model_type="gpt_neox",
    models="GPT-NeoX, Pythia",
    task="causal-lm",
    layers="layers",
    sites=(
        SiteRow(
            kind="heads",
            producers=(Rows("attention.query_key_value"),),
            readers=("attention.dense",),
            stream=None,  # the network beside it makes good what is wrong with the residual; twice would be too much
            unit_size=("attention:head_size",),
            attention="attention",
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("mlp.dense_h_to_4h"),),
            readers=("mlp.dense_4h_to_h",),
            stream="post_attention_layernorm",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
