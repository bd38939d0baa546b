rule predict_slide:
    input:
        check_record("predict_slide"),
        **MODEL_FILES,
        tiles=record_of_store(PATHS.tiles("{slide}")),
    output:
        record=record_of_store(PATHS.maps("{slide}")),
    log:
        PATHS.log("predict_slide", "{slide}"),
    priority: BEFORE_TILING
    conda:
        "../../environment.yml"
    threads: THREADS_OF_PREDICTION
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        prediction=CONFIGURATION.prediction.to_dict(),
        made_from=made_from,
        code_version=6,
    script:
        "../scripts/predict_slide.py"


use rule predict_slide as predict_slide_compared with:
    input:
        check_record("predict_slide_compared"),
        tiles=record_of_store(PATHS.tiles("{slide}")),
        model=lambda wildcards: compared_file(wildcards.method, WEIGHTS),
        card=lambda wildcards: compared_file(wildcards.method, CARD),
    output:
        record=record_of_store(PATHS.compared("{method}").maps("{slide}")),
    log:
        PATHS.log("predict_slide_compared", "{method}/{slide}"),
