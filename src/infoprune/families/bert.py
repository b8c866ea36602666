"""BERT and what was trained like it: post-norm encoders, as many key/value heads as query heads."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Norms, Rows, Setting, SiteRow, Width


def pooler(hidden: str, classifier: str, field: str = "hidden_size") -> tuple[SiteRow, ...]:
    """The hidden layer of a classifier, which a stock config takes to be as wide as the residual stream."""
    return (
        SiteRow(
            kind="pooler",
            producers=(Rows(hidden),),
            readers=(classifier,),
            stream=None,
            config=(Setting(field),),
        ),
    )


WIDTH = Width(
    tables=("embeddings.word_embeddings", "embeddings.position_embeddings", "embeddings.token_type_embeddings"),
    norms=Norms(below=("embeddings.LayerNorm",), within=("attention.output.LayerNorm", "output.LayerNorm")),
    heads=("bert.pooler.dense", "classifier.dense", "classifier", "qa_outputs"),
    config=(Setting("hidden_size"),),
)
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
            unit_size=("attention.self:attention_head_size",),
            attributes=(
                Attribute("attention.self", "num_attention_heads"),
                Attribute("attention.self", "all_head_size", each="attention.self:attention_head_size"),
            ),
            attention="attention.self",
            # head size is hidden_size / num_attention_heads: fewer heads alone would mean larger heads
            config=(Setting("num_attention_heads", fills="hidden_size"),),
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("intermediate.dense"),),
            readers=("output.dense",),
            stream="intermediate.dense",
            config=(Setting("intermediate_size"),),
        ),
    ),
    top=pooler("bert.pooler.dense", "classifier"),
    width=WIDTH,
)
ROBERTA = replace(
    BERT, model_type="roberta", models="RoBERTa, DistilRoBERTa", top=pooler("classifier.dense", "classifier.out_proj")
)
XLM_ROBERTA = replace(ROBERTA, model_type="xlm-roberta", models="XLM-RoBERTa, BGE-M3, multilingual E5")
CAMEMBERT = replace(ROBERTA, model_type="camembert", models="CamemBERT")
ELECTRA = replace(
    ROBERTA,
    model_type="electra",
    models="ELECTRA",
    width=replace(WIDTH, projected="embeddings_project", tables_config=(Setting("embedding_size"),)),
)
