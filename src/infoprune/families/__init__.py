"""Families: for every supported model_type a table of paths, and nothing else."""

from infoprune.families.bert import BERT
from infoprune.families.table import Attribute, Family, SiteRow

FAMILIES: dict[str, Family] = {family.model_type: family for family in (BERT,)}

__all__ = ["FAMILIES", "Attribute", "Family", "SiteRow"]
