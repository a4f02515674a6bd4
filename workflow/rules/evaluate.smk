rule resolve_evaluate:
    output:
        "results/eval/{method}/seed{seed}/{task}/config.json",
    log:
        "results/logs/evaluate/{method}/seed{seed}/{task}.resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=lambda wildcards: resolved(
            STUDY.evaluate_job(
                wildcards.method,
                int(wildcards.seed) if STUDY.methods[wildcards.method].train else None,
                wildcards.task,
            )
        ),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


rule evaluate:
    input:
        config=rules.resolve_evaluate.output,
        model=evaluated_model,
        data="results/data/eval/{task}.jsonl",
    output:
        results="results/eval/{method}/seed{seed}/{task}/results.json",
        samples="results/eval/{method}/seed{seed}/{task}/samples.jsonl",
    log:
        "results/logs/evaluate/{method}/seed{seed}/{task}.log",
    benchmark:
        "results/benchmarks/evaluate/{method}/seed{seed}/{task}.tsv"
    conda:
        "../../environment.yml"
    threads: STUDY.resources.evaluate.threads
    resources:
        **resources(STUDY.resources.evaluate),
    shell:
        "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
        f"{ON_GPUS}"
        " thinktuning evaluate --config {input.config} --model {input.model} --data {input.data}"
        " --output results/eval/{wildcards.method}/seed{wildcards.seed}/{wildcards.task}"
        " > {log} 2>&1"
