"""Seconds that `snakemake -n` takes: the finished default study, and a sweep of 500 jobs and more.

    python perf/plans.py                 # wall and CPU seconds, least of three; --repeats N

The sweep has as many bases as are needed, each with the default study's methods, seeds and tasks,
of which nothing is made yet.
"""

import argparse
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))


def dry_run(directory, study):
    """Return the wall and CPU seconds of a dry run, and the jobs that it plans."""
    from snakemake_run import snakemake

    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = snakemake(directory, "-n", "--quiet", "rules", "--configfile", study)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    total = re.search(r"^total +(\d+)$", done.stdout, re.M)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(total[1]) if total else 0


def sweep_of(directory, jobs):
    """Write a sweep of at least so many jobs; the default study has about 50 for each base."""
    from snakemake_run import DEFAULT, write_study

    values = list(range(200, 200 + 10 * -(-jobs // 45), 10))
    axis = {"key": "model.max_steps", "values": values}
    return write_study(directory, DEFAULT | {"sweep": {"axes": {"steps": axis}}})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--jobs", type=int, nargs="+", default=[500], help="of the sweeps, at least"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each dry run")
    arguments = parser.parse_args()
    from snakemake_run import stand_in

    with tempfile.TemporaryDirectory() as name:
        finished = Path(name) / "finished"
        finished.mkdir()
        default = str(ROOT / "config.yaml")
        stand_in(finished, default)
        cases = {"default study, finished": (finished, default)}
        for jobs in arguments.jobs:
            place = Path(name) / str(jobs)
            place.mkdir()
            cases[f"sweep of {jobs} jobs"] = (place, sweep_of(place, jobs))
        for case, (directory, study) in cases.items():
            took = [dry_run(directory, study) for _ in range(arguments.repeats)]
            wall, cpu, planned = min(took)
            print(f"{case:<24} {planned:4d} jobs  {wall:5.2f} s wall  {cpu:5.2f} s CPU", flush=True)


if __name__ == "__main__":
    main()
