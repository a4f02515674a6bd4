# From a study file to comparison tables: `snakemake --cores all [--configfile studies/NAME.yaml]`.
from snakemake.utils import min_version

min_version("9.0")


# --configfile names a complete study: it replaces the default one, never merges with it. A second
# file goes over the first, e.g. the resources that `thinktuning plan --write` makes.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/compare.smk"


rule all:
    default_target: True
    input:
        rules.compare.output,
        rules.report.output,
