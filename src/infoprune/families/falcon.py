"""Falcon 7B: attention and feed-forward network in parallel; all queries have one key and one value."""

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

FALCON = Family(
    model_type="falcon",
    models="Falcon 7B",
    task="causal-lm",
    layers="h",
    requires=(
        ("multi_query", True),
        ("new_decoder_architecture", False),
        ("parallel_attn", True),
        ("alibi", False),
    ),
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("self_attention.query_key_value", shared=(2, "self_attention:head_dim")),),
            readers=("self_attention.dense",),
            stream=None,  # the network in parallel corrects errors of the residual
            unit_size=("self_attention:head_dim",),
            attributes=(Attribute("self_attention", "num_heads"),),
            attention="self_attention",
            # no `config`: the head size is hidden_size / num_attention_heads, and two blocks read one norm
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.dense_h_to_4h"),),
            readers=("mlp.dense_4h_to_h",),
            stream="input_layernorm",
            config=(Setting("ffn_hidden_size"),),
        ),
    ),
)
