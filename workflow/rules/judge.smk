# A second opinion on the behaviors; these jobs run only for a study with a section `judge`.
rule resolve_judge:
    output:
        "results/eval/judge.{task}.json",
    log:
        "results/logs/judge/{task}.resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=lambda wildcards: resolved(STUDY.judge_job(wildcards.task)),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


rule judge:
    input:
        ["results/models/judge"] if "judge" in MODELS else [],
        config=rules.resolve_judge.output,
        samples="results/eval/{method}/seed{seed}/{task}/samples.jsonl",
        data="results/data/eval/{task}.jsonl",
    output:
        "results/eval/{method}/seed{seed}/{task}/judgments.jsonl",
    log:
        "results/logs/judge/{method}/seed{seed}/{task}.log",
    benchmark:
        "results/benchmarks/judge/{method}/seed{seed}/{task}.tsv"
    conda:
        "../../environment.yml"
    threads: STUDY.resources.evaluate.threads
    resources:
        **resources(STUDY.resources.evaluate),
    params:
        model="--model results/models/judge" if "judge" in MODELS else "",
    shell:
        "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
        f"{ON_GPUS}"
        " thinktuning judge --config {input.config} --samples {input.samples} --data {input.data}"
        " {params.model} --output {output} > {log} 2>&1"
