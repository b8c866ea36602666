"""DeBERTa: the query and key projections, or separate ones of the same sizes, also project the relative positions."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

DEBERTA_V2 = Family(
    model_type="deberta-v2",
    models="DeBERTa-v2, DeBERTa-v3, mDeBERTa",
    task="classification",
    layers="encoder.layer",
    sites=(
        SiteRow(
            structure="heads",
            producers=(
                Rows("attention.self.query_proj"),
                Rows("attention.self.key_proj"),
                Rows("attention.self.value_proj"),
                Rows("attention.self.pos_key_proj", optional=True),
                Rows("attention.self.pos_query_proj", optional=True),
            ),
            readers=("attention.output.dense",),
            stream="attention.self.value_proj",
            refit=("attention.self.value_proj",),  # the others project the positions as well
            unit_size=("attention.self:attention_head_size",),
            attributes=(
                Attribute("attention.self", "num_attention_heads"),
                Attribute("attention.self", "all_head_size", each="attention.self:attention_head_size"),
            ),
            attention="attention.self",
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("intermediate.dense"),),
            readers=("output.dense",),
            stream="intermediate.dense",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
HEADS, FFN = DEBERTA_V2.sites
DEBERTA = replace(
    DEBERTA_V2,
    model_type="deberta",
    models="DeBERTa v1",
    requires=(("talking_head", False),),  # a variant that mixes the heads
    sites=(
        replace(
            HEADS,
            producers=(
                Rows("attention.self.in_proj"),  # query, key and value of a head side by side
                Rows("attention.self.pos_proj", optional=True),
                Rows("attention.self.pos_q_proj", optional=True),
            ),
            vectors=("attention.self.q_bias", "attention.self.v_bias"),
            stream="attention.self.in_proj",
            refit=("attention.self.in_proj",),
        ),
        FFN,
    ),
)
