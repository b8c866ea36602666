"""Families: one table of module paths for every supported model type."""

from infoprune.families.albert import ALBERT
from infoprune.families.bart import BART, BLENDERBOT, M2M_100, MARIAN, MBART, PEGASUS
from infoprune.families.bert import BERT, CAMEMBERT, ELECTRA, ROBERTA, XLM_ROBERTA
from infoprune.families.bloom import BLOOM
from infoprune.families.clip import CLIP, CLIP_TEXT, CLIP_VISION, SIGLIP, SIGLIP_TEXT, SIGLIP_VISION
from infoprune.families.cohere import COHERE, COHERE2
from infoprune.families.deberta import DEBERTA, DEBERTA_V2
from infoprune.families.dino import DINOV2, DINOV2_WITH_REGISTERS, DINOV3
from infoprune.families.distilbert import DISTILBERT
from infoprune.families.esm import ESM
from infoprune.families.expert_table import ExpertEntries, Experts, Neurons
from infoprune.families.falcon import FALCON
from infoprune.families.gpt2 import GPT2
from infoprune.families.gpt_bigcode import GPT_BIGCODE
from infoprune.families.gpt_neo import GPT_NEO, GPTJ
from infoprune.families.gpt_neox import GPT_NEOX
from infoprune.families.lfm2 import LFM2
from infoprune.families.llama import (
    ERNIE4_5,
    EXAONE4,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GLM,
    GLM4,
    GRANITE,
    HUNYUAN_V1_DENSE,
    LLAMA,
    MINISTRAL,
    MINISTRAL3,
    MISTRAL,
    PHI3,
    QWEN2,
    QWEN3,
    SEED_OSS,
    SMOLLM3,
    STARCODER2,
)
from infoprune.families.mixtral import DEEPSEEK_V2, GPT_OSS, MIXTRAL, OLMOE, QWEN2_MOE, QWEN3_MOE
from infoprune.families.modernbert import MODERNBERT, MODERNBERT_DECODER
from infoprune.families.mpnet import MPNET
from infoprune.families.nomic import GTE, JINA_EMBEDDINGS_V3, NOMIC_BERT
from infoprune.families.olmo import OLMO, OLMO2, OLMO3
from infoprune.families.opt import OPT
from infoprune.families.phi import PHI
from infoprune.families.qwen3_5 import QWEN3_5
from infoprune.families.smolvlm import IDEFICS3, SMOLVLM
from infoprune.families.stablelm import STABLELM
from infoprune.families.t5 import MT5, T5
from infoprune.families.table import (
    Attribute,
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
    DEBERTA,
    DEBERTA_V2,
    MODERNBERT,
    NOMIC_BERT,
    GTE,
    JINA_EMBEDDINGS_V3,
    ESM,
    VIT,
    DEIT,
    DINOV2,
    DINOV2_WITH_REGISTERS,
    DINOV3,
    WAV2VEC2,
    HUBERT,
    WAVLM,
)
DECODERS = (
    LLAMA,
    MISTRAL,
    MINISTRAL,
    MINISTRAL3,
    QWEN2,
    QWEN3,
    SMOLLM3,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GRANITE,
    OLMO,
    OLMO2,
    OLMO3,
    GLM,
    GLM4,
    COHERE,
    COHERE2,
    STABLELM,
    STARCODER2,
    ERNIE4_5,
    HUNYUAN_V1_DENSE,
    SEED_OSS,
    EXAONE4,
    LFM2,
    QWEN3_5,
    MODERNBERT_DECODER,
    PHI,
    PHI3,
    GPT2,
    GPT_BIGCODE,
    GPT_NEO,
    GPTJ,
    GPT_NEOX,
    OPT,
    BLOOM,
    FALCON,
)
EXPERTS = (MIXTRAL, QWEN2_MOE, QWEN3_MOE, OLMOE, DEEPSEEK_V2, GPT_OSS)
PAIRS = (BART, MBART, MARIAN, M2M_100, PEGASUS, BLENDERBOT, T5, MT5, WHISPER)
TOWERS = (CLIP_TEXT, CLIP_VISION, CLIP, SIGLIP_TEXT, SIGLIP_VISION, SIGLIP, SMOLVLM, IDEFICS3)
FAMILIES: dict[str, Family] = {
    family.model_type: family for family in (*ENCODERS, *DECODERS, *EXPERTS, *PAIRS, *TOWERS)
}

__all__ = [
    "FAMILIES",
    "Attribute",
    "ExpertEntries",
    "Experts",
    "Family",
    "HiddenSize",
    "Neurons",
    "Norms",
    "PositionBias",
    "Rows",
    "Setting",
    "SiteRow",
    "Stack",
]
