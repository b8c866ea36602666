"""GPT-2: pre-norm decoder of Conv1D modules, whose weights are stored transposed; query, key and value in one."""

from infoprune.families.table import Attribute, Family, Norms, Rows, Setting, SiteRow, Width

GPT2 = Family(
    model_type="gpt2",
    models="GPT-2, DistilGPT2",
    task="causal-lm",
    layers="h",
    requires=(("add_cross_attention", False),),
    sites=(
        SiteRow(
            kind="heads",
            producers=(Rows("attn.c_attn", parts=(1, 1, 1)),),
            readers=("attn.c_proj",),
            stream="ln_1",
            unit_size=("attn:head_dim",),
            attention="attn",
            attributes=(Attribute("attn", "num_heads"), Attribute("attn", "split_size", each="attn:head_dim")),
            config=(Setting("n_head", fills="n_embd"),),
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("mlp.c_fc"),),
            readers=("mlp.c_proj",),
            stream="ln_2",
            config=(Setting("n_inner"),),
        ),
    ),
    width=Width(
        tables=("wte", "wpe"),
        norms=Norms(within=("ln_1", "ln_2"), above=("ln_f",)),
        heads=("lm_head", "score", "classifier", "qa_outputs"),
        config=(Setting("n_embd"),),
    ),
)
