"""The two losses of Domain Separation Networks (Bousmalis et al. 2016), in float32 also under bf16 autocast."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def difference(private: Tensor, shared: Tensor) -> Tensor:
    """Keeps what is private to a domain orthogonal to what the domains share: ||P^T S||_F^2 / (d_p d_s).

    P and S are the representations with centred columns and then rows of unit length. Like the division by the
    number of entries, that is not in the paper but in its authors' code, for which their loss weights hold.

    Args:
        private: (n, d_p), of one domain.
        shared: (n, d_s), of the same images.

    Returns:
        Scalar, 0 (orthogonal) to n^2 / (d_p d_s).
    """
    # Rows shorter than 1e-6 stay short (as there): the gradient of a row at the mean would explode.
    rows, others = (normalize(x - x.mean(0), dim=1, eps=1e-6) for x in (private.float(), shared.float()))
    with torch.autocast(rows.device.type, enabled=False):
        return (rows.T @ others).square().mean()


def scale_invariant_mse(images: Tensor, reconstructions: Tensor) -> Tensor:
    """||d||^2 / k - (d . 1)^2 / k^2 for the error d of an image's k values, mean over the images.

    The variance of the error: a constant shift of an image's brightness costs nothing, its shapes do.

    Args:
        images, reconstructions: (n, ...), the same shape.

    Returns:
        Scalar, 0 or more.
    """
    return (images.float() - reconstructions.float()).flatten(1).var(1, correction=0).mean()
