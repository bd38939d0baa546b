"""What predict_slide records, and what its settings change."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from example_stores import tile_attributes

from semimoe.model_card import parse_card, save_card
from semimoe.networks.mixture import SemiMoE
from semimoe.settings import NetworkSettings
from semimoe.tensor_files import save_tensors
from tiling.raster.geometry import Geometry
from tiling.stores.arrays import create_array, create_group, create_table, open_array, open_store
from tiling.stores.attributes import set_attributes, stored_json
from tiling.stores.manifest import seal_store
from workflow.config.checks import read_configuration
from workflow.stages.job_resources import JobResources
from workflow.stages.predict_slide import predict_slide

# Not importorskip: that import would report itself over the network.
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the package openvino is not installed"
)
SIDE, TILE = 112, 64
NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A slide of tissue, four tiles."""
    group = create_group(tmp_path / "tiles.zarr")
    image = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    create_array(group, "0", image.shape, np.uint8, fill=255)[...] = image
    create_array(group, "tissue", (SIDE // 8, SIDE // 8), np.uint8)[...] = 1
    origins = np.array([(y, x) for y in (0, 48) for x in (0, 48)], np.int64)
    create_table(
        group, "tiles", {"origin_yx_px": origins, "status": np.zeros(len(origins), np.uint8)}
    )
    geometry = Geometry.uniform(SIDE, SIDE)
    tile_attributes(geometry, tile_px=TILE, overlap_px=TILE - 48).write(group)
    seal_store(tmp_path / "tiles.zarr")
    return tmp_path / "tiles.zarr"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "model"
    save_tensors(folder / "model.safetensors", SemiMoE(NETWORK).state_dict(), {})
    card = {
        "method": "semimoe",
        "network": NETWORK.to_dict(),
        "mpp_um": 1.0,
        "tile_px": TILE,
        "threshold": 0.5,
        "split": {"seed_depth_um": 3.0, "boundary_level": 0.5, "growth_um": 10.0},
    }
    more = {"sdf_um": 20.0, "sdf_scale": "um", "normalisation": {}}
    save_card(folder, parse_card({**card, **more}, source="test"))
    return folder


def predicted(
    tiles: Path, model: Path, maps: Path, **changes: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    prediction = read_configuration({"prediction": changes}).prediction
    job = JobResources(gpu=0, threads=1, code_version=7)
    predict_slide(tiles, model, maps, slide="s", prediction=prediction, job=job)
    return np.asarray(open_array(open_store(maps), "gland")[...]), stored_json(maps)


def recorded(**changes: Any) -> dict[str, Any]:
    """Parameters in the attributes of maps."""
    plain = {"batch": 16, "precision": "fp32", "runtime": "torch", "flips": False, "margin_um": 0}
    return plain | changes


@pytest.mark.parametrize("native", ["fp32", "bf16"])
def test_the_maps_record_their_settings(tiles, model, tmp_path, monkeypatch, native) -> None:
    monkeypatch.setattr("semimoe.devices.native_precision", lambda _: native)
    _, attrs = predicted(tiles, model, tmp_path / "a.zarr")
    assert attrs["parameters"] == recorded(precision=native)
    assert (attrs["version"], attrs["most_at_once"]) == (7, None)


def test_settings_change_the_maps_and_are_recorded(tiles, model, tmp_path) -> None:
    plain, _ = predicted(tiles, model, tmp_path / "a.zarr", precision="fp32")
    repeated, _ = predicted(tiles, model, tmp_path / "b.zarr", precision="fp32")
    flipped, attrs = predicted(tiles, model, tmp_path / "c.zarr", precision="fp32", flips=True)
    np.testing.assert_array_equal(plain, repeated)
    assert attrs["parameters"] == recorded(precision="fp32", flips=True)
    assert (plain != flipped).any()


@needs_openvino
def test_maps_of_openvino_differ_by_rounding_and_are_recorded(tiles, model, tmp_path) -> None:
    plain, _ = predicted(tiles, model, tmp_path / "a.zarr", precision="fp32")
    maps, attrs = predicted(tiles, model, tmp_path / "b.zarr", precision="fp32", runtime="openvino")
    assert np.abs(plain.astype(int) - maps).max() <= 1
    assert attrs["parameters"] == recorded(runtime="openvino")


def test_a_margin_of_glass_is_predicted_by_models_trained_with_glass(
    tiles, model, tmp_path
) -> None:
    """Half of the slide is tissue; in a margin beside it the maps are not 0, elsewhere the same."""
    group = zarr.open_group(tiles, mode="r+")
    mask = np.zeros((SIDE // 8, SIDE // 8), np.uint8)
    mask[:, : SIDE // 16] = 1
    group["tissue"][...] = mask
    create_array(group, "pen", mask.shape, np.uint8)
    seal_store(tiles)
    edge, margin_px = SIDE // 2, 24
    masked, _ = predicted(tiles, model, tmp_path / "a.zarr", precision="fp32")
    wider, attrs = predicted(
        tiles, model, tmp_path / "b.zarr", precision="fp32", margin_um=margin_px
    )
    assert attrs["parameters"]["margin_um"] == margin_px
    np.testing.assert_array_equal(masked[:, :edge], wider[:, :edge])
    assert not masked[:, edge:].any()
    assert wider[:, edge : edge + margin_px].all()
    assert not wider[:, edge + margin_px :].any()
    card = json.loads((model / "model.json").read_text())
    for augment, margin_um in (("slides", 0), ("scanners", 100)):
        (model / "model.json").write_text(json.dumps(card | {"training": {"augment": augment}}))
        assert (
            predicted(tiles, model, tmp_path / f"{augment}.zarr")[1]["parameters"]["margin_um"]
            == margin_um
        )
    set_attributes(
        zarr.open_group(tiles, mode="r+"), {"parameters": {"roi": "checksum of the drawn file"}}
    )
    seal_store(tiles)
    assert predicted(tiles, model, tmp_path / "roi.zarr")[1]["parameters"]["margin_um"] == 0


def test_a_batch_that_was_halved_for_lack_of_memory_is_recorded_and_changes_no_map(
    tiles, model, tmp_path, monkeypatch
) -> None:
    plain, _ = predicted(tiles, model, tmp_path / "a.zarr", precision="fp32")
    forward = SemiMoE.forward

    def forward_one_at_most(self, images):
        if len(images) > 1:
            raise torch.OutOfMemoryError
        return forward(self, images)

    monkeypatch.setattr(SemiMoE, "forward", forward_one_at_most)
    halved, attrs = predicted(tiles, model, tmp_path / "b.zarr", precision="fp32")
    assert attrs["most_at_once"] == 1
    assert np.abs(plain.astype(int) - halved).max() <= 1
