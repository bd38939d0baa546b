"""Scores of held-out images by what surrounds them in prediction: tile size, edges, flips.

python benchmarks/prediction_context.py FOLD1 FOLD2 ... --data GLAS --out OUT

Each model predicts the images that its card names as held out. In tiles of an image alone (rows
`image`), the outermost tiles end at the edges of the image. In rows `glass` and `mirror` the image
is surrounded by glass or by its mirror image, and tiles are those of slides: their grid begins
anywhere. All rows have the same threshold and split parameters; with --choose, a second table has
the best ones of each row. Maps are cached in --out.
"""

import io
import itertools
import time
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from held_out_images import (
    SCORE_HEADER,
    Maps,
    best_choice,
    first_choice,
    fold_arguments,
    images_of_folds,
    scores,
    with_maps,
)
from numpy.typing import NDArray

from semimoe.model_card import ModelCard, load_card
from semimoe.prediction.predictor import Predictor
from semimoe.settings import STRIDE_PX
from semimoe.split_choice import SplitChoice
from semimoe.training.split_scores import ValidationImage
from tiling.raster.atomic_files import write_atomic
from tiling.raster.blending import predict_image, tile_weights
from tiling.raster.quantise import quantised_threshold

_GLASS, _GLASS_NOISE = np.array([242, 241, 243]), 1.5  # mean colour, and standard deviation
_OVERLAP_PX = 64  # of neighbouring tiles of a slide, by default


def tiles_of_image(
    predictor: Predictor, image: NDArray[np.uint8], *, tile_px: int
) -> NDArray[np.float32]:
    """As `python -m semimoe predict`."""
    return predict_image(predictor, image, tile_px=tile_px, overlap_px=tile_px // 4, batch=8)


def whole_image(predictor: Predictor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """In one tile, mirrored at two of its edges up to a size that the network takes."""
    height, width = image.shape[1:]
    missing = [(0, -side % STRIDE_PX) for side in (height, width)]
    padded = np.pad(image, [(0, 0), *missing], mode="symmetric")
    return predictor(padded[None])[0, :, :height, :width]


def tiles_of_slide(
    predictor: Predictor,
    image: NDArray[np.uint8],
    *,
    tile_px: int,
    glass: bool,
    overlap_px: int = _OVERLAP_PX,
) -> NDArray[np.float32]:
    """In a grid of tiles that begins anywhere, surrounded by glass or by its mirror image."""
    height, width = image.shape[1:]
    around = [(0, 0), (tile_px, tile_px), (tile_px, tile_px)]
    generator = np.random.default_rng(int(image.sum(dtype=np.int64)))
    padded = np.pad(image, around, mode="symmetric")
    if glass:
        inside = np.pad(np.ones((1, height, width), bool), around)
        noise = generator.normal(0, _GLASS_NOISE, (1, *padded.shape[1:]))
        padded = np.where(inside, padded, (_GLASS[:, None, None] + noise).astype(np.uint8))
    stride = tile_px - overlap_px
    first = generator.integers(1, stride + 1, 2)
    rows, columns = (
        np.arange(start, tile_px + side, stride)
        for start, side in zip(first, (height, width), strict=True)
    )
    weights = tile_weights(tile_px)
    sums, total = np.zeros((4, *padded.shape[1:]), np.float32), np.zeros(padded.shape[1:])
    for y, x in itertools.product(rows, columns):
        tile = padded[:, y : y + tile_px, x : x + tile_px]
        sums[:, y : y + tile_px, x : x + tile_px] += predictor(tile[None])[0] * weights
        total[y : y + tile_px, x : x + tile_px] += weights
    place = np.s_[tile_px : tile_px + height, tile_px : tile_px + width]
    return sums[:, *place] / total[place].astype(np.float32)


ROWS: dict[str, Maps] = {
    **{f"image {side}": partial(tiles_of_image, tile_px=side) for side in (256, 384, 512)},
    "image whole": whole_image,
    **{
        f"{around} {side}": partial(tiles_of_slide, tile_px=side, glass=around == "glass")
        for around in ("glass", "mirror")
        for side in (256, 384, 512)
    },
    "glass 256 overlap 128": partial(tiles_of_slide, tile_px=256, glass=True, overlap_px=128),
}


def main() -> None:
    parser = fold_arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--boundary-levels", type=float, nargs="*", default=[], help="also these, on the first row"
    )
    parser.add_argument("--choose", action="store_true", help="also choose for each row")
    parser.add_argument("--flips", type=int, nargs="+", choices=(0, 1), default=[0])
    arguments = parser.parse_args()
    card = load_card(arguments.folds[0])
    images = images_of_folds(arguments)
    predicted: dict[str, list[ValidationImage]] = {}
    for flips in arguments.flips:
        load = partial(
            Predictor.load,
            device="cpu",
            threads=arguments.threads,
            flips=bool(flips),
            runtime=arguments.runtime,
        )
        predictors = {fold: load(fold) for fold in arguments.folds}
        for name in arguments.rows:
            row = f"{name}{' flips' if flips else ''}"
            maps = cached(ROWS[name], arguments.out / row.replace(" ", "-"))
            start_s = time.process_time()
            predicted[row] = with_maps(images, maps, predictors)
            print(f"{row}: {time.process_time() - start_s:.0f} s of processor time", flush=True)
    threshold, split = first_choice(predicted[next(iter(predicted))], card, arguments.split_of)
    print(f"\nthreshold {threshold:g}, {split}\n{'':28s}{SCORE_HEADER}", flush=True)
    for row, one in predicted.items():
        print(f"{row:28s}{scores(one, card, threshold, split)}", flush=True)
    if arguments.boundary_levels:
        name, one = next(iter(predicted.items()))
        print(f"\n{name}, boundary levels of the seeds\n{'':28s}{SCORE_HEADER}", flush=True)
        for level in arguments.boundary_levels:
            changed = split.model_copy(update={"boundary_level": level})
            result = scores(one, card, threshold, changed, distances=False)
            removed = removed_seed_share(one, card, threshold, changed)
            print(f"{level:<28g}{result} removes {removed:.4f} of the seeds' pixels", flush=True)
    if not arguments.choose:
        return
    print(f"\nchosen for each row\n{'':28s}{SCORE_HEADER}", flush=True)
    for row, one in predicted.items():
        best = best_choice(one, card)
        result = scores(one, card, best.threshold, best.split)
        print(f"{row:28s}{result} threshold {best.threshold:g}, {best.split}", flush=True)


def removed_seed_share(
    images: list[ValidationImage], card: ModelCard, threshold: float, split: SplitChoice
) -> float:
    """Share of the pixels that are deep enough for a seed, and that the boundary removes."""
    depth = round((split.seed_depth_um / card.sdf_um + 1) * 127.5)
    deep = [
        (one.maps[0] >= quantised_threshold(threshold)) & (one.maps[1] > depth) for one in images
    ]
    removed = [
        (one.maps[2] >= 255 * split.boundary_level) & seeds
        for one, seeds in zip(images, deep, strict=True)
    ]
    return sum(map(np.count_nonzero, removed)) / sum(map(np.count_nonzero, deep))


def cached(maps: Maps, folder: Path) -> Maps:
    """The same maps, kept in a folder by the checksum of weights, runtime, flips and image."""
    folder.mkdir(parents=True, exist_ok=True)

    def read_or_predict(predictor: Predictor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        made_by = (predictor.card.weights_sha256, predictor.runtime, predictor.flips)
        key = sha256(repr(made_by).encode() + image.tobytes()).hexdigest()
        path = folder / f"{key[:16]}.npy"
        if not path.exists():
            buffer = io.BytesIO()
            np.save(buffer, maps(predictor, image).astype(np.float16))
            write_atomic(path, buffer.getvalue())
        values: NDArray[np.float32] = np.load(path).astype(np.float32)
        return values

    return read_or_predict


if __name__ == "__main__":
    main()
