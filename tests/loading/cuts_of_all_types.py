"""Cuts with every type of structure at once."""

from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER, VOCABULARY, Plan
from infoprune.structure.embeddings import count_rows
from infoprune.structure.sites import sites_by_name
from infoprune.structure.token_remapping import why_not
from infoprune.surgery import apply_plan


def cut_everything(model, *, per_layer=True, empty=True):
    """Other numbers of units in every layer, an empty block, a smaller stream, and tokens that read others' rows."""
    unseen = HIDDEN_SIZE if per_layer else HIDDEN_SIZE_PER_LAYER
    sites = [site for site in sites_by_name(model).values() if site.structure != unseen]
    kept = {site.name: kept_of(site, per_layer=per_layer, empty=empty) for site in sites}
    units = {site.name: site.units for site in sites}
    token_map = None
    if why_not(model) is None:
        rows = count_rows(model)
        kept[VOCABULARY], units[VOCABULARY] = tuple(range(rows - 20)), rows
        token_map = (*range(rows - 20), *range(20))
    return apply_plan(model, Plan(model.config.model_type, units, kept, "random", 0, None, token_map))


def kept_of(site, *, per_layer, empty):
    if site.structure == HIDDEN_SIZE:
        return tuple(range(1, site.units, 2))
    if site.structure == HIDDEN_SIZE_PER_LAYER:
        return tuple(range(site.layer, site.units - 2 - 3 * site.layer))
    if empty and site.least == 0 and site.layer == 1 and site.stack == "layers":
        return ()
    if site.neurons is not None:  # kernels of experts take multiples of 8 only
        return tuple(range(site.units - 8 * (1 + site.layer % 2)))
    return tuple(range(site.layer % 2, site.units - 1))
