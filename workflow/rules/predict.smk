rule predict_slide:
    input:
        tiles=PATHS.tiles("{slide}"),
        model=f"{MODEL}/model.safetensors",
        card=f"{MODEL}/model.json",
    output:
        maps=directory(PATHS.maps("{slide}")),
    log:
        PATHS.log("predict_slide", "{slide}"),
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        prediction=CONFIGURATION.prediction.to_dict(),
        code_version=5,
    script:
        "../scripts/predict_slide.py"


use rule predict_slide as predict_slide_compared with:
    input:
        tiles=PATHS.tiles("{slide}"),
        model=lambda wildcards: str(COMPARED[wildcards.method] / "model.safetensors"),
        card=lambda wildcards: str(COMPARED[wildcards.method] / "model.json"),
    output:
        maps=directory(PATHS.compared("{method}").maps("{slide}")),
    log:
        PATHS.log("predict_slide_compared", "{method}/{slide}"),
