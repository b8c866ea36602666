"""OPT: pre-norm decoder (all sizes but 350m)."""

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow

OPT = Family(
    model_type="opt",
    models="OPT, but for 350m",
    task="causal-lm",
    layers="decoder.layers",
    requires=(("do_layer_norm_before", True),),
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("self_attn.q_proj"), Rows("self_attn.k_proj"), Rows("self_attn.v_proj")),
            readers=("self_attn.out_proj",),
            stream="self_attn_layer_norm",
            unit_size=("self_attn:head_dim",),
            attributes=(
                Attribute("self_attn", "num_heads"),
                Attribute("self_attn", "embed_dim", each="self_attn:head_dim"),
            ),
            attention="self_attn",
            config=(Setting("num_attention_heads", fills="hidden_size"),),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("fc1"),),
            readers=("fc2",),
            stream="final_layer_norm",
            config=(Setting("ffn_dim"),),
        ),
    ),
    hidden_size=HiddenSize(
        tables=("decoder.embed_tokens", "decoder.embed_positions"),
        norms=Norms(within=("self_attn_layer_norm", "final_layer_norm"), above=("decoder.final_layer_norm",)),
        heads=("lm_head", "score", "qa_outputs"),
        config=(Setting("hidden_size"), Setting("word_embed_proj_dim")),
    ),
)
