rule resolve_train:
    output:
        "results/runs/{method}/seed{seed}/config.json",
    log:
        "results/logs/train/{method}/seed{seed}.resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=lambda wildcards: resolved(STUDY.train_job(wildcards.method, int(wildcards.seed))),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# Snakemake deletes a job's outputs before it starts. The run's checkpoints/ is not an output, so a
# rerun resumes from it.
rule train:
    input:
        teacher_model,
        ancient(checked_exemplars),
        config=rules.resolve_train.output,
        model="results/models/base",
        data="results/data/train.jsonl",
    output:
        model=directory("results/runs/{method}/seed{seed}/model"),
        metrics="results/runs/{method}/seed{seed}/metrics.jsonl",
        rollouts="results/runs/{method}/seed{seed}/rollouts.jsonl",
        provenance="results/runs/{method}/seed{seed}/provenance.json",
    log:
        "results/logs/train/{method}/seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{method}/seed{seed}.tsv"
    priority: 1  # start the longest jobs first; evaluations fill the gaps
    conda:
        "../../environment.yml"
    threads: STUDY.resources.train.threads
    resources:
        **resources(STUDY.resources.train),
    params:
        teacher=lambda wildcards: " ".join(f"--teacher {path}" for path in teacher_model(wildcards)),
    shell:
        f"export OMP_NUM_THREADS={STUDY.resources.train.threads_of_process}"
        " HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
        f"{train_command(STUDY.resources.train)}"
        " train --config {input.config} --model {input.model} --data {input.data}"
        " {params.teacher} --output results/runs/{wildcards.method}/seed{wildcards.seed} > {log} 2>&1"
