"""One rule for each training method of the table, and the rule that labels unlabelled tiles."""

# The method whose model chooses the unlabelled tiles and makes their pseudo-labels.
LABELLER = METHODS[MAIN_METHOD.starts_from]


for method in METHODS.values():

    rule:
        name:
            training_rule_name(method)
        input:
            check_record(training_rule_name(method)),
            **training_inputs(method),
        output:
            **training_outputs(method),
        log:
            PATHS.log(training_rule_name(method), method.name),
        priority: BEFORE_TILING
        conda:
            "../../environment.yml"
        threads: 8
        resources:
            gpu=1,
            mem_mb=8000 if method.uses_unlabelled else 6000,
            runtime=training_limit_min(method.name),
        params:
            method=method.name,
            settings=method_settings(CONFIGURATION, method.name).to_dict(),
            made_from=made_from,
            # Fine-tuning has a number of its own since it averages weights with those of the start.
            code_version=8 if CONFIGURATION.start_from else 7,
        script:
            "../scripts/train.py"


rule pseudo_label:
    input:
        check_record("pseudo_label"),
        tiles=record_of_store(PATHS.tiles("{slide}")),
        model=PATHS.weights(LABELLER.name),
        card=PATHS.card(LABELLER.name),
    output:
        record=record_of_store(PATHS.pseudo_labels("{slide}")),
    log:
        PATHS.log("pseudo_label", "{slide}"),
    priority: BEFORE_TILING
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        # The model is an input: only settings that it does not contain are listed.
        settings=dict(
            tile_px=CONFIGURATION.tiles.tile_px,
            tiles_per_slide=CONFIGURATION.training.tiles_per_slide,
            min_confidence=CONFIGURATION.training.min_confidence,
            seed=CONFIGURATION.seed,
        ),
        made_from=made_from,
        code_version=3,
    script:
        "../scripts/pseudo_label.py"
