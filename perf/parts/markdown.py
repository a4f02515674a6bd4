"""Measurements as Markdown tables."""

LABELS = {"stock": "TRL", "ours": "ours, no guidance", "thinktuning": "ThinkTuning"}
PARTS = ("generation", "teacher", "old_logps", "forward", "backward", "hooks", "rest")


def table(header, rows):
    """Return a table of texts."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def seconds(value):
    """Write a time with three digits that count."""
    return f"{value:.3g}" if value else "0"


def range_of(value):
    """Write a median with its range."""
    return f"{value['median']:.2f} [{value['min']:.2f}, {value['max']:.2f}]"


def training(name, result):
    """Write one setting's measurements: ratios, then each part beside its floor."""
    summary, peaks = result["summary"], result.get("peak_mb", {})
    header = ["", "step, s", "/ TRL", "/ TRL, CPU time", "/ TRL, per generated token", "tokens/s"]
    header += ["teacher's tokens, %", "forwarded / real", "forwarded / computed rows"]
    header += ["sampled / real", "peak, MiB"]
    rows = [
        [
            LABELS[kind],
            seconds(row["step_seconds"]["median"]),
            range_of(row["ratio"]),
            range_of(row["cpu_ratio"]),
            range_of(row["ratio_per_generated_token"]),
            f"{row['generated_tokens_per_second']['median']:.0f}",
            f"{100 * row['teacher_share']['median']:.0f}",
            f"{row['forwarded_per_real']['median']:.2f}",
            f"{row['forwarded_per_computed']['median']:.2f}",
            f"{row['sampled_per_real']['median']:.2f}",
            f"{peaks[kind]:.0f}" if kind in peaks else "",
        ]
        for kind, row in summary.items()
    ]
    parts = [
        [LABELS[kind], *(seconds(row["parts"][part]) for part in PARTS)]
        for kind, row in summary.items()
    ]
    floors = summary["stock"]["floor"]
    parts.append(["floor of TRL's batch", *(seconds(floors.get(part, 0)) for part in PARTS)])
    title = f"{name}: {result['turns']} turns of {result['batches']} rollout batches"
    parts_header = ["seconds of a step", *PARTS]
    return f"### {title}\n\n{table(header, rows)}\n\n{table(parts_header, parts)}"


def growth(rows):
    """Write how the cost grows."""
    header = ["rollouts", "group", "mean length", "TRL, s", "ours / TRL", "ThinkTuning / TRL"]
    header += ["TRL: forwarded / real", "ours: forwarded / real"]
    return table(
        header,
        [
            [
                row["rollouts"],
                row["group"],
                row["mean"],
                seconds(row["summary"]["stock"]["step_seconds"]["median"]),
                *(f"{row['summary'][k]['ratio']['median']:.2f}" for k in ("ours", "thinktuning")),
                *(
                    f"{row['summary'][k]['forwarded_per_real']['median']:.2f}"
                    for k in ("stock", "ours")
                ),
            ]
            for row in rows
        ],
    )


def evaluation(result):
    """Write the evaluation beside plain lm-eval."""
    rows = [
        [name, seconds(run["wall_seconds"]), seconds(run["cpu_seconds"]), run["answers"]]
        for name, run in result.items()
    ]
    return table(["evaluation", "wall, s", "CPU, s", "answers"], rows)
