rule resolve_compare:
    output:
        "results/tables/config.json",
    log:
        "results/logs/compare/resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=resolved(STUDY.compare_job()),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


rule compare:
    input:
        expand(
            "{evaluation}/{file}", evaluation=EVALUATIONS, file=["results.json", "samples.jsonl"]
        ),
        expand("{run}/{file}", run=RUNS, file=["metrics.jsonl", "provenance.json"]),
        [f"{evaluation}/judgments.jsonl" for evaluation in EVALUATIONS if STUDY.judge],
        config=rules.resolve_compare.output,
    output:
        report(
            "results/tables/comparison.md",
            category="Tables",
            labels={"table": "comparison", "format": "Markdown"},
            caption="../report/comparison.rst",
        ),
        report(
            "results/tables/comparison.csv",
            category="Tables",
            labels={"table": "comparison", "format": "csv"},
            caption="../report/comparison.rst",
        ),
        report(
            "results/tables/comparison.tex",
            category="Tables",
            labels={"table": "comparison", "format": "LaTeX"},
            caption="../report/comparison.rst",
        ),
        report(
            "results/tables/subsets.csv",
            category="Tables",
            labels={"table": "parts of tasks", "format": "csv"},
            caption="../report/subsets.rst",
        ),
        report(
            "results/tables/behaviors.csv",
            category="Tables",
            labels={"table": "behaviors", "format": "csv"},
            caption="../report/behaviors.rst",
        ),
        report(
            "results/tables/flips.csv",
            category="Tables",
            labels={"table": "answer changes", "format": "csv"},
            caption="../report/flips.rst",
        ),
        report(
            "results/tables/training.csv",
            category="Tables",
            labels={"table": "training", "format": "csv"},
            caption="../report/training.rst",
        ),
        report(
            "results/tables/cost.csv",
            category="Tables",
            labels={"table": "cost", "format": "csv"},
            caption="../report/cost.rst",
        ),
        [
            report(
                f"results/plots/{name}.svg",
                category="Plots",
                labels={"plot": figure.label},
                caption=caption(name),
            )
            for name, figure in GALLERY.items()
        ],
    log:
        "results/logs/compare/compare.log",
    benchmark:
        "results/benchmarks/compare.tsv"
    conda:
        "../../environment.yml"
    threads: STUDY.resources.compare.threads
    resources:
        **resources(STUDY.resources.compare),
    params:
        confidence=f"{STUDY.comparison.confidence:.0%}",
        baselines=STUDY.comparison.baselines,
        seeds=STUDY.seeds,
    shell:
        "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
        "thinktuning compare --config {input.config} --results results"
        " --tables results/tables --plots results/plots > {log} 2>&1"


rule report:
    input:
        rules.compare.output,
        expand("{evaluation}/results.json", evaluation=EVALUATIONS),
        expand(
            "{run}/{file}", run=RUNS, file=["metrics.jsonl", "rollouts.jsonl", "provenance.json"]
        ),
        config=rules.resolve_compare.output,
    output:
        "results/report/index.html",
    log:
        "results/logs/compare/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../environment.yml"
    threads: STUDY.resources.compare.threads
    resources:
        **resources(STUDY.resources.compare),
    shell:
        "thinktuning report --config {input.config} --results results --output {output} > {log} 2>&1"
