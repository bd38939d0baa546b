"""Batch normalisation as a part of the convolutions before it, for prediction in fp32."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_normalisation(network: nn.Module) -> None:
    """Give each convolution the factors and offsets of the batch normalisation that follows it.

    Only pairs that follow each other in an `nn.Sequential` change; any other batch normalisation
    stays. Outputs differ in their last bits in fp32. In bf16 the larger weights would be rounded,
    which nearly doubles the difference to fp32.

    Parameters
    ----------
    network : in evaluation mode, with its final running statistics; it is changed, and cannot be
        trained or saved afterwards
    """
    for layers in list(network.modules()):
        if not isinstance(layers, nn.Sequential):
            continue
        # From the end: the removal of a layer changes the positions of those after it.
        for i in range(len(layers) - 2, -1, -1):
            convolution, normalisation = layers[i], layers[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                layers[i] = fuse_conv_bn_eval(convolution, normalisation)
                del layers[i + 1]
