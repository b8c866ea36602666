"""GPT-2: pre-norm decoder of Conv1D modules, which store weights transposed; query, key and value are fused."""

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow

GPT2 = Family(
    model_type="gpt2",
    models="GPT-2, DistilGPT2",
    task="causal-lm",
    layers="h",
    requires=(("add_cross_attention", False),),
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attn.c_attn", parts=(1, 1, 1)),),
            readers=("attn.c_proj",),
            stream="ln_1",
            unit_size=("attn:head_dim",),
            attention="attn",
            attributes=(Attribute("attn", "num_heads"), Attribute("attn", "split_size", each="attn:head_dim")),
            config=(Setting("n_head", fills="n_embd"),),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.c_fc"),),
            readers=("mlp.c_proj",),
            stream="ln_2",
            config=(Setting("n_inner"),),
        ),
    ),
    hidden_size=HiddenSize(
        tables=("wte", "wpe"),
        norms=Norms(within=("ln_1", "ln_2"), above=("ln_f",)),
        heads=("lm_head", "score", "classifier", "qa_outputs"),
        config=(Setting("n_embd"),),
    ),
)
