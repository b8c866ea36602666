"""Families: one table of module paths for every supported model type."""

from infoprune.families.albert import ALBERT
from infoprune.families.bart import BART, MARIAN
from infoprune.families.bert import BERT, CAMEMBERT, ELECTRA, ROBERTA, XLM_ROBERTA
from infoprune.families.clip import CLIP, CLIP_TEXT, CLIP_VISION, SIGLIP, SIGLIP_TEXT, SIGLIP_VISION
from infoprune.families.deberta import DEBERTA_V2
from infoprune.families.dino import DINOV2, DINOV2_WITH_REGISTERS, DINOV3
from infoprune.families.distilbert import DISTILBERT
from infoprune.families.gpt2 import GPT2
from infoprune.families.gpt_neox import GPT_NEOX
from infoprune.families.llama import GEMMA, GEMMA2, GEMMA3, LLAMA, MISTRAL, PHI3, QWEN2, QWEN3, SMOLLM3
from infoprune.families.modernbert import MODERNBERT
from infoprune.families.mpnet import MPNET
from infoprune.families.nomic import GTE, JINA_EMBEDDINGS_V3, NOMIC_BERT
from infoprune.families.opt import OPT
from infoprune.families.phi import PHI
from infoprune.families.smolvlm import IDEFICS3, SMOLVLM
from infoprune.families.t5 import MT5, T5
from infoprune.families.table import Attribute, Family, HiddenSize, Norms, PositionBias, Rows, Setting, SiteRow, Stack
from infoprune.families.vit import DEIT, VIT
from infoprune.families.wav2vec2 import HUBERT, WAV2VEC2, WAVLM
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
    DINOV2,
    DINOV2_WITH_REGISTERS,
    DINOV3,
    WAV2VEC2,
    HUBERT,
    WAVLM,
)
DECODERS = (LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3, GEMMA, GEMMA2, GEMMA3, PHI, PHI3, GPT2, GPT_NEOX, OPT)
PAIRS = (BART, MARIAN, T5, MT5, WHISPER)
TOWERS = (CLIP_TEXT, CLIP_VISION, CLIP, SIGLIP_TEXT, SIGLIP_VISION, SIGLIP, SMOLVLM, IDEFICS3)
FAMILIES: dict[str, Family] = {family.model_type: family for family in (*ENCODERS, *DECODERS, *PAIRS, *TOWERS)}

__all__ = [
    "FAMILIES",
    "Attribute",
    "Family",
    "HiddenSize",
    "Norms",
    "PositionBias",
    "Rows",
    "Setting",
    "SiteRow",
    "Stack",
]
