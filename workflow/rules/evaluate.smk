rule resolve_evaluate:
    input:
        unless_foreign(
            at("eval/{method}/seed{seed}/{task}/config.json"),
            configuration_of_evaluation,
            at("eval/{method}/seed{seed}/{task}/samples.jsonl"),
        ),
    output:
        at("eval/{method}/seed{seed}/{task}/config.json"),
    log:
        at("logs/evaluate/{method}/seed{seed}/{task}.resolve.log"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=configuration_of_evaluation,
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# One job loads a model, and makes the results of all tasks that have no valid ones: the command
# compares what they were made from. Snakemake deletes them all before; `onstart` sets them aside.
rule evaluate:
    input:
        configs=expand(rules.resolve_evaluate.output, task=STUDY.tasks, allow_missing=True),
        model=evaluated_model,
        data=lambda wildcards: of_data(wildcards, *EVALUATION_DATA),
    output:
        samples=expand(
            at("eval/{method}/seed{seed}/{task}/samples.jsonl"),
            task=STUDY.tasks,
            allow_missing=True,
        ),
        results=expand(
            at("eval/{method}/seed{seed}/{task}/results.json"),
            task=STUDY.tasks,
            allow_missing=True,
        ),
    log:
        at("logs/evaluate/{method}/seed{seed}.log"),
    benchmark:
        at("benchmarks/evaluate/{method}/seed{seed}.tsv")
    conda:
        "../../environment.yml"
    threads: STUDY.resources.evaluate.threads
    resources:
        **resources(STUDY.resources.evaluate),
    params:
        directories=lambda wildcards, output: [os.path.dirname(path) for path in output.results],
    shell:
        "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
        f"{ON_GPUS}"
        " thinktuning evaluate --config {input.configs} --model {input.model} --data {input.data}"
        " --output {params.directories} > {log} 2>&1"
