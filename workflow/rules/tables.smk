rule summarise:
    input:
        metrics=expand(PATHS.metrics("{slide}"), slide=SHEET.evaluated()),
        compared=expand(
            PATHS.compared("{method}").metrics("{slide}"),
            method=list(COMPARED),
            slide=SHEET.annotated("validation", "test"),
        ),
        glands=expand(PATHS.gland_table("{slide}"), slide=SHEET.ids()),
        summaries=expand(PATHS.slide_summary("{slide}"), slide=SHEET.ids()),
        last_failure=last_failure,
    output:
        metrics=PATHS.metrics_table,
        cohort=PATHS.cohort_table,
    log:
        PATHS.log("summarise"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        repeated=SHEET.repeated_columns(),
        main_method=METHOD,
        code_version=3,
    script:
        "../scripts/summarise.py"


rule report:
    input:
        metrics=PATHS.metrics_table,
        cohort=PATHS.cohort_table,
        card=f"{MODEL}/model.json",
        overviews=expand(PATHS.overview("{slide}"), slide=SHEET.ids()),
        geojson=expand(OUTLINES, slide=SHEET.ids()),
        proposals=expand(PATHS.proposals("{slide}"), slide=SHEET.ids()),
        last_failure=last_failure,
    output:
        html=PATHS.report,
    log:
        PATHS.log("report"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        slides=SHEET.ids(),
        config=CONFIGURATION.to_dict(),
        code_version=1,
    script:
        "../scripts/report.py"
