"""Estimators of mutual information and selections by it, in nats; they take and return tensors and need no model.

| you have | use |
|---|---|
| covariances of Gaussian variables | `gaussian_information`, `block_information`, `correlation_information` |
| samples with a Gaussian copula | `copula_information`, `normal_scores` |
| few samples of any continuous distribution, in low dimension | `ksg_information` |
| the same, and labels | `ross_information` |
| many features and a budget | `select_jointly`, `mrmr` |

Example:
    >>> from infoprune.information import gaussian_information
    >>> covariance = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    >>> gaussian_information(covariance, [0], [1])  # -1/2 log(1 - 0.6^2)
    0.2231435513142097
"""

from infoprune.information.copula import copula_information, normal_scores
from infoprune.information.gaussian import (
    block_information,
    conditional_covariance,
    correlation_information,
    gaussian_information,
)
from infoprune.information.neighbours import (
    ksg_information,
    ksg_of_distances,
    max_distances,
    ross_information,
    ross_of_distances,
)
from infoprune.information.selection import Selection, mrmr, select_jointly

__all__ = [
    "Selection",
    "block_information",
    "conditional_covariance",
    "copula_information",
    "correlation_information",
    "gaussian_information",
    "ksg_information",
    "ksg_of_distances",
    "max_distances",
    "mrmr",
    "normal_scores",
    "ross_information",
    "ross_of_distances",
    "select_jointly",
]
