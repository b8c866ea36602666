"""Nearest neighbours: information of variables of any distribution, in few dimensions, in nats.

The estimates are nearly unbiased and are therefore sometimes below zero where the truth is zero; they are not clamped.
Distances are those of the maximum norm, kept as matrices: memory and time grow with the square of the samples.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.errors import InputError


def max_distances(x: Float[Tensor, "t n"]) -> Float[Tensor, "t t"]:
    """Return the largest difference over the coordinates of every pair of samples, float64; infinite with itself."""
    x = x.double()
    distances = torch.cdist(x, x, p=torch.inf)
    return distances.fill_diagonal_(torch.inf)


def ksg_information(
    x: Float[Tensor, "t n"], y: Float[Tensor, "_ m"], *, neighbours: int = 3, variant: Literal[1, 2] = 1
) -> float:
    r"""Estimate I(X; Y) of continuous variables as Kraskov, Stoegbauer and Grassberger do, in nats.

    Around every sample the k nearest ones are taken in the joint space (maximum norm). Variant 1 counts in each margin
    the samples nearer than the k-th neighbour, variant 2 those within the smallest rectangle that holds all k:

        I1 = psi(k) - < psi(n_x + 1) + psi(n_y + 1) > + psi(t)
        I2 = psi(k) - 1/k - < psi(n_x) + psi(n_y) > + psi(t)

    Scale x and y to comparable spreads first: the truth does not depend on it, the estimate does a little.

    Args:
        x: Samples of n variables, (t, n).
        y: The same t samples of m other variables, (t, m).
        neighbours: Number k of neighbours; more of them mean less variance and more bias.
        variant: Variant 1 or 2; the second has less systematic error in more dimensions.

    Raises:
        InputError: There are fewer than k + 1 samples, other numbers of them in x and y, or no such variant.

    Source:
        A. Kraskov, H. Stoegbauer and P. Grassberger, *Estimating mutual information*, Phys. Rev. E 69 (2004) 066138,
        equations (8) and (9). Variant 1 is what scikit-learn's mutual_info_regression computes.
    """
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} samples and y {len(y)}, expected equally many; pass pairs")
    return ksg_of_distances(max_distances(x), max_distances(y), neighbours=neighbours, variant=variant)


def ksg_of_distances(
    dx: Float[Tensor, "t t"], dy: Float[Tensor, "t t"], *, neighbours: int = 3, variant: Literal[1, 2] = 1
) -> float:
    """Return the estimate of `ksg_information` from `max_distances`, for many x with the same y.

    Raises:
        InputError: As from `ksg_information`.
    """
    samples, k = len(dx), neighbours
    _check_neighbours(k, samples)
    if variant not in (1, 2):
        raise InputError(f"`variant` is {variant}, expected 1 or 2")
    near = torch.maximum(dx, dy).topk(k, 1, largest=False)
    if variant == 1:
        radius = _just_below(near.values[:, -1:])
        counts = [1 + (d <= radius).sum(1) for d in (dx, dy)]
        head = _psi(k)
    else:
        counts = [(d <= d.gather(1, near.indices).amax(1, keepdim=True)).sum(1) for d in (dx, dy)]
        head = _psi(k) - 1 / k
    return head + _psi(samples) - sum(float(torch.special.digamma(c.double()).mean()) for c in counts)


def ross_information(x: Float[Tensor, "t n"], labels: Int[Tensor, " _"], *, neighbours: int = 3) -> float:
    r"""Estimate I(X; C) of continuous x and discrete labels as Ross does, in nats.

        I = psi(t) - < psi(t_c) > + < psi(k) > - < psi(m) >

    where t_c counts the samples with the label of a sample, and m those of any label, itself included, that are
    nearer than its k-th neighbour of the same label. Labels that occur once are left out; a label with fewer than
    k + 1 samples uses as many neighbours as it has.

    Args:
        x: Samples of n variables, (t, n).
        labels: Integer labels, (t,).
        neighbours: Number k of neighbours.

    Raises:
        InputError: The numbers of samples and labels differ, or no label occurs twice.

    Source:
        B. C. Ross, *Mutual information between discrete and continuous data sets*, PLoS ONE 9 (2014) e87357, equation
        (2). What scikit-learn's mutual_info_classif computes.
    """
    if len(x) != len(labels):
        raise InputError(f"x has {len(x)} samples and there are {len(labels)} labels, expected one for each")
    return ross_of_distances(max_distances(x), labels, neighbours=neighbours)


def ross_of_distances(distances: Float[Tensor, "t t"], labels: Int[Tensor, " _"], *, neighbours: int = 3) -> float:
    """Return the estimate of `ross_information` from `max_distances`.

    Raises:
        InputError: As from `ross_information`.
    """
    _check_neighbours(neighbours, None)
    same = labels[:, None] == labels
    members = same.sum(1)
    counted = members > 1
    if not counted.any():
        raise InputError("no label occurs twice, expected at least two samples of one; pass more samples")
    distances, members = distances[counted][:, counted], members[counted]
    k = (members - 1).clamp(max=neighbours)
    among = distances.masked_fill(~same[counted][:, counted], torch.inf)
    nearest = among.topk(int(k.max()), 1, largest=False).values
    radius = _just_below(nearest.gather(1, k[:, None] - 1))
    m = 1 + (distances <= radius).sum(1)
    k_mean, members_mean, m_mean = (float(torch.special.digamma(each.double()).mean()) for each in (k, members, m))
    return _psi(len(m)) + k_mean - members_mean - m_mean


def _just_below(radius: Tensor) -> Tensor:
    """Return the largest number below; zero stays zero, since equal samples cannot be nearer."""
    return torch.nextafter(radius, torch.zeros_like(radius))


def _psi(number: int) -> float:
    return float(torch.special.digamma(torch.tensor(float(number), dtype=torch.float64)))


def _check_neighbours(neighbours: int, samples: int | None) -> None:
    if neighbours < 1 or (samples is not None and neighbours >= samples):
        there = "" if samples is None else f" among {samples} samples"
        raise InputError(f"`neighbours` is {neighbours}{there}, expected at least 1 and fewer than samples; 3 is usual")
