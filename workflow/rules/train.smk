rule resolve_train:
    input:
        unless_foreign(
            at("runs/{method}/seed{seed}/config.json"),
            configuration_of_training,
            at("runs/{method}/seed{seed}/provenance.json"),
        ),
    output:
        at("runs/{method}/seed{seed}/config.json"),
    log:
        at("logs/train/{method}/seed{seed}.resolve.log"),
    wildcard_constraints:
        method=one_of(STUDY.trained()),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=configuration_of_training,
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# Snakemake deletes a job's outputs before it starts. The run's checkpoints/ is not an output, so a
# rerun resumes from it. A budget that refers to other methods waits for their runs.
rule train:
    input:
        teacher_model,
        budget_runs,
        ancient(checked_exemplars),
        lambda wildcards: of_data(
            wildcards, *study_of(wildcards).train_job(wildcards.method, 0).held_out()
        ),
        config=rules.resolve_train.output,
        model=lambda wildcards: made(wildcards, "models/base"),
        data=lambda wildcards: of_data(wildcards, "train.jsonl"),
    output:
        model=directory(at("runs/{method}/seed{seed}/model")),
        metrics=at("runs/{method}/seed{seed}/metrics.jsonl"),
        rollouts=at("runs/{method}/seed{seed}/rollouts.jsonl"),
        provenance=at("runs/{method}/seed{seed}/provenance.json"),
    log:
        at("logs/train/{method}/seed{seed}.log"),
    benchmark:
        at("benchmarks/train/{method}/seed{seed}.tsv")
    wildcard_constraints:
        method=one_of(STUDY.trained()),
    priority: 1  # start the longest jobs first; evaluations fill the gaps
    conda:
        "../../environment.yml"
    threads: STUDY.resources.train.threads
    resources:
        **resources(STUDY.resources.train),
    params:
        # and the runs behind a budget: a parameter of their own would change every job's command
        teacher=lambda wildcards: " ".join(
            [
                *(f"--teacher {path}" for path in teacher_model(wildcards)),
                *(f"--budget-runs {path}" for path in [" ".join(budget_runs(wildcards))] if path),
            ]
        ),
    shell:
        f"export OMP_NUM_THREADS={STUDY.resources.train.threads_of_process}"
        " HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
        f"{train_command(STUDY.resources.train)}"
        " train --config {input.config} --model {input.model} --data {input.data}"
        " {params.teacher} --output "
        f"{HERE}/runs/"
        "{wildcards.method}/seed{wildcards.seed} > {log} 2>&1"
