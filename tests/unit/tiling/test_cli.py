import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from kinds_of_stores import write_kind

from tiling.__main__ import main
from tiling.raster.file_lock import LockError
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import FailedStore, geometry_of, record_failure, stored_json
from tiling.stores.layout import GlandStore, LabelStore, MapStore


def write_slide(path, mpp=0.5, size=(300, 400)):
    image = np.full((*size, 3), (214, 130, 170), np.uint8)
    image[:40, :40] = (150, 60, 120)
    tifffile.imwrite(
        path,
        image,
        tile=(64, 64),
        photometric="rgb",
        resolution=(1e4 / mpp, 1e4 / mpp),
        resolutionunit="CENTIMETER",
    )
    return str(path)


def test_info_prints_the_facts_as_json(tmp_path, capsys):
    assert main(["info", write_slide(tmp_path / "s.tiff"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["mpp_x"], facts["mpp_origin"], facts["problems"]) == (
        0.5,
        "tiff resolution tags",
        [],
    )
    assert facts["level_sizes_px"] == [[400, 300]]


def test_a_picture_may_be_the_first_file_of_its_folder(tmp_path):
    slide, out = write_slide(tmp_path / "s.tiff"), tmp_path / "new" / "s.JPG"
    assert main(["thumbnail", slide, str(out)]) == 0
    with PIL.Image.open(out) as picture:
        assert picture.format == "JPEG"


@pytest.mark.parametrize(
    ("command", "existing"),
    [
        ("thumbnail s.png s.png", "s.png"),
        ("thumbnail s.png link.png", "s.png"),
        ("thumbnail s.png other.png", "other.png"),
        ("geojson-to-labels a.geojson s.png s.png", "s.png"),
        ("geojson-to-labels a.geojson s.png a.geojson", "a.geojson"),
        ("labels-to-geojson s.png s.png", "s.png"),
        ("labels-to-geojson s.png a.geojson", "a.geojson"),
        ("tissue s.zarr a.geojson", "a.geojson"),
    ],
)
def test_a_conversion_never_replaces_a_file(tmp_path, monkeypatch, capsys, command, existing):
    monkeypatch.chdir(tmp_path)
    for name in ("s.png", "other.png"):
        PIL.Image.new("L", (64, 64), 1).save(name)
    Path("link.png").symlink_to("s.png")
    Path("a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    before = Path(existing).read_bytes()
    assert main(command.split()) == 2
    out = command.split()[-1]
    assert capsys.readouterr().err == f"{out}: exists already; name another file, or delete it\n"
    assert Path(existing).read_bytes() == before


def test_info_reports_an_impossible_pixel_size_with_the_remedy_and_succeeds(tmp_path, capsys):
    slide = write_slide(tmp_path / "s.tiff", mpp=352.86)
    assert main(["info", slide]) == 0
    assert "at full resolution (option --mpp)" in capsys.readouterr().out
    assert main(["info", slide, "--json"]) == 0
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "352.86" in problem
    assert main(["info", slide, "--json", "--mpp", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


@pytest.mark.parametrize("colour", [(255, 255, 255), (214, 130, 170)])
@pytest.mark.parametrize("name", ["s.tif", "s.ome.tif", "s.png", "transparent.png"])
def test_a_slide_of_one_colour_is_named_by_every_command(tmp_path, capsys, caplog, name, colour):
    path, image = tmp_path / name, np.full((100, 120, 3), colour, np.uint8)
    if name == "transparent.png":
        image = np.dstack([image, np.zeros((100, 120), np.uint8)])
        colour = (255, 255, 255)
    if name.endswith("png"):
        PIL.Image.fromarray(image).save(path)
    else:
        tifffile.imwrite(path, image, photometric="rgb", tile=(64, 64))
    words = f"every pixel has the colour {colour}: the slide is empty or wholly transparent"
    assert main(["info", str(path)]) == 0
    assert f"  problem: {path}: {words}" in capsys.readouterr().out
    assert main(["sheet", str(tmp_path)]) == 0
    assert words in capsys.readouterr().out
    # A slide of glass cannot be used; another colour may be a test image, and is only named.
    status = main(["tile", str(path), str(tmp_path / "o.zarr"), "--mpp", "1"])
    assert (status == 0) == (colour != (255, 255, 255))
    assert words in capsys.readouterr().err + caplog.text


def test_info_and_sheet_report_a_truncated_slide(tmp_path, capsys):
    slide = tmp_path / "s.tiff"
    tifffile.imwrite(
        slide,
        np.full((300, 400, 3), 200, np.uint8),
        tile=(64, 64),
        photometric="rgb",
        compression="zstd",
    )
    slide.write_bytes(slide.read_bytes()[:-1])
    assert main(["info", str(slide)]) == 0
    assert (
        f"  problem: {slide}: the file is truncated: 1 of its 35 tiles" in capsys.readouterr().out
    )
    assert main(["info", str(slide), "--json"]) == 0
    assert "copy it again" in json.loads(capsys.readouterr().out)["problems"][0]
    PIL.Image.new("RGB", (50, 50)).save(tmp_path / "s.png")
    assert main(["sheet", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "\tskip\t" in output.out
    assert "1 slide, 1 to check" in output.err
    assert "left out: " in output.err


def one_line(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_tile_refuses_with_status_2_and_one_line(tmp_path, capsys):
    slide = write_slide(tmp_path / "s.tiff", mpp=352.86)
    assert main(["tile", slide, str(tmp_path / "o.zarr")]) == 2
    line = one_line(capsys)
    assert slide in line
    assert "option --mpp" in line
    assert "sheet" not in line.replace("looked at sheet", "")
    assert not (tmp_path / "o.zarr").exists()
    assert main(["tile", str(tmp_path / "none.svs"), str(tmp_path / "o.zarr")]) == 2
    assert "no such file" in one_line(capsys)
    assert main(["tile", slide, str(tmp_path / "o.zarr"), "--overlap-px", "300"]) == 2
    assert "overlap_px 300" in one_line(capsys)


def test_tile_never_replaces_a_folder_that_is_not_its_store(tmp_path, capsys):
    slide = write_slide(tmp_path / "s.tiff")
    home = tmp_path / "home.zarr"
    home.mkdir()
    (home / "thesis.txt").write_text("a thesis")
    assert main(["tile", slide, str(home)]) == 2
    assert "exists and is not a finished tile store" in one_line(capsys)
    assert main(["tile", slide, str(tmp_path / "plain")]) == 2
    assert (home / "thesis.txt").read_text() == "a thesis"


@pytest.mark.parametrize("kind", [LabelStore, MapStore, GlandStore, FailedStore])
def test_tile_never_replaces_a_store_of_another_kind(tmp_path, capsys, kind):
    slide, out = write_slide(tmp_path / "s.tiff"), tmp_path / "x.zarr"
    if kind is FailedStore:
        record_failure(out, ValueError("too small"), {})
    else:
        write_kind(out, kind)
    before = stored_json(out)
    assert main(["tile", slide, str(out)]) == 2
    assert "x.zarr: exists and is not a finished tile store" in one_line(capsys)
    assert stored_json(out) == before


def test_tile_writes_a_store_and_may_replace_its_own(tmp_path):
    slide, out = write_slide(tmp_path / "s.tiff", mpp=352.86), tmp_path / "o.zarr"
    assert (
        main(["tile", slide, str(out), "--mpp", "0.5", "--tile-px", "64", "--overlap-px", "16"])
        == 0
    )
    assert (stored_json(out)["tile_px"], stored_json(out)["mpp_origin"]) == (64, "sheet")
    assert main(["tile", slide, str(out), "--mpp", "0.5", "--working-mpp", "2"]) == 0
    assert geometry_of(out).mpp == 2.0


def test_sheet_goes_to_stdout_or_a_file(tmp_path, capsys, monkeypatch):
    (tmp_path / "in").mkdir()
    write_slide(tmp_path / "in" / "s.tiff")
    monkeypatch.chdir(tmp_path)
    assert main(["sheet", "in"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t")[:3] == ["s", "in/s.tiff", "predict"]
    assert main(["sheet", "in", "--out", "in/slides.tsv"]) == 0
    assert (tmp_path / "in" / "slides.tsv").read_text().splitlines()[1].split("\t")[1] == "s.tiff"
    (tmp_path / "in" / "slides.tsv").write_text("filled in by a person")
    capsys.readouterr()
    assert main(["sheet", "in", "--out", "in/slides.tsv"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "in" / "slides.tsv").read_text() == "filled in by a person"


def test_thumbnail_is_a_picture_of_the_whole_slide(tmp_path):
    slide = write_slide(tmp_path / "s.tiff")
    assert main(["thumbnail", slide, str(tmp_path / "t.png"), "--max-px", "100"]) == 0
    with PIL.Image.open(tmp_path / "t.png") as picture:
        assert picture.size == (100, 75)
        assert picture.getpixel((99, 74)) == (214, 130, 170)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tile", "x"],
        ["nonsense"],
        ["info", "s", "--mpp", "half"],
        ["thumbnail", "s", "t.gif"],
        ["thumbnail", "s", "t.png", "--max-px", "0"],
        ["thumbnail", "s", "t.png", "--max-px", "1000000000"],
        *(
            ["tile", "s", "o.zarr", option, value]
            for option, value in (
                ("--working-mpp", "nan"),
                ("--working-mpp", "inf"),
                ("--working-mpp", "0"),
                ("--tissue-mpp", "nan"),
                ("--min-tissue", "nan"),
                ("--tile-px", "0"),
                ("--tile-px", "1000000000"),
                ("--workers", "100000000"),
                ("--workers", "0"),
            )
        ),
    ],
)
def test_wrong_arguments_give_one_line_and_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "--help" in one_line(capsys)


def test_label_commands_call_their_functions(capsys, monkeypatch):
    calls = []
    module = types.ModuleType("tiling.qupath.level0_labels")
    module.geojson_to_labels = lambda *args, **options: (
        calls.append((*map(str, args), options)) or ["2 detections skipped"]
    )
    module.labels_to_geojson = lambda *args: calls.append(tuple(map(str, args))) or 3
    monkeypatch.setitem(sys.modules, "tiling.qupath.level0_labels", module)
    assert main(["geojson-to-labels", "a.geojson", "s.svs", "o.tiff", "--objects", "all"]) == 0
    assert capsys.readouterr().err == "2 detections skipped\n"
    assert main(["labels-to-geojson", "l.tiff", "o.geojson"]) == 0
    assert calls == [
        ("a.geojson", "s.svs", "o.tiff", {"gland_class": "Gland", "objects": "all"}),
        ("l.tiff", "o.geojson"),
    ]


def test_help_imports_no_large_library():
    lines = (
        "import sys",
        "from tiling.__main__ import main",
        "try: main(['--help'])",
        "except SystemExit: pass",
        "print(sorted(sys.modules))",
    )
    code = "\n".join(lines)
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    assert not any(
        f"'{name}'" in loaded
        for name in ("numpy", "zarr", "openslide", "tifffile", "dask", "skimage", "torch")
    )


@pytest.mark.parametrize("option", ["--tissue", "--roi"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_a_mask_with_an_opaque_alpha_channel_has_the_tissue_of_its_colours(tmp_path, mode, option):
    slide = write_slide(tmp_path / "s.tiff", size=(320, 400))
    mask = np.zeros((8, 10), np.uint8)
    mask[2:6, 4:8] = 255
    PIL.Image.fromarray(mask).convert(mode).save(tmp_path / "m.png")
    out = tmp_path / "o.zarr"
    options = ["--mpp", "1", "--tissue-mpp", "8", "--tile-px", "64", "--overlap-px", "0"]
    assert main(["tile", slide, str(out), *options, option, str(tmp_path / "m.png")]) == 0
    tissue = np.asarray(open_array(open_store(out), "tissue")[...]) > 0
    expected = np.zeros((40, 50), bool)
    expected[10:30, 20:40] = True
    np.testing.assert_array_equal(tissue, expected)


def test_a_locked_store_is_no_wrong_input(tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        raise LockError("x.zarr: another process writes it")

    monkeypatch.setattr("tiling.commands.tile_command.run", refuse)
    assert main(["tile", write_slide(tmp_path / "s.tiff"), str(tmp_path / "o.zarr")]) == 1
    assert "another process writes it" in capsys.readouterr().err


def test_a_file_that_may_not_be_written_is_named_without_a_number_of_the_system(
    tmp_path, capsys, monkeypatch
):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", ".o.tsv.7.partial")

    monkeypatch.setattr("tiling.commands.sheet_command.run", refuse)
    assert main(["sheet", str(tmp_path), "--out", "o.tsv"]) == 1
    assert one_line(capsys) == (
        ".o.tsv.7.partial: permission denied; check the rights on the file and its folder"
    )
