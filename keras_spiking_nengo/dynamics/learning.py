"""Online learning rules: the change of weights that one step asks for.

With pre- and postsynaptic activities `a_i` and `a_j`, an error `e_j`, weights
`w_ji`, and the learning rate times `dt` as `alpha`:

    PES    -alpha / n  e_j a_i                   (n presynaptic neurons)
    BCM    alpha a_j (a_j - theta_j) a_i
    Oja    alpha (a_j a_i - beta a_j^2 w_ji)
    Voja   alpha l a_j (s_j x_i - e_ji)          (encoders e, lengths s, signal l)
    RLS    -e_j P a_i;   P <- P - P a a' P / (1 + a' P a)

All arrays have any number of leading axes, the same for all.

Reference:
    MacNeil and Eliasmith (2011), *Fine-tuning and the stability of recurrent neural
    networks*, PLoS ONE 6(9) (PES); Bienenstock, Cooper and Munro (1982), J.
    Neurosci. 2(1); Oja (1982), J. Math. Biology 15; Voelker (2014), *Learning in
    large-scale spiking neural networks* (Voja); Sussillo and Abbott (2009),
    *Generating coherent patterns of activity from chaotic neural networks*, Neuron
    63(4) (RLS).
"""

from keras import ops

__all__ = ["bcm", "oja", "outer", "pes", "rls", "voja"]


def outer(rows, columns):
    """`rows_j columns_i` for the last axes."""
    return rows[..., :, None] * columns[..., None, :]


def pes(alpha, pre, error):
    """`(..., m, n)` for activities `(..., n)` and errors `(..., m)`."""
    return outer((-alpha / pre.shape[-1]) * error, pre)


def bcm(alpha, pre, post, theta):
    """`(..., m, n)` for activities `(..., n)` and `(..., m)`."""
    return outer(alpha * post * (post - theta), pre)


def oja(alpha, beta, pre, post, weights):
    """`(..., m, n)` for activities `(..., n)` and `(..., m)`."""
    forgotten = (-beta) * weights * (alpha * post * post)[..., :, None]
    return forgotten + outer(alpha * post, pre)


def voja(alpha, scale, decoded, post, encoders, signal):
    """`(..., m, d)` for a decoded value `(..., d)` and activities `(..., m)`."""
    towards = scale[:, None] * outer(post, decoded)
    return (alpha * signal)[..., None] * (towards - post[..., :, None] * encoders)


def rls(pre, error, inverse):
    """Change `(..., m, n)`, and the next inverse correlations `(..., n, n)`."""
    gained = ops.einsum("...ij,...j->...i", inverse, pre)
    ratio = 1 / (1 + ops.sum(pre * gained, axis=-1, keepdims=True))
    change = outer(error, -ratio * gained)
    return change, inverse - outer(gained, ratio * gained)
