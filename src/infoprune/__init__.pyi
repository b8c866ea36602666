"""The public names: what a user of the library needs. Everything else is imported from the module that defines it."""

from .budgets.allocate import allocate as allocate
from .budgets.budget import Budget as Budget
from .budgets.budget import Keep as Keep
from .budgets.costs import find_costs as find_costs
from .checkpoint import empty_model as empty_model
from .checkpoint import load as load
from .checkpoint import save as save
from .data.batches import make_batches as make_batches
from .data.texts import read_texts as read_texts
from .errors import InputError as InputError
from .forecasting.forecast import forecast as forecast
from .forecasting.workload import Workload as Workload
from .pipeline.prune import prune as prune
from .pipeline.result import Result as Result
from .pipeline.settings import Settings as Settings
from .pipeline.size import MaxLoss as MaxLoss
from .plan import Plan as Plan
from .ranking.criteria import ChannelInformation as ChannelInformation
from .ranking.fan2021 import Fan2021 as Fan2021
from .ranking.rank import rank as rank
from .repairing.repair import repair as repair
from .reports.report import Report as Report
from .serving.export import export as export
from .serving.llama_cpp.export import export_gguf as export_gguf
from .statistics.archive import load_statistics as load_statistics
from .statistics.archive import save_statistics as save_statistics
from .statistics.collect import collect as collect
from .statistics.merge import merge_statistics as merge_statistics
from .structure.sites import find_sites as find_sites
from .surgery import apply_plan as apply_plan
from .tasks.evaluate import evaluate as evaluate
from .training.distill import Distillation as Distillation
from .training.distill import distill as distill
from .training.finetune import finetune as finetune
from .vocabulary.tokens import prune_vocabulary as prune_vocabulary

__version__: str
