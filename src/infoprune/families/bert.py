"""BERT and models with its layers: post-norm encoders, as many key/value heads as query heads."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow


def pooler(hidden: str, classifier: str, field: str | None = "hidden_size") -> tuple[SiteRow, ...]:
    """Return the row of a classifier's hidden layer, which has the hidden size in a stock config.

    Args:
        hidden: Path of the hidden layer.
        classifier: Path of the layer that reads it.
        field: Config field with the hidden size; None where no stock config has another hidden size after a cut.
    """
    return (
        SiteRow(
            structure="pooler",
            producers=(Rows(hidden),),
            readers=(classifier,),
            stream=None,
            config=() if field is None else (Setting(field),),
        ),
    )


HIDDEN_SIZE = HiddenSize(
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
            structure="heads",
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
            structure="ffn",
            producers=(Rows("intermediate.dense"),),
            readers=("output.dense",),
            stream="intermediate.dense",
            config=(Setting("intermediate_size"),),
        ),
    ),
    top=pooler("bert.pooler.dense", "classifier"),
    hidden_size=HIDDEN_SIZE,
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
    hidden_size=replace(HIDDEN_SIZE, projected="embeddings_project", tables_config=(Setting("embedding_size"),)),
)
