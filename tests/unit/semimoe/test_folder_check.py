"""`data-check` on folders with faults."""

import json

import numpy as np
from PIL import Image

from semimoe.__main__ import main
from semimoe.datasets.folder_check import check_folder


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def glands(*, single: bool = False):
    labels = np.zeros((90, 120), np.uint8)
    labels[5:45, 5:45], labels[50:85, 60:110], labels[2:6, 100:104] = 1, 2, 3
    labels[80:85, 2:7] = 1  # a second piece of gland 1
    return (labels > 0).astype(np.uint8) if single else labels


def pair(folder, name, mask) -> None:
    save(folder / f"{name}.png", np.full((90, 120, 3), 200, np.uint8))
    if mask is not None:
        save(folder / f"{name}_anno.png", mask)


def test_counts_label_values_and_tiny_components(tmp_path) -> None:
    pair(tmp_path, "train_1", glands())
    pair(tmp_path, "train_2", glands(single=True))
    pair(tmp_path, "train_3", None)
    check = check_folder(tmp_path)
    part = check.parts["train"]
    assert (part.images, part.masks, part.sizes_px) == (3, 2, {"120x90": 3})
    assert part.glands == 3 + 4  # the pieces of a gland are apart where all share one number
    assert part.single_label == ["train_2"]
    assert part.without_mask == ["train_3"]
    assert part.scattered_glands == {"train_1": 1}
    assert part.tiny_components == 4
    assert check.problems == []
    assert check.variant.startswith("named like GlaS, but not its counts or sizes")


def test_files_that_cannot_be_used_are_named_and_make_status_2(tmp_path, capsys) -> None:
    pair(tmp_path, "a", glands()[:-1])
    pair(tmp_path, "b", glands())
    (tmp_path / "b_anno.png").write_bytes(b"no image")
    pair(
        tmp_path,
        "c",
        np.asarray(
            Image.fromarray(glands(single=True) * 255).resize((120, 91), Image.Resampling.BICUBIC)
        ),
    )
    assert main(["data-check", str(tmp_path), "--json"]) == 2
    printed = capsys.readouterr()
    problems = json.loads(printed.out)["problems"]
    assert [
        next(name for name in "abc" if f"{name}_anno.png" in problem) for problem in problems
    ] == ["a", "b", "c"]
    assert printed.err.count("\n") == 1
    assert "3 files cannot be used" in printed.err


def test_a_good_folder_is_status_0(tmp_path, capsys) -> None:
    pair(tmp_path, "biopsy", glands())
    assert main(["data-check", str(tmp_path)]) == 0
    assert "own images (one folder, PNG, train 1, one number per gland)" in capsys.readouterr().out
