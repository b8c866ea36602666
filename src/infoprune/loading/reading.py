"""Reading: open the weights in a folder as a class of transformers, with the sizes in its config and its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from infoprune.errors import InputError, reason_of
from infoprune.files.json_file import read_json
from infoprune.files.model_folder import CONFIG, PLAN, read_plan
from infoprune.files.weights import weight_shapes
from infoprune.loading.fit import check_fit, check_sizes
from infoprune.loading.method import align
from infoprune.loading.opening import empty_in, without_pooler
from infoprune.loading.planned import check_indices, check_plan, sizes_of_plan
from infoprune.loading.record import within_base
from infoprune.loading.shrink import shrink
from infoprune.loading.sizes import Sizes, sizes_in, write_sizes
from infoprune.loading.wrapped import new_names
from infoprune.plan import Plan, carry_plan

GENERATION = "generation_config.json"


def plan_in(path: Path) -> Plan | None:
    """Return the plan in a folder; None where there is none."""
    return read_plan(path) if (path / PLAN).is_file() else None


def read_model(
    path: Path,
    model_class: type[PreTrainedModel],
    config: PretrainedConfig,
    *,
    headless: bool = False,
    new_head: bool = False,
) -> PreTrainedModel:
    """Return a model in evaluation mode with its weights and its plan, if it has one.

    Args:
        path: Folder with the weights.
        model_class: Class of transformers.
        config: Config in the folder; what is changed in it decides the sizes of a new head.
        headless: Whether the class lacks the head of the class in the config.
        new_head: Whether a head that the weights lack, or have in another size, is initialised at random; else it is an
            error.

    Raises:
        InputError: The sizes are damaged, the weights do not fit them, or plan and config disagree.
    """
    plan = plan_in(path)
    empty, sizes = sized(path, empty_in(path, model_class, config), config, plan, headless=headless or new_head)
    shapes = weight_shapes(path)
    renaming = new_names(path, empty, shapes)
    check_fit(path, empty, shapes, renaming, head=not new_head)
    write_sizes(config, sizes)
    model = _load(path, model_class, config, renaming, new_head=new_head)
    if plan is None:
        return model
    try:
        check_indices(plan, model)
    except InputError as error:
        raise _disagreement(path, error) from None
    if sizes is None:
        align(model)
    carry_plan(model, plan)
    return model


def sized(
    path: Path, stock: PreTrainedModel, config: PretrainedConfig, plan: Plan | None, *, headless: bool
) -> tuple[PreTrainedModel, Sizes | None]:
    """Return a model on the meta device with the sizes of its config, and these; of release 0.1 those of its plan.

    Raises:
        InputError: The sizes are damaged, or plan and config disagree.
    """
    sizes, shapes = sizes_in(config), weight_shapes(path)
    if sizes is not None:
        check_sizes(path, stock, sizes, shapes)
    if plan is not None:
        try:
            sizes = sizes or sizes_of_plan(plan, stock, shapes)
            check_plan(plan, stock, sizes, headless=headless)
        except Exception as error:
            raise _disagreement(path, error) from None
    if sizes is not None:
        try:
            shrink(stock, sizes)
        except InputError:
            raise
        except Exception as error:  # of whatever part of the model the config has damaged
            raise InputError(
                f"{path / CONFIG} describes no model that can have its pruned sizes ({reason_of(error)}); restore the "
                "file, or prune again"
            ) from None
    return stock, sizes


def _disagreement(path: Path, error: Exception) -> InputError:
    said = str(error) if isinstance(error, InputError) else reason_of(error)
    return InputError(
        f"{path / PLAN} and the model beside it disagree: {said}; the folder is damaged: remove the plan to open the "
        "model without a record of its units, or prune again"
    )


def _load(
    path: Path,
    model_class: type[PreTrainedModel],
    config: PretrainedConfig,
    renaming: dict[str, str],
    *,
    new_head: bool,
) -> PreTrainedModel:
    options: dict[str, Any] = {"ignore_mismatched_sizes": True} if new_head else {"dtype": "auto"}
    try:
        loaded: Any = model_class.from_pretrained(
            None if renaming else path,
            config=config,
            state_dict=_renamed_weights(path, renaming) if renaming else None,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
            **without_pooler(path, model_class),
        )
    except InputError:
        raise
    except Exception as error:
        # The errors of damaged weights depend on their class and on the release of transformers.
        plan = f" (with {PLAN})" if (path / PLAN).is_file() else ""
        raise InputError(
            f"the weights in {path}{plan} cannot be loaded ({reason_of(error)}); check or download them again"
        ) from None
    model: PreTrainedModel = loaded[0]
    info: dict[str, Any] = loaded[1]
    if renaming and model.can_generate() and (path / GENERATION).is_file():
        written = read_json(path / GENERATION, "save the model anew")
        model.generation_config = GenerationConfig.from_dict(written)
    sizes = sizes_in(config)
    missing = sorted({*info["missing_keys"]} - {*(sizes.indices if sizes else ())})
    if new_head:  # poolers are trained with a head, and models of other tasks have none
        missing = [name for name in missing if within_base(model, name) != name and "pooler." not in name]
    if missing:
        above = model.base_model is not model and all(within_base(model, name) == name for name in missing)
        remedy = "train a head first (infoprune finetune)" if above else "check or download them again"
        raise InputError(f"the weights in {path} lack {missing[:3]} of {model_class.__name__}; {remedy}")
    model.eval()
    return model


def _renamed_weights(path: Path, renaming: dict[str, str]) -> dict[str, Tensor]:
    """Return the weights in a folder under other names, without those that have none in the model."""
    weights: dict[str, Tensor] = {}
    for file in sorted(path.glob("*.safetensors")):
        weights |= {renaming[name]: value for name, value in load_file(file).items() if name in renaming}
    return weights
