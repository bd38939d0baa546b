"""A loss by which the gates use all experts.

B batch, G gates, E experts.
"""

from torch import Tensor


def gate_balance(weights: Tensor) -> Tensor:
    """Unequal use of the experts: CV(I)^2, I the mean weight of each expert over a batch.

    The importance loss of Shazeer et al. (2017, arXiv 1701.06538, eqs. 6 and 7), CV the coefficient
    of variation. The weights of a gate add up to 1, so that CV(I)^2 = E sum_i I_i^2 - 1: that of
    the Switch Transformer (Fedus et al. 2022, arXiv 2101.03961, eq. 4), E sum_i f_i P_i, minus its
    least value, with the soft weights P_i also in the place of the shares f_i of chosen experts.
    A single tile or pixel may have any weights.

    Parameters
    ----------
    weights : (B, G, E), the sum of each row is 1

    Returns
    -------
    Tensor
        Scalar, the sum over the gates: 0 at equal use, G (E - 1) if one expert has all weight.
    """
    importance = weights.float().mean(0)  # (G, E)
    return (weights.shape[2] * (importance**2).sum(1) - 1).sum()
