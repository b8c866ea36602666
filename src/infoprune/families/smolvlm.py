"""SmolVLM and Idefics 3: a language model that reads pictures as some of its tokens; the language model is cut."""

from dataclasses import replace

from infoprune.families.llama import FFN, GROUPS, HEAD, HEADS
from infoprune.families.table import Family, Setting

SMOLVLM = Family(
    model_type="smolvlm",
    models="SmolVLM, SmolVLM2",
    task="image-text-to-text",
    layers="text_model.layers",
    sites=(
        replace(
            HEADS,
            config=(
                Setting("text_config.num_attention_heads", each=GROUPS, divides="text_config.hidden_size"),
                Setting("text_config.num_key_value_heads"),
                Setting("text_config.head_dim", each=HEAD, fixed=True),
            ),
        ),
        replace(FFN, config=(Setting("text_config.intermediate_size"),)),
    ),
    requires=(("text_config.model_type", "llama"),),
    # no `hidden_size`: what projects the pictures writes to the stream too
    reads=("texts", "pictures"),
)
IDEFICS3 = replace(SMOLVLM, model_type="idefics3", models="Idefics 3")
