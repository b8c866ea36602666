"""Gaussian copula: information of variables whose dependence is Gaussian whatever their own distributions are."""

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.errors import InputError
from infoprune.information.gaussian import gaussian_information


def normal_scores(x: Float[Tensor, "t n"]) -> Float[Tensor, "t n"]:
    r"""Return every column's ranks as quantiles of the standard normal distribution, Phi^-1(rank / (t + 1)).

    Equal values share the mean of their ranks, so that the order of the rows does not matter.

    Args:
        x: Samples of n variables, (t, n).

    Source:
        Ince et al. 2017, "Gaussian copula"; there ties are broken by position.
    """
    columns = x.double().T.contiguous()
    ordered = columns.sort(1).values
    below = torch.searchsorted(ordered, columns)
    up_to = torch.searchsorted(ordered, columns, right=True)
    rank = (below + up_to + 1).double() / 2
    scores: Tensor = torch.special.ndtri(rank / (len(x) + 1)).T
    return scores


def copula_information(x: Float[Tensor, "t n"], y: Float[Tensor, "_ m"], *, correct: bool = True) -> float:
    r"""Estimate the information of two vectors from their normal scores, taken as Gaussian, in nats.

    No increasing map of any column changes it. For two variables it is a lower bound of the true information, up to
    estimation: of all dependences with that correlation of the scores the Gaussian one has the least information.

    Args:
        x: Samples of n variables, (t, n).
        y: The same t samples of m other variables, (t, m).
        correct: Subtract the bias of the plug-in entropies of Gaussian vectors from t samples,

            1/2 sum_{i=1..d} psi((t - i) / 2) + d/2 log(2 / (t - 1))    nats for d variables;

            the estimate for independent variables is then about zero, and sometimes less.

    Raises:
        InputError: The numbers of samples differ, or there are at most n + m + 1 of them.

    Source:
        R. A. A. Ince, B. L. Giordano, C. Kayser, G. A. Rousselet, J. Gross and P. G. Schyns, *A statistical framework
        for neuroimaging data analysis based on mutual information estimated via a Gaussian copula*, Human Brain Mapping
        38 (2017), 1541-1573; the bias after N. R. Goodman 1963 and I. A. Ahmed and D. V. Gokhale 1989, as there.
    """
    samples, n, m = len(x), x.shape[1], y.shape[1]
    if samples != len(y) or samples <= n + m + 1:
        raise InputError(
            f"there are {samples} and {len(y)} samples of {n} and {m} variables, expected equally many and more than "
            f"{n + m + 1}; pass more samples"
        )
    covariance = torch.cov(normal_scores(torch.cat([x.double(), y.double()], 1)).T).reshape(n + m, n + m)
    information = gaussian_information(covariance, range(n), range(n, n + m))
    if not correct:
        return information
    return information - (_bias(samples, n) + _bias(samples, m) - _bias(samples, n + m))


def _bias(samples: int, variables: int) -> float:
    """Return the bias of a Gaussian plug-in entropy, without its logarithm, which cancels in an information."""
    i = torch.arange(1, variables + 1, dtype=torch.float64)
    return float(torch.special.digamma((samples - i) / 2).sum()) / 2
