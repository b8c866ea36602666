"""GPT-NeoX: query, key and value interleaved by head in one weight; attention and ffn in parallel."""

from infoprune.families.table import Family, Rows, Setting, SiteRow

GPT_NEOX = Family(
    model_type="gpt_neox",
    models="GPT-NeoX, Pythia",
    task="causal-lm",
    layers="layers",
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attention.query_key_value"),),
            readers=("attention.dense",),
            # None: the feed-forward block in parallel corrects the residual's error; both would correct it twice
            stream=None,
            unit_size=("attention:head_size",),
            attention="attention",
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.dense_h_to_4h"),),
            readers=("mlp.dense_4h_to_h",),
            stream="post_attention_layernorm",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
