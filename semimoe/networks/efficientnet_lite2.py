"""EfficientNet-Lite2: a deeper and wider encoder than EfficientNet-Lite0, see there."""

from semimoe.networks.efficientnet import EncoderStage, LightDecoder, LiteEncoder, LiteVariant

# 1.1 times the channels, rounded to multiples of 8, and 1.2 times the blocks, rounded up; the stem
# and the number of blocks of the first stage stay.
LITE2 = LiteVariant(
    "efficientnet-lite2",
    "17b9989dec0d196c100113750156aeffb8560ad8212d1c6d081a002c44ad59f5",
    (
        EncoderStage(1, 3, 1, 1, 16, True),
        EncoderStage(3, 3, 2, 6, 24, True),
        EncoderStage(3, 5, 2, 6, 48, True),
        EncoderStage(4, 3, 2, 6, 88, False),
        EncoderStage(4, 5, 1, 6, 120, True),
        EncoderStage(5, 5, 2, 6, 208, True),
    ),
)


def make_encoder(width: int) -> LiteEncoder:
    """Build the encoder with random weights; its channels do not depend on `width`."""
    return LiteEncoder(LITE2)


def make_decoder(width: int) -> LightDecoder:
    """Build the decoder that fits the encoder."""
    return LightDecoder(width, LITE2.channels)
