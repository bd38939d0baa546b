"""The pretrained encoder: same features as the original network, image sizes, and training."""

import pytest
import torch
from disc_pictures import fit_on_cpu
from learner_steps import METHOD_NAMES
from torch import nn

from semimoe.encoders import ENCODERS
from semimoe.methods import METHODS
from semimoe.methods.optimizers import make_optimizers
from semimoe.model_card import load_card
from semimoe.model_errors import ModelError, SettingsError
from semimoe.networks.efficientnet import LITE0, LightDecoder, LiteEncoder, LiteVariant
from semimoe.networks.efficientnet_lite2 import LITE2
from semimoe.networks.mixture import count_parameters
from semimoe.networks.pretrained import freeze, load_pretrained
from semimoe.objectives.losses import SumLoss
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.tensor_files import load_tensors, save_tensors
from semimoe.training.recipe import TrainingData
from semimoe.training.training_run import TrainingRun

pytestmark = pytest.mark.xdist_group("training_steps")


def build_network(method: str, settings: NetworkSettings) -> nn.Module:
    return METHODS[method].load_learner().build_network(settings)


LITE = NetworkSettings(width=4, encoder="efficientnet-lite0", experts="shared")


# Channels, side, mean, standard deviation and one value of each feature.
FEATURES = {
    LITE0: [
        ((16, 32), 0.0869, 8.9883, -18.588),
        ((24, 16), -0.7026, 12.5265, 10.100),
        ((40, 8), -0.0801, 11.1034, -13.169),
        ((112, 4), 0.6054, 6.1497, 2.1675),
        ((192, 2), 0.1665, 9.0739, -8.0567),
    ],
    LITE2: [
        ((16, 32), 0.5690, 10.1405, 13.6809),
        ((24, 16), -1.1956, 13.2641, -7.7623),
        ((48, 8), 0.4159, 11.4151, 9.4777),
        ((120, 4), -0.3105, 6.2192, 0.4265),
        ((208, 2), 0.8271, 11.0598, -21.4375),
    ],
}


@pytest.mark.parametrize("variant", FEATURES, ids=lambda variant: variant.name)
def test_features_equal_those_of_the_original_network(variant: LiteVariant) -> None:
    """Expected values: from the reference implementation in fp32, on an image of sine waves."""
    encoder = LiteEncoder(variant).eval()
    encoder.load_pretrained()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.stack([torch.sin(x / 3), torch.cos(y / 5), torch.sin((x + y) / 7)])[None]
    with torch.inference_mode():
        first_feature, *features = encoder(image)
    assert first_feature is image
    expected = FEATURES[variant]
    for feature, ((channels, side), mean, deviation, value) in zip(features, expected, strict=True):
        assert feature.shape == (1, channels, side, side)
        measured = torch.stack([feature.mean(), feature.std(), feature[0, 3, 1, 1]])
        # The file holds the kernels in fp16.
        torch.testing.assert_close(
            measured, torch.tensor([mean, deviation, value]), rtol=5e-3, atol=2e-2
        )


@pytest.mark.parametrize("side", [16, 48, 64, 112])
def test_the_feature_of_the_decoder_has_the_size_of_an_image_with_sides_that_are_multiples_of_16(
    side: int,
) -> None:
    decoder = LightDecoder(8, LITE0.channels)
    feature = decoder(LiteEncoder(LITE0)(torch.rand(2, 3, side, 2 * side)))
    assert feature.shape == (2, 8, side, 2 * side)


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("experts", ["separate", "shared"])
def test_every_method_works_with_the_pretrained_encoder(method, experts) -> None:
    network = build_network(method, LITE.model_copy(update={"experts": experts}))
    load_pretrained(network)
    encoders = [module for module in network.modules() if isinstance(module, LiteEncoder)]
    without_gates = 2 if method == "xnet" else 1
    assert len(encoders) == (
        3 if METHODS[method].has_gates and experts == "separate" else without_gates
    )
    pretrained, _ = load_tensors(LITE0.weights)
    for encoder in encoders:
        torch.testing.assert_close(
            encoder.state_dict()["stem.0.weight"], pretrained["stem.0.weight"].float()
        )
    outputs = network(torch.zeros(2, 3, 48, 48, dtype=torch.uint8))
    assert outputs.gates.seg.shape == (2, 2, 48, 48)
    assert outputs.experts.sdf is not None


def test_the_encoder_has_as_many_parameters_as_stem_and_blocks_0_to_14_of_the_original() -> None:
    assert count_parameters(LiteEncoder(LITE0)) == 2_353_408


def test_a_model_with_the_larger_encoder_has_at_most_15_mb_in_half_precision() -> None:
    network = build_network(
        "semimoe", NetworkSettings(encoder="efficientnet-lite2", experts="shared")
    )
    load_pretrained(network)
    outputs = network.eval()(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))
    assert outputs.gates.seg.shape == (1, 2, 48, 48)
    assert 2 * count_parameters(network) < 11e6


def test_the_pretrained_encoder_has_its_own_learning_rate() -> None:
    network = build_network("unet", LITE)
    training = TrainingSettings(
        epochs=20, warm_start_epochs=8, precision="fp32", lr=1e-2, encoder_lr=0.1
    )
    for optimizer in ("adamw", "sgd"):
        settings = training.model_copy(update={"optimizer": optimizer})
        groups = make_optimizers([network], SumLoss(), settings, lr=1e-2)["network"].param_groups
        assert [(group["lr"], group["initial_lr"]) for group in groups] == pytest.approx(
            [(1e-2, 1e-2), (1e-3, 1e-3)]
        )
        assert sum(p.numel() for p in groups[1]["params"]) == count_parameters(LiteEncoder(LITE0))
        parameters = [p for group in groups for p in group["params"]]
        assert sum(p.numel() for p in parameters) == count_parameters(network)
    plain = build_network("unet", NetworkSettings(encoder="unet", experts="separate", width=4))
    (only,) = make_optimizers([plain], SumLoss(), training, lr=1e-2)["network"].param_groups
    assert only["lr"] == 1e-2


def test_training_starts_from_the_pretrained_weights_and_the_model_can_be_loaded(
    tmp_path, discs
) -> None:
    training = TrainingSettings(
        tile_px=32, batch=2, epochs=1, warm_start_epochs=0, steps_per_epoch=2, precision="bf16"
    )
    data = TrainingData(discs(4, 40), discs(4, 40, seed=1))
    fit_on_cpu("semimoe", data, network=LITE, training=training, out=tmp_path / "model")
    assert (
        load_card(tmp_path / "model").normalisation.mean
        == ENCODERS["efficientnet-lite0"].image_mean
    )
    tensors, _ = load_tensors(tmp_path / "model" / "model.safetensors")
    trained = tensors["features.encoder.stem.0.weight"]
    pretrained = load_tensors(LITE0.weights)[0]["stem.0.weight"].float()
    assert 0 < (trained - pretrained).abs().max() < 0.1
    maps = Predictor.load(tmp_path / "model", device="cpu", threads=1)(
        torch.zeros(1, 3, 48, 48, dtype=torch.uint8).numpy()
    )
    assert maps.shape == (1, 4, 48, 48)


def test_missing_weights_and_weights_of_another_network_are_an_error_with_a_remedy(
    tmp_path,
) -> None:
    with pytest.raises(ModelError, match=r"missing.*network\.encoder: unet"):
        LiteEncoder(LITE0).load_pretrained(tmp_path / "encoder.safetensors")
    save_tensors(tmp_path / "other.safetensors", nn.Conv2d(3, 4, 1).state_dict(), {})
    with pytest.raises(ModelError, match="not the weights of this encoder"):
        LiteEncoder(LITE0).load_pretrained(tmp_path / "other.safetensors")


@pytest.mark.parametrize("stages", [0, 2])
def test_frozen_stages_do_not_change_and_later_stages_do(tmp_path, discs, stages: int) -> None:
    """Weights and running statistics."""
    training = TrainingSettings(
        precision="fp32",
        tile_px=32,
        batch=2,
        epochs=1,
        warm_start_epochs=0,
        steps_per_epoch=2,
        frozen_stages=stages,
    )
    data = TrainingData(discs(4, 40))
    fit_on_cpu("unet", data, network=LITE, training=training, out=tmp_path / "model")
    before, after = (
        load_tensors(LITE0.weights)[0],
        load_tensors(tmp_path / "model" / "model.safetensors")[0],
    )
    changed = {
        name
        for name, tensor in before.items()
        if not torch.equal(tensor.float(), after[f"encoder.{name}"].float())
    }
    frozen = ("stem.", "stages.0.", "stages.1.")
    assert any(name.startswith(frozen) for name in changed) == (stages == 0)
    assert any(name.startswith("stages.2.") and "running_mean" in name for name in changed)
    assert any(name.startswith("stages.2.") and name.endswith("0.weight") for name in changed)


@pytest.mark.parametrize("stages", [0, 2])
def test_an_interrupted_run_with_a_pretrained_encoder_resumes_to_the_same_bytes(
    tmp_path, discs, monkeypatch, stages: int
) -> None:
    """The state has two learning rates, and frozen parameters have no optimiser state."""
    training = TrainingSettings(
        precision="fp32",
        tile_px=32,
        batch=2,
        epochs=2,
        warm_start_epochs=0,
        steps_per_epoch=1,
        frozen_stages=stages,
        encoder_lr=0.1,
    )

    def run(name: str) -> list[bytes]:
        data = TrainingData(discs(3, 40), validation=discs(1, 40, seed=5))
        fit_on_cpu("unet", data, network=LITE, training=training, out=tmp_path / name)
        return [
            (tmp_path / name / file).read_bytes()
            for file in ("model.safetensors", "history.csv", "model.json")
        ]

    def interrupt(training_run: TrainingRun, validation: object) -> None:
        end_epoch(training_run, validation)
        raise KeyboardInterrupt

    expected, end_epoch = run("complete"), TrainingRun.end_epoch
    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "end_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("interrupted")
    assert (tmp_path / "interrupted.resume" / "epoch.safetensors").is_file()
    assert run("interrupted") == expected


def test_frozen_stages_count_as_parameters_and_random_weights_cannot_be_frozen(
    tmp_path, discs
) -> None:
    network = build_network("semimoe", LITE)
    count = count_parameters(network)
    freeze(network, 2)
    assert count_parameters(network) == count
    with pytest.raises(ValueError, match="less than or equal to 6"):
        TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32", frozen_stages=7)
    with pytest.raises(SettingsError, match="frozen_stages 2: an encoder with random weights"):
        fit_on_cpu(
            "unet",
            TrainingData(discs(2)),
            network=NetworkSettings(encoder="unet", experts="separate", width=4),
            training=TrainingSettings(
                epochs=20, precision="fp32", tile_px=32, warm_start_epochs=0, frozen_stages=2
            ),
            out=tmp_path / "model",
        )
