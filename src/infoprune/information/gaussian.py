r"""Mutual information of Gaussian variables, from their covariances, in nats.

Everything here is one formula. With L_x L_x^T = C_xx and L_y L_y^T = C_yy, the singular values of

    R = L_x^-1 C_xy L_y^-T

are the canonical correlations r_k of X and Y, and

    I(X; Y) = -1/2 logdet(1 - R R^T) = -1/2 sum_k log(1 - r_k^2).

After whitening no two large determinants have to cancel each other.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.errors import InputError


def correlation_information(correlation: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
    r"""Return the information of two Gaussian variables by their correlation, I = -1/2 log(1 - rho^2), elementwise.

    It is infinite at a correlation of one, where one variable determines the other.

    Args:
        correlation: Correlations of any shape, within [-1, 1].

    Source:
        T. M. Cover and J. A. Thomas, *Elements of Information Theory*, 2nd edition 2006, equation (8.56).
    """
    return -torch.log1p(-correlation.double().square().clamp(max=1)) / 2


def gaussian_information(
    covariance: Float[Tensor, "n n"],
    x: Sequence[int] | Int[Tensor, " p"],
    y: Sequence[int] | Int[Tensor, " q"],
    given: Sequence[int] | Int[Tensor, " r"] = (),
) -> float:
    r"""Return the information I(X; Y) or I(X; Y | Z) of jointly Gaussian vectors, in nats.

        I(X; Y | Z) = 1/2 log( |C_XZ| |C_YZ| / (|C_Z| |C_XYZ|) ),

    which is I(X; Y) under the covariance that is left when Z is known.

    Args:
        covariance: Covariance of all variables, (n, n).
        x: Indices of X.
        y: Indices of Y.
        given: Indices of Z; none for the unconditional information.

    Raises:
        InputError: A block is not positive definite.

    Source:
        Cover and Thomas 2006, theorems 8.4.1 (entropy of a Gaussian vector) and 2.5.2 (chain rule).

    Examples:
        >>> gaussian_information(covariance, [0, 1], [2, 3], given=[4])
        0.1327...
    """
    x, y, z = (torch.as_tensor(i, dtype=torch.long, device=covariance.device) for i in (x, y, given))
    c = covariance.double()
    if len(z):
        c = conditional_covariance(c, c[:, z], c[z][:, z])
    return float(block_information(c[x][:, x], c[x][:, y], c[y][:, y], len(x), len(y)))


def conditional_covariance(
    xx: Float[Tensor, "n n"], xy: Float[Tensor, "n m"], yy: Float[Tensor, "m m"]
) -> Float[Tensor, "n n"]:
    """Return Cov(X | Y) = C_xx - C_xy C_yy^-1 C_yx of jointly Gaussian vectors, by one Cholesky of C_yy.

    Raises:
        InputError: C_yy is not positive definite.
    """
    explained = torch.linalg.solve_triangular(_factor(yy.double()), xy.double().T, upper=False)
    left: Tensor = torch.addmm(xx.double(), explained.T, explained, alpha=-1)
    return left


def block_information(
    xx: Float[Tensor, "n n"],
    xy: Float[Tensor, "n m"],
    yy: Float[Tensor, "m m"],
    x_size: int = 1,
    y_size: int | None = None,
) -> Float[Tensor, "u v"]:
    r"""Return the information of every unit of X with every unit of Y, all at once, in nats.

    Units are consecutive blocks of `x_size` and `y_size` coordinates. By default all of Y is one unit, and Y costs one
    Cholesky for all units of X together; with single coordinates the result is -1/2 log(1 - R2_i), R2_i the squared
    multiple correlation of x_i on Y, and there is no determinant at all.

    Args:
        xx: Covariance of X, (n, n); only its diagonal blocks are read.
        xy: Covariance of X with Y, (n, m).
        yy: Covariance of Y, (m, m); only its diagonal blocks are read.
        x_size: Number of coordinates of a unit of X.
        y_size: Number of coordinates of a unit of Y; None means all of them.

    Returns:
        Information, (units of X, units of Y), float64.

    Raises:
        InputError: A diagonal block is not positive definite.

    Examples:
        >>> block_information(xx, xy, yy)[:, 0]  # of every coordinate of X with Y jointly
        >>> block_information(xx, xy, yy, y_size=1).amax(1)  # with the most informative coordinate of Y
    """
    y_size = y_size or len(yy)
    white = _whitened(xy.double(), xx.double(), x_size)
    white = _whitened(white.T, yy.double(), y_size).T
    blocks = white.reshape(len(xx) // x_size, x_size, len(yy) // y_size, y_size).movedim(2, 1)  # R: (u, v, s, t)
    if min(x_size, y_size) == 1:
        squared = blocks.square().sum((2, 3))[..., None]
    else:
        small = blocks if x_size <= y_size else blocks.mT
        squared = torch.linalg.eigvalsh(small @ small.mT)  # squared canonical correlations
    information: Tensor = -torch.log1p(-squared.clamp(0, 1)).sum(-1) / 2
    return information


def _whitened(rows: Float[Tensor, "n m"], covariance: Float[Tensor, "n n"], size: int) -> Float[Tensor, "n m"]:
    """Return L^-1 rows, L the Cholesky factors of the covariance's diagonal blocks."""
    units = len(covariance) // size
    blocks = covariance.reshape(units, size, units, size).diagonal(dim1=0, dim2=2).movedim(-1, 0)
    if size == 1:
        _check_positive(bool((blocks > 0).all()))
        return rows / blocks.reshape(-1, 1).sqrt()
    white: Tensor = torch.linalg.solve_triangular(_factor(blocks), rows.reshape(units, size, -1), upper=False)
    return white.reshape(rows.shape)


def _factor(matrix: Float[Tensor, "*units n n"]) -> Float[Tensor, "*units n n"]:
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    _check_positive(not failed.any())
    return factor


def _check_positive(positive: bool) -> None:
    if not positive:
        raise InputError(
            "a covariance is not positive definite, expected no variable that is constant or determined by others; "
            "add a small multiple of the identity"
        )
