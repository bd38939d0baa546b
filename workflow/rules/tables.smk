rule summarise:
    input:
        metrics=expand(f"{RESULTS}/metrics/{{slide}}.csv", slide=SHEET.evaluated()),
        compared=expand(
            f"{RESULTS}/compare/{{method}}/metrics/{{slide}}.csv",
            method=COMPARED,
            slide=SHEET.annotated("validation", "test"),
        ),
        glands=expand(f"{RESULTS}/glands/{{slide}}.csv", slide=SHEET.ids()),
        cards=expand(f"{RESULTS}/previews/{{slide}}.json", slide=SHEET.ids()),
        last_failure=last_failure,
    output:
        metrics=f"{RESULTS}/metrics.csv",
        cohort=f"{RESULTS}/cohort.csv",
    log:
        f"{RESULTS}/logs/summarise/all.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        passed_through=SHEET.passed_through(),
        code_version=2,
    script:
        "../scripts/summarise.py"


rule report:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        cohort=f"{RESULTS}/cohort.csv",
        card=f"{MODEL}/model.json",
        overviews=expand(f"{RESULTS}/overviews/{{slide}}.png", slide=SHEET.ids()),
        geojson=expand(f"{RESULTS}/glands/{{slide}}.{GEOJSON}", slide=SHEET.ids()),
        proposals=expand(f"{RESULTS}/proposals/{{slide}}.geojson", slide=SHEET.ids()),
        last_failure=last_failure,
    output:
        html=f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report/all.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        slides=SHEET.ids(),
        config=config,
        code_version=1,
    script:
        "../scripts/report.py"
