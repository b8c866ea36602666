"""Mixtral and similar models: decoders with experts, feed-forward networks among which a router chooses."""

from dataclasses import replace

from infoprune.families.expert_table import ExpertEntries, Experts, Neurons
from infoprune.families.llama import FFN, HEADS, MISTRAL
from infoprune.families.table import Attribute, Rows, Setting, SiteRow

EXPERTS = SiteRow(
    structure="experts",
    producers=(),
    readers=("mlp.experts",),
    stream="post_attention_layernorm",
    optional=True,
    attributes=(
        Attribute("mlp.gate", "num_experts"),
        Attribute("mlp.gate", "top_k", most=True),
        Attribute("mlp.experts", "num_experts"),
    ),
    config=(Setting("num_local_experts"), Setting("num_experts_per_tok", most=True)),
    experts=Experts(
        router="mlp.gate",
        parameters=("mlp.gate.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"),
        outputs=(("mlp.experts.down_proj", 0),),
        chosen="mlp.gate:top_k",
    ),
)

# every expert keeps the same number of neurons, since one parameter holds those of all
NEURONS = replace(
    EXPERTS,
    structure="expert-neurons",
    attributes=(Attribute("mlp.experts", "intermediate_dim"),),
    config=(Setting("intermediate_size"),),
    neurons=Neurons(
        written=(ExpertEntries("mlp.experts.gate_up_proj", axis=0, parts=(1, 1)),),
        read=ExpertEntries("mlp.experts.down_proj", axis=1),
    ),
    on_request=True,
)

MIXTRAL = replace(
    MISTRAL,
    model_type="mixtral",
    models="Mixtral 8x7B, Mixtral 8x22B",
    sites=(HEADS, EXPERTS, NEURONS),
    hidden_size=None,  # experts read and write the stream with one parameter for all of them
    since="5.0.0",  # before, every expert was a module of its own
)
# a router that leaves the weights of the chosen experts as they are, unless the config asks for it
QWEN_EXPERTS = replace(
    EXPERTS,
    config=(Setting("num_experts"), EXPERTS.config[1]),
    experts=Experts(
        router="mlp.gate",
        parameters=("mlp.gate.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"),
        outputs=(("mlp.experts.down_proj", 0),),
        chosen="mlp.gate:top_k",
        normalised="mlp.gate:norm_topk_prob",
    ),
)
QWEN_NEURONS = replace(NEURONS, experts=QWEN_EXPERTS.experts, config=(Setting("moe_intermediate_size"),))
# layers without experts, and a shared expert, which every token reads and which a gate multiplies
DENSE = replace(FFN, optional=True, on_request=True)
SHARED = replace(
    DENSE,
    producers=(Rows("mlp.shared_expert.gate_proj"), Rows("mlp.shared_expert.up_proj")),
    readers=("mlp.shared_expert.down_proj",),
    stream=None,
    config=(Setting("shared_expert_intermediate_size"),),
)
QWEN2_MOE = replace(
    MIXTRAL,
    model_type="qwen2_moe",
    models="Qwen1.5-MoE, Qwen2-57B-A14B",
    sites=(HEADS, QWEN_EXPERTS, QWEN_NEURONS, DENSE, SHARED),
)
QWEN3_MOE = replace(
    QWEN2_MOE,
    model_type="qwen3_moe",
    models="Qwen3-30B-A3B, Qwen3-Coder-30B-A3B",
    sites=(HEADS, replace(QWEN_EXPERTS, config=EXPERTS.config), QWEN_NEURONS, DENSE),
)
OLMOE = replace(
    QWEN2_MOE,
    model_type="olmoe",
    models="OLMoE-1B-7B",
    sites=(
        replace(
            HEADS,
            vectors=("self_attn.q_norm.weight", "self_attn.k_norm.weight"),
            config=(),  # the norms of a stock model have the hidden size
        ),
        QWEN_EXPERTS,
        replace(QWEN_NEURONS, config=NEURONS.config),
    ),
)
DEEPSEEK_EXPERTS = Experts(
    router="mlp.gate",
    parameters=("mlp.gate.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"),
    outputs=(("mlp.experts.down_proj", 0),),
    chosen="mlp.gate:top_k",
    normalised=False,
    factor="mlp.gate:routed_scaling_factor",
)
# the heads share a compressed key and value, so they stay
DEEPSEEK_V2 = replace(
    QWEN2_MOE,
    model_type="deepseek_v2",
    models="DeepSeek-V2-Lite, DeepSeek-Coder-V2-Lite",
    sites=(
        replace(
            QWEN_EXPERTS,
            config=(Setting("n_routed_experts"), EXPERTS.config[1]),
            experts=DEEPSEEK_EXPERTS,
        ),
        # no config: one field is the size of an expert and, times their number, that of the shared ones
        replace(QWEN_NEURONS, experts=DEEPSEEK_EXPERTS, config=()),
        DENSE,
        replace(
            SHARED,
            producers=(Rows("mlp.shared_experts.gate_proj"), Rows("mlp.shared_experts.up_proj")),
            readers=("mlp.shared_experts.down_proj",),
            config=(),
        ),
    ),
    requires=(("topk_method", "greedy"),),  # else the router chooses among groups of equal size
    since="5.23.0",  # in 5.0.0 the router is a linear module; releases in between were not tried
)
GPT_OSS_EXPERTS = Experts(
    router="mlp.router",
    parameters=(
        "mlp.router.weight",
        "mlp.router.bias",
        "mlp.experts.gate_up_proj",
        "mlp.experts.gate_up_proj_bias",
        "mlp.experts.down_proj",
        "mlp.experts.down_proj_bias",
    ),
    outputs=(("mlp.experts.down_proj", 1), ("mlp.experts.down_proj_bias", 0)),
    chosen="mlp.router:top_k",
)
GPT_OSS = replace(
    MIXTRAL,
    model_type="gpt_oss",
    models="gpt-oss-20b, gpt-oss-120b",
    sites=(
        replace(HEADS, vectors=("self_attn.sinks",)),
        replace(
            EXPERTS,
            attributes=(
                Attribute("mlp.router", "num_experts"),
                Attribute("mlp.router", "top_k", most=True),
                Attribute("mlp.experts", "num_experts"),
            ),
            experts=GPT_OSS_EXPERTS,
        ),
        replace(
            NEURONS,
            attributes=(Attribute("mlp.experts", "intermediate_size"),),
            experts=GPT_OSS_EXPERTS,
            neurons=Neurons(
                written=(
                    ExpertEntries("mlp.experts.gate_up_proj", axis=1),
                    ExpertEntries("mlp.experts.gate_up_proj_bias", axis=0),
                ),
                read=ExpertEntries("mlp.experts.down_proj", axis=0),
            ),
        ),
    ),
)
