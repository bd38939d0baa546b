rule predict_slide:
    input:
        tiles=f"{RESULTS}/tiles/{{slide}}.zarr",
        model=f"{MODEL}/model.safetensors",
        card=f"{MODEL}/model.json",
    output:
        maps=directory(f"{RESULTS}/maps/{{slide}}.zarr"),
    log:
        f"{RESULTS}/logs/predict_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        prediction=config["prediction"],
        code_version=4,
    script:
        "../scripts/predict_slide.py"


use rule predict_slide as predict_slide_compared with:
    input:
        tiles=f"{RESULTS}/tiles/{{slide}}.zarr",
        model=f"{RESULTS}/models/{{method}}/model.safetensors",
        card=f"{RESULTS}/models/{{method}}/model.json",
    output:
        maps=directory(f"{RESULTS}/compare/{{method}}/maps/{{slide}}.zarr"),
    log:
        f"{RESULTS}/logs/predict_slide_compared/{{method}}/{{slide}}.log",
