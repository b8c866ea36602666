"""wav2vec2, HuBERT and WavLM: encoders of sound, whose frames convolutions make; pre-norm or post-norm."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

PRE_NORM = (("do_stable_layer_norm", True),)
POST_NORM = (("do_stable_layer_norm", False),)

HEADS = SiteRow(
    structure="heads",
    producers=(Rows("attention.q_proj"), Rows("attention.k_proj"), Rows("attention.v_proj")),
    readers=("attention.out_proj",),
    stream="attention.q_proj",
    unit_size=("attention:head_dim",),
    attributes=(Attribute("attention", "num_heads"), Attribute("attention", "embed_dim", each="attention:head_dim")),
    attention="attention",
    requires=POST_NORM,
    # no `config`: head size is hidden_size / num_attention_heads, and the hidden size stays
)
FFN = SiteRow(
    structure="ffn",
    producers=(Rows("feed_forward.intermediate_dense"),),
    readers=("feed_forward.output_dense",),
    stream="feed_forward.intermediate_dense",
    config=(Setting("intermediate_size"),),
    requires=POST_NORM,
)
FFN_PRE_NORM = replace(FFN, stream="final_layer_norm", requires=PRE_NORM)

WAV2VEC2 = Family(
    model_type="wav2vec2",
    models="wav2vec2, XLS-R",
    task="ctc",
    layers="encoder.layers",
    sites=(HEADS, replace(HEADS, stream="layer_norm", requires=PRE_NORM), FFN, FFN_PRE_NORM),
    # adapters make one frame of several above the layers, or add to the stream within them
    requires=(("add_adapter", False), ("adapter_attn_dim", None)),
    # no `hidden_size`: a convolution over the frames reads and writes the stream
    reads=("sound",),
)
HUBERT = replace(WAV2VEC2, model_type="hubert", models="HuBERT", requires=(("adapter_attn_dim", None),))
# each head is gated by its own slice of the stream, and one function reads the weights of all projections
WAVLM = replace(
    WAV2VEC2, model_type="wavlm", models="WavLM", sites=(FFN, FFN_PRE_NORM), requires=(("add_adapter", False),)
)
