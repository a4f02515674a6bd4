# A second opinion on the behaviors; these jobs run only for a study with a section `judge`.
rule resolve_judge:
    input:
        unless_foreign(
            at("eval/judge.{task}.json"), configuration_of_judge, at("eval/judge.{task}.json")
        ),
    output:
        at("eval/judge.{task}.json"),
    log:
        at("logs/judge/{task}.resolve.log"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=configuration_of_judge,
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


rule judge:
    input:
        judge_model,
        config=rules.resolve_judge.output,
        samples=at("eval/{method}/seed{seed}/{task}/samples.jsonl"),
        data=lambda wildcards: of_data(wildcards, f"eval/{wildcards.task}.jsonl"),
    output:
        at("eval/{method}/seed{seed}/{task}/judgments.jsonl"),
    log:
        at("logs/judge/{method}/seed{seed}/{task}.log"),
    benchmark:
        at("benchmarks/judge/{method}/seed{seed}/{task}.tsv")
    conda:
        "../../environment.yml"
    threads: STUDY.resources.evaluate.threads
    resources:
        **resources(STUDY.resources.evaluate),
    params:
        model=lambda wildcards: " ".join(f"--model {path}" for path in judge_model(wildcards)),
    shell:
        "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
        f"{ON_GPUS}"
        " thinktuning judge --config {input.config} --samples {input.samples} --data {input.data}"
        " {params.model} --output {output} > {log} 2>&1"
