"""Families: one table of module paths for every supported model type."""

from infoprune.families.albert import ALBERT
from infoprune.families.bart import BART, MARIAN
from infoprune.families.bert import BERT, CAMEMBERT, ELECTRA, ROBERTA, XLM_ROBERTA
from infoprune.families.deberta import DEBERTA_V2
from infoprune.families.distilbert import DISTILBERT
from infoprune.families.gpt2 import GPT2
from infoprune.families.gpt_neox import GPT_NEOX
from infoprune.families.llama import GEMMA, GEMMA2, GEMMA3, LLAMA, MISTRAL, PHI3, QWEN2, QWEN3, SMOLLM3
from infoprune.families.mixtral import DEEPSEEK_V2, GPT_OSS, MIXTRAL, OLMOE, QWEN2_MOE, QWEN3_MOE
from infoprune.families.modernbert import MODERNBERT
from infoprune.families.mpnet import MPNET
from infoprune.families.nomic import GTE, JINA_EMBEDDINGS_V3, NOMIC_BERT
from infoprune.families.opt import OPT
from infoprune.families.phi import PHI
from infoprune.families.t5 import MT5, T5
from infoprune.families.table import (
    Attribute,
    Experts,
    Family,
    HiddenSize,
    Norms,
    PositionBias,
    Rows,
    Setting,
    SiteRow,
    Stack,
)
from infoprune.families.vit import DEIT, VIT
from infoprune.families.whisper import WHISPER

ENCODERS = (
    BERT,
    ROBERTA,
    XLM_ROBERTA,
    CAMEMBERT,
    ELECTRA,
    DISTILBERT,
    MPNET,
    ALBERT,
    DEBERTA_V2,
    MODERNBERT,
    NOMIC_BERT,
    GTE,
    JINA_EMBEDDINGS_V3,
    VIT,
    DEIT,
)
DECODERS = (LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3, GEMMA, GEMMA2, GEMMA3, PHI, PHI3, GPT2, GPT_NEOX, OPT)
EXPERTS = (MIXTRAL, QWEN2_MOE, QWEN3_MOE, OLMOE, DEEPSEEK_V2, GPT_OSS)
PAIRS = (BART, MARIAN, T5, MT5, WHISPER)
FAMILIES: dict[str, Family] = {family.model_type: family for family in (*ENCODERS, *DECODERS, *EXPERTS, *PAIRS)}

__all__ = [
    "FAMILIES",
    "Attribute",
    "Experts",
    "Family",
    "HiddenSize",
    "Norms",
    "PositionBias",
    "Rows",
    "Setting",
    "SiteRow",
    "Stack",
]
