"""ESM: BERT's modules in pre-norm order, with rotary positions; its texts are proteins."""

from dataclasses import replace

from infoprune.families.bert import BERT, pooler
from infoprune.families.table import HiddenSize, Norms

HEADS, FFN = BERT.sites
ESM = replace(
    BERT,
    model_type="esm",
    models="ESM-2",
    sites=(
        # no `config`: a module that predicts contacts reads all heads of the dense model; it stays as it is
        replace(HEADS, stream="attention.LayerNorm", config=()),
        replace(FFN, stream="LayerNorm"),
    ),
    top=pooler("classifier.dense", "classifier.out_proj", field=None),
    hidden_size=HiddenSize(
        tables=("embeddings.word_embeddings", "embeddings.position_embeddings"),
        norms=Norms(within=("attention.LayerNorm", "LayerNorm"), above=("encoder.emb_layer_norm_after",)),
        heads=("classifier.dense", "classifier"),
        # no `config`: a stock model has heads of the size that this implies
    ),
)
