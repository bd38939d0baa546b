"""The table of training methods. It imports no torch, so that every command can read it.

A new method is one file in this folder and one entry here (docs/extending.md). The docstrings of
the methods compare with two collections of public code, SSL4MIS and that of XNet.
"""

from semimoe.methods.method import Method, OptionalPackage, PublishedWeight

# Settings that decide how unlabelled tiles are used.
_UNLABELLED = (
    "unsup_max",
    "unsup_schedule",
    "update",
    "pseudo",
    "pseudo_labels",
    "tiles_per_slide",
    "min_confidence",
)
_PSEUDO_LABELS = ("pseudo", "pseudo_labels")
# Settings of the adaptive multi-objective loss, and of the gates.
_LOSS_SCALES = ("aggregate", "gamma", "amol_lr", "amol_weight_decay", "gate_balance")
_GATES = ("experts", "gates", "gate", "gate_pooling", "gate_heads", "dropout")


# The paper of Mean Teacher classifies images, and that of XNet was not at hand: the public code of
# XNet has the same weight for both.
_XNET_CODE = "the public code of XNet"
# Persistent homology.
_GUDHI = OptionalPackage("gudhi", "gudhi==3.13.*", only_for_training=True)

_ENTRIES = (
    Method(
        "semimoe",
        "Semi-MoE",
        "#8a1c5c",
        "three experts, and gates that fuse them and label the unlabelled tiles (the paper)",
        uses_unlabelled=True,
        has_gates=True,
        starts_from="supervised",
    ),
    Method(
        "supervised",
        "supervised-only",
        "#6b7a8f",
        "the network of Semi-MoE on labelled tiles alone",
        has_gates=True,
        ignored_training=_UNLABELLED,
    ),
    Method(
        "unet",
        "U-Net",
        "#b0803a",
        "a plain U-Net on labelled tiles alone",
        ignored_network=_GATES,
        ignored_training=(*_UNLABELLED, *_LOSS_SCALES),
    ),
    Method(
        "mean-teacher",
        "Mean Teacher",
        "#2f7f86",
        "a U-Net whose moving average is its teacher on unlabelled tiles",
        uses_unlabelled=True,
        published_weight=PublishedWeight(5, "linear", _XNET_CODE),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "cps",
        "CPS",
        "#c2504d",
        "two U-Nets that label unlabelled tiles for each other",
        uses_unlabelled=True,
        published_weight=PublishedWeight(1.5, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "xnet",
        "XNet",
        "#5a9bd4",
        "two U-Nets, for low and for high frequencies of wavelets, that label unlabelled tiles for"
        " each other",
        uses_unlabelled=True,
        published_weight=PublishedWeight(5, "linear", _XNET_CODE),
        package=OptionalPackage("pywt", "PyWavelets==1.9.*"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "toposemiseg",
        "TopoSemiSeg",
        "#4f8a3c",
        "a Mean Teacher whose student also learns the components of the teacher's map",
        uses_unlabelled=True,
        uses_weak_augmentation=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        package=_GUDHI,
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "match",
        "MATCH",
        "#9a7d2e",
        "TopoSemiSeg with structures that predictions with dropout and of earlier steps share",
        uses_unlabelled=True,
        uses_weak_augmentation=True,
        published_weight=PublishedWeight(0.1, "gaussian", "TopoSemiSeg, by the same authors"),
        package=_GUDHI,
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "unimatch",
        "UniMatch",
        "#3f6bb0",
        "a U-Net whose prediction of a weakly augmented tile labels strongly augmented ones",
        uses_unlabelled=True,
        uses_weak_augmentation=True,
        mixes_tiles=True,
        published_weight=PublishedWeight(1, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "entropy-minimisation",
        "EM",
        "#7a6a53",
        "a U-Net that learns to be certain on unlabelled tiles",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.001, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "uncertainty-aware-mean-teacher",
        "UA-MT",
        "#4f9d69",
        "Mean Teacher whose student learns only where the teacher is certain",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "cross-consistency",
        "CCT",
        "#b565a7",
        "a U-Net whose encoder also learns from auxiliary decoders of perturbed features",
        uses_unlabelled=True,
        published_weight=PublishedWeight(30, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "urpc",
        "URPC",
        "#c98a2b",
        "a U-Net that predicts the mask at several scales, and learns their mean",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "cross-teaching",
        "CT",
        "#8c564b",
        "a U-Net and a Transformer that label unlabelled tiles for each other",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        package=OptionalPackage(
            "monai", "monai[einops]==1.6.*", only_for_training=True, dependencies=("einops",)
        ),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
)
METHODS: dict[str, Method] = {entry.name: entry for entry in _ENTRIES}
# The method whose model predicts the slides of a workflow that trains.
MAIN_METHOD = METHODS["semimoe"]
