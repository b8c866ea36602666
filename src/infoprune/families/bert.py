"""BERT and what was trained like it: post-norm encoders, as many key/value heads as query heads."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

BERT = Family(
    model_type="bert",
    models="BERT, MiniLM, BGE, E5",
    task="classification",
    layers="encoder.layer",
    sites=(
        SiteRow(
            kind="heads",
            producers=(Rows("attention.self.query"), Rows("attention.self.key"), Rows("attention.self.value")),
            readers=("attention.output.dense",),
            stream="attention.self.value",
            refit=("attention.self.value",),
            unit_size=("attention.self:attention_head_size",),
            attributes=(
                Attribute("attention.self", "num_attention_heads"),
                Attribute("attention.self", "all_head_size", each="attention.self:attention_head_size"),
            ),
            attention="attention.self",
            # no config: head size is hidden_size / num_attention_heads, so fewer heads would mean larger heads
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("intermediate.dense"),),
            readers=("output.dense",),
            stream="intermediate.dense",
            refit=("intermediate.dense",),
            config=(Setting("intermediate_size"),),
        ),
    ),
)
ROBERTA = replace(BERT, model_type="roberta", models="RoBERTa, DistilRoBERTa")
XLM_ROBERTA = replace(BERT, model_type="xlm-roberta", models="XLM-RoBERTa, BGE-M3, multilingual E5")
CAMEMBERT = replace(BERT, model_type="camembert", models="CamemBERT")
ELECTRA = replace(BERT, model_type="electra", models="ELECTRA")
