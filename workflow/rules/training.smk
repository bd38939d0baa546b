rule train_supervised:
    input:
        **LEARNT,
    output:
        model=f"{RESULTS}/models/supervised/model.safetensors",
        warm_start=f"{RESULTS}/models/supervised/warm_start.safetensors",
        history=f"{RESULTS}/models/supervised/history.csv",
        card=f"{RESULTS}/models/supervised/model.json",
    log:
        f"{RESULTS}/logs/train_supervised/supervised.log",
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=6000,
    params:
        config=learning(config, "supervised"),
        code_version=2,
    script:
        "../scripts/train_supervised.py"


use rule train_supervised as train_unet with:
    output:
        model=f"{RESULTS}/models/unet/model.safetensors",
        history=f"{RESULTS}/models/unet/history.csv",
        card=f"{RESULTS}/models/unet/model.json",
    log:
        f"{RESULTS}/logs/train_unet/unet.log",
    params:
        config=learning(config, "unet"),
        code_version=2,


rule pseudo_label:
    input:
        tiles=f"{RESULTS}/tiles/{{slide}}.zarr",
        model=f"{RESULTS}/models/supervised/model.safetensors",
        card=f"{RESULTS}/models/supervised/model.json",
    output:
        pseudo=directory(f"{RESULTS}/pseudo_labels/{{slide}}.zarr"),
    log:
        f"{RESULTS}/logs/pseudo_label/{{slide}}.log",
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        # Of the rest it takes what the model has learnt from it.
        config={
            "tiles": {"tile_px": config["tiles"]["tile_px"]},
            "training": {
                key: config["training"][key]
                for key in ("tiles_per_slide", "min_confidence")
            },
            "seed": config["seed"],
        },
        code_version=1,
    script:
        "../scripts/pseudo_label.py"


rule train:
    input:
        **LEARNT,
        unlabelled_tiles=stores("tiles", SHEET.ids("unlabelled")),
        # Outlines of unlabelled slides are only compared with the pseudo-labels: to correct them does not retrain (a first one does).
        unlabelled_labels=ancient(stores("labels", SHEET.annotated("unlabelled"))),
        pseudo=stores("pseudo_labels", SHEET.ids("unlabelled")),
        supervised=f"{RESULTS}/models/supervised/warm_start.safetensors",
    output:
        model=f"{RESULTS}/models/semimoe/model.safetensors",
        history=f"{RESULTS}/models/semimoe/history.csv",
        card=f"{RESULTS}/models/semimoe/model.json",
    log:
        f"{RESULTS}/logs/train/semimoe.log",
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=8000,
    params:
        config=learning(config, "semimoe"),
        code_version=2,
    script:
        "../scripts/train.py"
