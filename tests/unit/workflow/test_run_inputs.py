"""The configuration and the sheet that a run is started with."""

import json
from pathlib import Path

import pytest
from kinds_of_stores import write_kind

from tiling.stores.layout import MapStore
from workflow.job_record import JobRecord, RecordedInput
from workflow.result_paths import record_of_store
from workflow.run_inputs import RunInputs, problems_text, read_run_inputs

SHIPPED = Path(__file__).parents[3] / "models" / "glas"


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A valid configuration, and its sheet in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("a.svs").touch()
    square = [[0, 0], [90, 0], [90, 90], [0, 90], [0, 0]]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [square]},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name in ("Region*", "Gland")
    ]
    Path("a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    rows = "x\ta.svs\tlabelled\ta.geojson\n"
    Path("s.tsv").write_text("slide\tpath\tsplit\tannotation\n" + rows)
    return {"slides": "s.tsv"}


def read(values: dict[str, object], *words: str, **options: bool) -> RunInputs:
    return read_run_inputs(values, words, is_main_process=True, **options)


def warnings(values: dict[str, object], *words: str) -> list[str]:
    return [remark for remark in read(values, *words).remarks if "an earlier run" in remark]


@pytest.mark.parametrize("slides", [{}, {"slides": ""}, {"slides": None}])
def test_without_a_sheet_the_message_says_what_to_give(slides: dict[str, object]) -> None:
    (problem,) = read(slides).problems
    for part in ("python -m tiling sheet", "--config slides=", "--configfile", "make demo"):
        assert part in problem


def test_a_python_that_snakemake_cannot_start_is_named_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/my slides/.venv/bin/python")
    problem, _ = read({}).problems
    assert problem.startswith("Python: /my slides/.venv/bin/python has ' ' in its path")
    assert "rename the folder" in problem


def test_parameters_of_the_other_split_rule_are_named(values) -> None:
    def named(**changes: object) -> list[str]:
        return [one for one in read(values | changes).remarks if "no effect" in one]

    assert named() == named(glands={"seed_depth_um": 2}) == []
    assert named(glands={"rule": "prominence", "prominence_um": 5}) == []
    (remark,) = named(glands={"prominence_um": 5, "seed_threshold": 0.8})
    assert "glands.prominence_um, glands.seed_threshold: no effect with the split rule depth" in (
        remark
    )
    (remark,) = named(training={"split_rule": "prominence"}, glands={"growth_um": 5})
    assert "glands.growth_um: no effect with the split rule prominence" in remark
    # The rule of the shipped model is depth.
    (remark,) = named(model=str(SHIPPED), glands={"boundary_weight_um": 5})
    assert "set glands.rule to prominence" in remark


def test_fine_tuning_that_changes_the_meaning_of_outputs_is_named(values) -> None:
    def named(**network: object) -> list[str]:
        changes = {"start_from": str(SHIPPED), "network": network}
        return [one for one in read(values | changes).remarks if "another meaning" in one]

    assert named() == named(sdf_um=20) == []
    (remark,) = named(sdf_um=40)
    assert "network.sdf_um is 40 here and 20 there" in remark
    assert len(named(sdf_scale="skeleton", boundary="outer")) == 2


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"training": {"choose_with_flips": False}}, 1),
        ({"training": {"choose_with_flips": False}, "prediction": {"flips": False}}, 0),
        ({"training": {"choose_with_flips": False}, "tiles": {"mpp_um": 2.0}}, 0),
    ],
)
def test_flips_of_the_start_model_alone_are_named(values, changes, count) -> None:
    """At another resolution the start model is not compared."""
    remarks = read(values | {"start_from": str(SHIPPED)} | changes).remarks
    named = [one for one in remarks if "only the start model is predicted with flips" in one]
    assert len(named) == count


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder without a disk")
def test_a_working_directory_that_snakemake_cannot_write_is_named_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir("/proc")
    problem, _ = read({}).problems
    assert problem.startswith("working directory: .snakemake, ")
    assert "not writable" in problem
    assert "--directory" in problem


def test_unlocking_needs_no_sheet() -> None:
    assert read({}, "--unlock").problems == ()


def test_a_second_config_is_refused_because_snakemake_drops_the_first(
    values: dict[str, object],
) -> None:
    assert read(values, "--config", "a=1", "--", "--config").problems == ()
    (problem,) = read(values, "--config", "a=1", "-C", "b=2").problems
    assert "--config is given twice" in problem


@pytest.mark.parametrize("scratch", ["$UNSET_VARIABLE/x", "~nobody-of-this-name/x"])
def test_a_scratch_folder_that_does_not_exist_is_named_before_the_run(
    values: dict[str, object], scratch: str
) -> None:
    with_scratch = {**values, "scratch": scratch}
    (problem,) = read(with_scratch).problems
    assert f"config scratch: {scratch} is not set" in problem
    assert read(with_scratch, jobs_run_here=False).problems == ()


@pytest.mark.parametrize("key", ["results", "scratch"])
def test_a_folder_below_a_file_cannot_be_written(values: dict[str, object], key: str) -> None:
    (problem,) = read({**values, key: "a.svs/x"}).problems
    assert f"config {key}: a.svs/x cannot be made" in problem
    assert "is a file" in problem


def test_a_model_that_the_earlier_run_was_given_is_not_forgotten(
    values: dict[str, object], tmp_path: Path
) -> None:
    assert warnings(values) == []
    (tmp_path / "results" / "maps" / "x.zarr").mkdir(parents=True)
    (remark,) = warnings(values)
    assert "`model=FOLDER`" in remark
    assert "--configfile study.yaml" in remark
    assert warnings(values, "--", "preview") == []


def test_a_start_model_of_the_earlier_run_is_not_forgotten(
    values: dict[str, object], tmp_path: Path
) -> None:
    model = tmp_path / "results" / "models" / "semimoe"
    model.mkdir(parents=True)
    shipped = Path(__file__).parents[3] / "models" / "glas"
    card = json.loads((shipped / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(card))
    assert warnings(values) == []
    card["notes"]["start_from"] = "models/first"
    (model / "model.json").write_text(json.dumps(card))
    (remark,) = warnings(values)
    assert "`start_from=models/first`" in remark
    (other,) = warnings({**values, "start_from": str(shipped)})
    assert "with `start_from=models/first`" in other
    assert f"This call has `start_from={shipped}`" in other
    card["notes"]["start_from"] = str(shipped)
    (model / "model.json").write_text(json.dumps(card))
    assert warnings({**values, "start_from": str(shipped)}) == []


def test_the_model_of_the_earlier_run_is_named(values: dict[str, object], tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "models" / "glas"
    card = json.loads((shipped / "model.json").read_text())
    maps = write_kind(tmp_path / "results" / "maps" / "x.zarr", MapStore)

    def record(checksum: str) -> None:
        weights = RecordedInput(name="model", file="model.safetensors", checksum=checksum)
        inputs = (weights,)
        JobRecord(rule="predict_slide", wildcards={}, settings={}, inputs=inputs).write(
            record_of_store(maps)
        )

    record(card["weights_sha256"])
    with_model = {**values, "model": str(shipped)}
    assert warnings(with_model) == []
    (forgotten,) = warnings(values)
    assert f"with `model={shipped}` (" in forgotten
    assert f"weights {card['weights_sha256'][:12]})" in forgotten
    assert "trains another model" in forgotten
    record("0" * 64)
    (other,) = warnings(with_model)
    assert "weights 000000000000)" in other
    assert f"This call has `model={shipped}`: it predicts and makes all results again" in other


@pytest.mark.parametrize("key", ["model", "start_from"])
def test_a_wrong_model_folder_is_one_line_with_its_place_and_remedy(
    values: dict[str, object], tmp_path: Path, key: str
) -> None:
    project = Path(__file__).parents[3]
    (problem,) = read({**values, key: "models/glas"}).problems
    assert f"config {key}: models/glas is not the folder of a trained model" in problem
    assert f"no folder {tmp_path / 'models' / 'glas'}" in problem
    assert "a relative path starts at the working directory, or at `--directory`" in problem
    assert problem.endswith(f"perhaps {project / 'models' / 'glas'}")
    (tmp_path / "empty").mkdir()
    (problem,) = read({**values, key: str(tmp_path / "empty")}).problems
    assert f"no model.safetensors and no model.json in {tmp_path / 'empty'}; give" in problem


@pytest.mark.parametrize("words", [("-n", "previews"), ("--cores", "2", "--", "Preview")])
def test_a_misspelt_preview_is_named_before_outlines_are_asked_for(
    values: dict[str, object], words: tuple[str, ...]
) -> None:
    problem = read(values, *words).problems[0]
    assert (
        problem
        == f"command line: {words[-1]} is no rule and no file to make; did you mean preview?"
    )


def test_very_many_problems_are_cut() -> None:
    lines = problems_text([f"p{number}" for number in range(1000)]).splitlines()
    assert len(lines) == 202
    assert lines[-1] == "... and 800 more"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--", "preview"), True),
        (("--", "results/preview.html"), True),
        (("-d", "out/preview", "-n"), False),
        (("--configfile", "preview.yaml"), False),
        (("--config", "results=out/preview"), False),
    ],
)
def test_only_a_target_asks_for_the_preview(
    values: dict[str, object], words: tuple[str, ...], expected: bool
) -> None:
    assert read(values, *words).asks_for_preview is expected


def test_outlines_in_the_folder_of_results_are_refused(values) -> None:
    Path("results/proposals").mkdir(parents=True)
    Path("results/proposals/x.geojson").write_text("{}")
    Path("s.tsv").write_text(
        "slide\tpath\tsplit\tannotation\nx\ta.svs\tpredict\tresults/proposals/x.geojson\n"
    )
    problems = read(values | {"slides": "s.tsv", "results": "results"}).problems
    assert any("column annotation: results/proposals/x.geojson is in" in text for text in problems)


@pytest.mark.parametrize("name", ["cohort.csv", "glands/s.tsv"])
def test_a_sheet_where_a_run_writes_is_refused(values: dict[str, object], name: str) -> None:
    sheet = Path("results", name)
    sheet.parent.mkdir(parents=True)
    sheet.write_text(Path("s.tsv").read_text().replace("a.", str(Path("a.").absolute())))
    problems = read(values | {"slides": str(sheet)}).problems
    where = {
        "cohort.csv": "is a file that this run writes",
        "glands/s.tsv": "is in results/glands, and this run writes files there",
    }
    assert f"config slides: {sheet} {where[name]}; copy it" in problems[0]


def test_results_that_no_run_wrote_are_not_replaced(values: dict[str, object]) -> None:
    Path("results").mkdir()
    Path("results/metrics.csv").write_text("of somebody")
    Path("results/notes.txt").write_text("a run writes no such file")
    (problem,) = read(values).problems
    assert problem.startswith("config results: results/metrics.csv exists, but nothing in results")
    Path("results/run.lock").touch()
    assert read(values).problems == ()
