rule resolve_compare:
    input:
        unless_foreign(
            at("tables/config.json"), configuration_of_comparison, at("tables/comparison.csv")
        ),
    output:
        at("tables/config.json"),
    log:
        at("logs/compare/resolve.log"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=configuration_of_comparison,
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


rule compare:
    input:
        lambda wildcards: of_evaluations(wildcards, "results.json", "samples.jsonl"),
        lambda wildcards: of_runs(wildcards, "metrics.jsonl", "provenance.json"),
        lambda wildcards: of_evaluations(wildcards, *(["judgments.jsonl"] if STUDY.judge else [])),
        config=rules.resolve_compare.output,
    output:
        report(
            at("tables/comparison.md"),
            category="Tables",
            labels={"table": "comparison", "format": "Markdown"} | OF_POINT,
            caption="../report/comparison.rst",
        ),
        report(
            at("tables/comparison.csv"),
            category="Tables",
            labels={"table": "comparison", "format": "csv"} | OF_POINT,
            caption="../report/comparison.rst",
        ),
        report(
            at("tables/comparison.tex"),
            category="Tables",
            labels={"table": "comparison", "format": "LaTeX"} | OF_POINT,
            caption="../report/comparison.rst",
        ),
        report(
            at("tables/subsets.csv"),
            category="Tables",
            labels={"table": "parts of tasks", "format": "csv"} | OF_POINT,
            caption="../report/subsets.rst",
        ),
        report(
            at("tables/behaviors.csv"),
            category="Tables",
            labels={"table": "behaviors", "format": "csv"} | OF_POINT,
            caption="../report/behaviors.rst",
        ),
        report(
            at("tables/flips.csv"),
            category="Tables",
            labels={"table": "answer changes", "format": "csv"} | OF_POINT,
            caption="../report/flips.rst",
        ),
        report(
            at("tables/training.csv"),
            category="Tables",
            labels={"table": "training", "format": "csv"} | OF_POINT,
            caption="../report/training.rst",
        ),
        report(
            at("tables/cost.csv"),
            category="Tables",
            labels={"table": "cost", "format": "csv"} | OF_POINT,
            caption="../report/cost.rst",
        ),
        [
            report(
                at(f"plots/{name}.svg"),
                category="Plots",
                labels={"plot": figure.label} | OF_POINT,
                caption=caption(name),
            )
            for name, figure in GALLERY.items()
        ],
    log:
        at("logs/compare/compare.log"),
    benchmark:
        at("benchmarks/compare.tsv")
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
        "thinktuning compare --config {input.config} --results "
        f"{HERE} --tables {HERE}/tables --plots {HERE}/plots"
        " > {log} 2>&1"


rule report:
    input:
        rules.compare.output,
        lambda wildcards: of_evaluations(wildcards, "results.json", "config.json"),
        lambda wildcards: of_runs(
            wildcards, "metrics.jsonl", "rollouts.jsonl", "provenance.json", "config.json"
        ),
        config=rules.resolve_compare.output,
    output:
        at("report/index.html"),
    log:
        at("logs/compare/report.log"),
    benchmark:
        at("benchmarks/report.tsv")
    conda:
        "../../environment.yml"
    threads: STUDY.resources.compare.threads
    resources:
        **resources(STUDY.resources.compare),
    shell:
        "thinktuning report --config {input.config} --results "
        f"{HERE}"
        " --output {output} > {log} 2>&1"
