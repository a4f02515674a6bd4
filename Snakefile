# From a study file to comparison tables: `snakemake --cores all [--configfile studies/NAME.yaml]`.
#
# `include:` would leave the workflow without its default target.
workflow.include("workflow/Snakefile", overwrite_default_target=True)
