"""BLOOM: query, key and value interleaved by head in one weight; a bias by distance with a slope for every head."""

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, PositionBias, Rows, SiteRow

BLOOM = Family(
    model_type="bloom",
    models="BLOOM, BLOOMZ",
    task="causal-lm",
    layers="h",
    requires=(("apply_residual_connection_post_layernorm", False), ("slow_but_exact", False)),
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("self_attention.query_key_value"),),
            readers=("self_attention.dense",),
            stream="input_layernorm",
            unit_size=("self_attention:head_dim",),
            attributes=(Attribute("self_attention", "num_heads"),),
            # no `attention`: the module cannot be left out, since the residual is added in it
            bias=PositionBias("self_attention", table=None, argument="alibi", columns="n_head"),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.dense_h_to_4h"),),
            readers=("mlp.dense_4h_to_h",),
            stream="post_attention_layernorm",
            # no `config`: four times the hidden size in a stock model
        ),
    ),
    hidden_size=HiddenSize(
        tables=("word_embeddings", "word_embeddings_layernorm"),
        norms=Norms(within=("input_layernorm", "post_attention_layernorm"), above=("ln_f",)),
        heads=("lm_head", "score", "classifier", "qa_outputs"),
        # no `config`: a stock model has heads and neurons of the size that this implies
    ),
)
