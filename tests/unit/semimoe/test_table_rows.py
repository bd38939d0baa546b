"""Rows, recipes and scores of the table of methods, without training."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import semimoe
from semimoe.benchmark.cell_cost import CellCost, software_text
from semimoe.benchmark.error_pictures import FALSE, FOUND, MISSED, _composed, error_colours
from semimoe.benchmark.published_scores import published_score
from semimoe.benchmark.table_cells import TableCell, TableRequest, different_rows
from semimoe.benchmark.table_differences import differences_csv, table_differences
from semimoe.benchmark.table_plot import _widen
from semimoe.benchmark.table_recipes import TABLE_RECIPES
from semimoe.benchmark.table_rows import METHOD_ROWS, TABLE_ROWS, VARIANT_ROWS, chosen_rows
from semimoe.benchmark.table_scores import ScoredCell, compared_rows, table_groups
from semimoe.benchmark.table_text import table_csv, table_markdown
from semimoe.evaluation.results import GlandEvaluation, PublishedEvaluation
from semimoe.methods import METHODS
from semimoe.model_errors import SettingsError

COST = CellCost(
    parameters=1_000_000, trained_parameters=2_000_000, tile_px=256, multiply_adds=3 * 10**9,
    training_s=600, peak_memory_mb=1024, hardware="a processor",
)  # fmt: skip


def cell(row: str, *, recipe: str = "cpu", labelled: float = 0.2, seed: int = 0) -> TableCell:
    request = TableRequest(Path("glas"), Path("out"), "honest", recipe, ("testA",))
    return TableCell(request, TABLE_ROWS[row], labelled, seed)


def markdown(cells: list[ScoredCell]) -> str:
    return table_markdown(cells, table_differences(cells), "glas")


def scored(row: str, seed: int, object_dice: float) -> ScoredCell:
    """A cell with one object Dice; its ten images have it too."""
    scores = {
        "dice": 0.9, "jaccard": 0.8, "object_f1": 0.7, "object_dice": object_dice,
        "object_hausdorff_px": 50.0, "object_hausdorff_um": 31.0, "tp": 1, "fp": 1, "fn": 1,
        "hausdorff_missing": 0,
    }  # fmt: skip
    square = {"dice": 0.9, "jaccard": 0.8}
    result = GlandEvaluation.model_validate(
        {
            "protocol": "honest", "mpp_um": 0.62, "min_object_um2": 0.0, "pooled": scores,
            "mean": scores,
            "images": {str(n): scores | {"object_dice": object_dice + n / 1e4} for n in range(10)},
            "at_256": {"pooled": square, "mean": square},
        }
    )  # fmt: skip
    return ScoredCell(cell(row, seed=seed), "testA", result, COST)


@pytest.mark.parametrize("recipe", TABLE_RECIPES)
def test_every_row_of_every_recipe_has_valid_settings_and_differs_in_what_it_names(recipe) -> None:
    plain_network, plain_training = cell("semimoe", recipe=recipe).settings()
    plain = {"network": plain_network.to_dict(), "training": plain_training.to_dict()}
    for name, row in TABLE_ROWS.items():
        network, training = cell(name, recipe=recipe).settings()
        values = {"network": network.to_dict(), "training": training.to_dict()}
        different = {
            f"{group}.{key}"
            for group in plain
            for key in plain[group]
            if values[group][key] != plain[group][key]
        }
        weight = METHODS[row.method].published_weight
        named = (*(weight.assignments if weight else ()), *row.settings)
        assert different <= {text.partition("=")[0] for text in named}, name
    kept = different_rows(cell("semimoe", recipe=recipe).request, list(TABLE_ROWS.values()))
    assert set(METHOD_ROWS) <= {row.name for row in kept}
    # Of two opposite switches one is the recipe itself.
    names = {row.name for row in kept}
    assert len(names & {"joint", "two-step"}) == 1
    assert len(names & {"separate", "shared"}) == 1


def test_methods_have_their_published_weight_in_every_recipe_unless_it_is_set() -> None:
    for recipe in TABLE_RECIPES:
        training = cell("cross-consistency", recipe=recipe).settings()[1]
        assert (training.unsup_max, training.unsup_schedule) == (30, "ramp")
    changed = replace(cell("cps").request, settings=("training.unsup_max=2",))
    assert TableCell(changed, TABLE_ROWS["cps"], 0.2, 0).settings()[1].unsup_max == 2
    assert cell("semimoe", recipe="paper").settings()[1].unsup_max == 5
    for method in METHODS.values():
        if method.published_weight:
            assert method.uses_unlabelled
    text = markdown([scored("cps", 0, 0.7), scored("mean-teacher", 0, 0.7)])
    assert "is from: CPS 1.5 ramp (its paper); Mean Teacher 5 linear (the public code" in text
    result = scored("cps", 0, 0.7)
    result = result._replace(cell=TableCell(changed, TABLE_ROWS["cps"], 0.2, 0))
    assert "is from: CPS 2 ramp (--set)" in markdown([result])
    # Two optimiser steps (Algorithm 1) are those of Semi-MoE.
    updates = [cell(name, recipe="paper").settings()[1].update for name in ("cps", "semimoe")]
    assert updates == ["joint", "two-step"]


def test_a_table_names_each_code_that_made_its_cells(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(semimoe, "__path__", [str(tmp_path)])
    texts = []
    for content in ("a = 1\n", "a = 2\n", "a = 1\n"):
        (tmp_path / "module.py").write_text(content)
        texts.append(software_text.__wrapped__())
    assert texts[0] == texts[2] != texts[1]
    cells = [scored("unet", seed, 0.7) for seed in range(2)]
    cells = [
        one._replace(cost=one.cost.model_copy(update={"software": text}))
        for one, text in zip(cells, texts, strict=False)
    ]
    assert f"- software: {texts[0]}; {texts[1]}" in markdown(cells)


def test_rows_are_chosen_by_name_group_and_all() -> None:
    assert [row.name for row in chosen_rows(["all"], [])] == list(METHODS)
    assert len(chosen_rows([], ["all"])) == len(VARIANT_ROWS) + 1  # and the teacher of `stored`
    with pytest.raises(SettingsError, match=r"--variants expert: .* did you mean experts\?"):
        chosen_rows([], ["expert"])
    with pytest.raises(SettingsError, match="no row"):
        chosen_rows([], [])


def test_published_figures_are_those_of_the_paper() -> None:
    assert published_score("semimoe", "glas", 0.2).text == "90.40 / 82.48"
    assert published_score("semimoe", "crag", 0.1).text == "89.27 / 80.61"
    assert published_score("mean-teacher", "crag", 0.2).text == "89.77 / 81.43"
    assert published_score("seg+bnd", "glas", 0.1).text == "88.81"
    for row, dataset, share in (("supervised", "glas", 0.2), ("cps", "folder", 0.2),
                                ("cps", "glas", 0.3)):  # fmt: skip
        assert published_score(row, dataset, share) is None
    # J = D / (200 - D) holds for rows of pooled pixels.
    for row in ("semimoe", "cps", "mean-teacher", "cross-consistency"):
        score = published_score(row, "glas", 0.2)
        assert score.jaccard == pytest.approx(100 * score.dice / (200 - score.dice), abs=0.03)


def test_a_difference_beyond_noise_is_told_and_a_small_one_is_noise() -> None:
    """Eight draws: Mean Teacher is .10 better, U-Net differs by chance."""
    cells = []
    for seed in range(8):
        wave = 0.01 * (-1) ** seed
        cells += [
            scored("supervised", seed, 0.7),
            scored("mean-teacher", seed, 0.8 + wave / 2),
            scored("unet", seed, 0.7 + wave),
        ]
    (group,) = table_groups(cells)
    column = next(one for one in group.columns if one.key == "object_dice")
    better, noise = compared_rows(group, "supervised", column)
    assert (better.row, better.verdict, better.draws.pairs) == ("mean-teacher", "better", 8)
    assert better.draws.mean == pytest.approx(0.1)
    assert better.images is not None
    assert better.images.pairs == 10
    assert (noise.row, noise.verdict) == ("unet", "within noise")
    text = markdown(cells)
    of_baseline, of_unet = text.split("### Difference to ")[1:3]
    assert "supervised-only, 20 %, testA" in of_baseline
    same = "+0.000 (0 of 8)"
    assert f"| Mean Teacher | {same} | {same} | +0.100 (8 of 8), **better** |" in of_baseline
    assert f"| U-Net | {same} | {same} | +0.000 (4 of 8) |" in of_baseline
    assert f"| supervised-only | {same} |" in of_unet
    table = csv.DictReader(differences_csv(table_differences(cells)).splitlines())
    lines = [line for line in table if line["score"] == "object_dice"]
    assert [(line["row"], line["against"]) for line in lines] == [
        ("mean-teacher", "supervised"), ("unet", "supervised"),
        ("supervised", "unet"), ("mean-teacher", "unet"),
    ]  # fmt: skip
    first = lines[0]
    assert float(first["mean_difference"]) == pytest.approx(0.1)
    assert (first["draws"], first["better_draws"], first["images"]) == ("8", "8", "10")
    assert float(first["p_t_holm"]) == pytest.approx(2 * float(first["p_t"]))
    assert (first["verdict"], lines[1]["verdict"]) == ("better", "within noise")
    assert "| 1.00 | 2.00 | 3.00 | 10.0 ± 0.0 | 1.00 | 89.46 / 80.94 |" in text
    lines = table_csv(cells, "glas").splitlines()
    assert len(lines) == 1 + len(cells)
    assert lines[0].startswith("row,method,variant,protocol,recipe,part,labelled_share")


def test_a_score_that_is_missing_in_a_draw_is_compared_in_the_others() -> None:
    cells = [scored(row, seed, 0.7) for row in ("unet", "cps", "semimoe") for seed in (0, 1)]
    for number, distance in ((2, 40.0), (3, None), (4, None), (5, None)):
        result = cells[number].result
        pooled = result.pooled.model_copy(update={"object_hausdorff_px": distance})
        images = {
            name: scores.model_copy(update={"object_hausdorff_px": distance})
            for name, scores in result.images.items()
        }
        changed = result.model_copy(update={"pooled": pooled, "images": images})
        cells[number] = cells[number]._replace(result=changed)
    differences = table_differences(cells)
    table = csv.DictReader(differences_csv(differences).splitlines())
    of_unet = [line for line in table if line["against"] == "unet"]
    (line,) = [line for line in of_unet if line["score"] == "object_hausdorff_px"]
    assert (line["row"], line["draws"], line["mean_difference"]) == ("cps", "1", "-10")
    assert (line["better_draws"], line["verdict"]) == ("1", "too few draws")
    assert line["p_t"] == line["p_t_holm"] == ""
    lines = markdown(cells).splitlines()
    same = "+0.000 (0 of 2)"
    assert f"| CPS | {same} | {same} | {same} | -10.0 (1 of 1) |" in lines
    assert f"| Semi-MoE | {same} | {same} | {same} | - |" in lines


def test_without_scores_of_images_the_draws_are_compared() -> None:
    cells = []
    for row, dice in (("supervised", 0.7), ("unet", 0.8)):
        for seed in range(8):
            pooled = {"dice": dice + seed * (dice - 0.7) / 100, "jaccard": 0.6}
            result = PublishedEvaluation.model_validate(
                {
                    "protocol": "as-published", "threshold": {"value": 0.5, "chosen_on": "test"},
                    "size": "256", "pooled": pooled, "warnings": [], "dice_by_threshold": {},
                    "mpp_um": 0.62,
                }
            )  # fmt: skip
            cells.append(ScoredCell(cell(row, seed=seed), "testA", result, COST))
    table = csv.DictReader(differences_csv(table_differences(cells)).splitlines())
    dice, jaccard, *_ = table
    assert (dice["row"], dice["against"], dice["score"]) == ("unet", "supervised", "dice")
    of_images = ("images", "images_low_95", "images_high_95", "p_images_holm")
    assert [dice[column] for column in of_images] == [""] * 4
    assert (dice["verdict"], jaccard["verdict"]) == ("better", "no difference")


def test_pixels_have_the_colours_of_their_errors() -> None:
    """Two squares of 6 px that overlap by half; the lines around them are 1 px wide."""
    truth, predicted = np.zeros((10, 20), np.int32), np.zeros((10, 20), np.int32)
    truth[2:8, 2:10] = 1
    predicted[2:8, 6:14] = 1
    image = np.full((3, 10, 20), 100, np.uint8)
    pixels = error_colours(image, truth, predicted)

    def blended(colour):
        return tuple(round(0.4 * 100 + 0.6 * value) for value in colour)

    assert tuple(pixels[0, 0]) == (100, 100, 100)
    assert tuple(pixels[4, 4]) == blended(MISSED)
    assert tuple(pixels[4, 7]) == blended(FOUND)
    assert tuple(pixels[4, 12]) == blended(FALSE)
    assert tuple(pixels[4, 2]) == (0, 0, 0)
    assert tuple(pixels[4, 13]) == (255, 255, 255)


@pytest.mark.parametrize(("rows", "images"), [(2, 1), (15, 3), (29, 1), (29, 3)])
def test_a_picture_of_many_rows_is_not_much_higher_than_wide(rows, images) -> None:
    panels = {
        f"row {row}": [np.full((300, 400, 3), row + 1, np.uint8) for _ in range(images)]
        for row in range(rows)
    }
    picture = np.asarray(_composed(panels, [f"image {number}" for number in range(images)]))
    assert picture.shape[0] < 1.6 * picture.shape[1] + 400
    pixels_of_grey = np.bincount(picture[..., 0].ravel(), minlength=256)
    # Text has the same grey values at its edges, but not so many pixels of them.
    assert (pixels_of_grey[1 : rows + 1] >= images * 300 * 400).all()


@pytest.mark.parametrize(
    ("values", "shown"), [((0.656, 0.658), (0.647, 0.667)), ((0.5, 0.7), (0.49, 0.71))]
)
def test_differences_of_chance_do_not_fill_the_plot(values, shown) -> None:
    axes = Figure().subplots()
    axes.plot(values, [0, 1])
    _widen(axes)
    assert axes.get_xlim() == pytest.approx(shown)


def test_the_legend_of_errors_is_complete_below_flat_images() -> None:
    picture = np.asarray(_composed({"row": [np.full((20, 400, 3), 200, np.uint8)]}, ["image"]))
    samples = picture[42:, 10]
    for colour in (FOUND, FALSE, MISSED, (0, 0, 0)):
        assert ((samples == colour).all(axis=-1).sum()) >= 10
    assert ((picture[42:, 2] == 128).all(axis=-1).sum()) >= 10  # the frame of the white sample
