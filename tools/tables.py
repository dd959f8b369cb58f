"""What the results say, as Markdown: RESULTS.md, and the one table of the README."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from vaelab.results import ledger, runs_of

ROOT = Path(__file__).parents[1]
BUNDLED, FULL = ("5k", "binary", "mlp"), ("full", "binary", "mlp")
ROW, FULL_ROW, GRAY = ("5k", "binary", "row"), ("full", "binary", "row"), ("full", "gray", "mlp")
SCHEDULES = ["staircase", "linear 10 %", "linear 50 %", "cyclical"]
BUDGETS = [(BUNDLED, 3000), (BUNDLED, 12_000), (FULL, 4690), (FULL, 18_760)]
# A setting with its budget, and a warm-up of the same number of steps at two budgets of it.
FIXED = [
    (BUNDLED, 3000, "linear 50 %", 12_000, "linear 1,500 steps"),
    (FULL, 4690, "linear 50 %", 18_760, "linear 2,345 steps"),
]
FLOORS = ["soft 0.05", "soft 0.1", "soft 0.25", "soft 0.5", "soft 0.5, step 0.1", "soft 1.0"]
FLOORS += ["free bits 0.5"]
TITLES = {
    "5k": "Bundled digits",
    "full": "The full MNIST",
    "binary": "binarized",
    "gray": "gray",
    "mlp": "MLP decoder",
    "row": "row decoder",
}

Runs = list[dict[str, Any]]
Results = dict[str, Any]


# ------------------------------------------------------------------------------------- Markdown


def refresh(results: Results, root: Path = ROOT) -> None:
    """Write every table into RESULTS.md and README.md again."""
    for name, tables in (("RESULTS.md", TABLES), ("README.md", {"results": readme_table})):
        path = root / name
        text = path.read_text(encoding="utf-8")
        for marker, make in tables.items():
            text = between_markers(text, marker, make(results))
        partial = path.with_name(f"{name}.{os.getpid()}.part")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def between_markers(text: str, marker: str, new: str) -> str:
    """The text with something new between ``<!-- marker -->`` and ``<!-- /marker -->``.

    Raises:
        ValueError: if one of them is missing.
    """
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if start not in text or end not in text:
        raise ValueError(f"the text must have the markers {start} and {end}")
    return f"{text.split(start)[0]}{start}\n{new}\n{end}{text.split(end)[1]}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left."""
    lines = [header, [":--"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: list[float], digits: int = 1, sign: bool = False) -> str:
    """Mean ± standard deviation over the seeds; how many there are if not three."""
    if not values:
        return ""
    several = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    count = "" if len(values) == 3 else f" (n = {len(values)})"
    return f"{statistics.mean(values):{'+' if sign else ''}.{digits}f}{several}{count}"


def title(setting: tuple[str, str, str], steps: int) -> str:
    """What to call a setting."""
    data, targets, decoder = (TITLES[name] for name in setting)
    return f"{data}, {targets}, {decoder}, {steps:,} steps"


# --------------------------------------------------------------------------- numbers from the runs


def by_seed(results: Results, setting: tuple, steps: int, objective: str) -> dict[int, dict]:
    """Seed -> run."""
    return {run["seed"]: run for run in runs_of(results, *setting, objective, steps)}


def pairs(
    results: Results, setting: tuple, steps: int, objective: str, against: str = "vanilla"
) -> list[tuple[dict, dict]]:
    """(run, run of the other objective) of each seed that has both."""
    runs = by_seed(results, setting, steps, objective)
    others = by_seed(results, setting, steps, against)
    return [(runs[seed], others[seed]) for seed in sorted(runs.keys() & others.keys())]


def deficits(found: list[tuple[dict, dict]], name: str = "neg_elbo") -> list[float]:
    """What the first of each pair has more of one number."""
    return [run[name] - other[name] for run, other in found]


def settings_of(results: Results) -> dict[tuple, dict[str, Runs]]:
    """(data, targets, decoder, steps) -> objective -> its runs, in the order of the file."""
    settings: dict[tuple, dict[str, Runs]] = {}
    for run in results["runs"].values():
        key = tuple(run[name] for name in ("data", "targets", "decoder", "steps"))
        settings.setdefault(key, {}).setdefault(run["objective"], []).append(run)
    return settings


# --------------------------------------------------------------------------------------- tables


def every_table(results: Results) -> str:
    """A table for each setting, with its title."""
    return "\n\n".join(
        f"### {title(key[:3], key[3])}\n\n{setting_table(key, objectives)}"
        for key, objectives in sorted(settings_of(results).items())
    )


def machines(results: Results) -> str:
    """Where the runs were made, and which of them elsewhere than the vanilla run of their pair."""
    runs = results["runs"]
    apart = [
        key
        for key, run in runs.items()
        if run["machine"] != runs[f"{key.rsplit('/', 2)[0]}/vanilla/{run['seed']}"]["machine"]
    ]
    told = f"Computed on: {'; '.join(results['protocol']['machines'])}."
    if not apart:
        return told
    keys = ", ".join(f"`{key}`" for key in apart)
    return f"{told} On another machine than their vanilla run, so with other random draws: {keys}."


def setting_table(key: tuple, objectives: dict[str, Runs]) -> str:
    """The table of one setting."""
    header = ["objective", "-ELBO", "D", "R", "-ELBO, training", "-L", "minus vanilla (s.e.)"]
    header += ["alive", "active", "information", "probe, %"]
    rows = []
    for objective, runs in objectives.items():
        names = ("neg_elbo", "distortion", "rate", "train_neg_elbo", "score")
        columns = [spread([run[name] for run in runs]) for name in names]
        counts = [spread([run[name] for run in runs], 0) for name in ("alive", "active_units")]
        known = statistics.mean(run["mutual_information"] for run in runs)
        most = runs[0]["mutual_information_ceiling"]
        probe = spread([100 * run["probe_accuracy"] for run in runs])
        paired = "" if objective == "vanilla" else paired_mean(runs)
        rows.append([objective, *columns, paired, *counts, f"{known:.2f} of {most:.2f}", probe])
    return table(header, rows)


def paired_mean(runs: Runs) -> str:
    """Mean over the seeds of the paired difference and of its standard error over images."""
    difference, stderr = (statistics.mean(column) for column in zip(*(r["paired"] for r in runs)))
    return f"{difference:+.2f} ({stderr:.2f})"


def readme_table(results: Results) -> str:
    """The few rows that the README shows."""
    chosen = [
        (BUNDLED, 3000, "linear 50 %"),
        (BUNDLED, 3000, "soft 0.5"),
        (FULL, 18_760, "linear 50 %"),
        (FULL, 18_760, "soft 0.5"),
        (ROW, 1400, "linear 50 %"),
        (ROW, 1400, "soft 0.25"),
        (ROW, 1400, "soft total 10"),
        (ROW, 5600, "linear 50 %"),
    ]
    rows = []
    for setting, steps, objective in chosen:
        found = pairs(results, setting, steps, objective)
        if not found:
            continue
        runs = [run for run, _ in found]
        name = f"{TITLES[setting[0]]}, {TITLES[setting[2]]}, {steps:,} steps: {objective}"
        rates = [spread([run["rate"] for run in side]) for side in zip(*found)]
        rows.append([name, spread(deficits(found), 1, True), paired_mean(runs), *rates])
    header = ["against vanilla of the same seed", "-ELBO", "-L_100 (s.e.)", "R", "R of vanilla"]
    return table(header, rows)


# ------------------------------------------------------------------------------------ question 1


def annealing_table(results: Results) -> str:
    """The deficits of the schedules at every budget."""
    rows = []
    fixed = {(setting, steps): name for setting, _, _, steps, name in FIXED}
    for setting, steps in [*BUDGETS, (GRAY, 4690)]:
        names = [*SCHEDULES, "linear 25 %", "linear 100 %", fixed.get((setting, steps), "")]
        for name in names:
            found = pairs(results, setting, steps, name)
            if found:
                ramp = ramp_of(name, steps)
                rows.append(
                    [
                        f"{title(setting, steps)}: {name}",
                        spread(deficits(found), 2, True),
                        spread(deficits(found, "train_neg_elbo"), 2, True),
                        spread([run["paired"][0] for run, _ in found], 2, True),
                        f"{ramp:,}",
                        f"{steps - ramp:,}",
                    ]
                )
    header = ["", "deficit, test", "deficit, training", "-L, paired"]
    return table([*header, "steps below beta = 1", "steps at 1 after them"], rows)


def ramp_of(name: str, steps: int) -> int:
    """The number of the first step from which beta stays at 1."""
    if name == "staircase":
        return steps - steps // 10
    if name == "cyclical":
        return steps - steps // 8
    if name.endswith("steps"):
        return int(name.split()[1].replace(",", ""))
    return round(steps * int(name.split()[1]) / 100)


def pruning_table(results: Results) -> str:
    """The four arms."""
    experiments = sorted(results["pruning"].values(), key=lambda run: run["seed"])
    if not experiments:
        return "(not carried out yet)"
    rows = []
    for arm in experiments[0]["arms"]:
        if arm == "vanilla, uncut":
            continue
        row = [arm]
        for name in ("train_neg_elbo", "neg_elbo"):
            for run in experiments:
                own, base = (run["arms"][which]["after"][name] for which in (arm, "vanilla, uncut"))
                row.append(f"{own - base:+.2f}")
        row.append(", ".join(str(run["arms"][arm]["after"]["alive"]) for run in experiments))
        rows.append(row)
    seeds = [run["seed"] for run in experiments]
    header = ["arm", *(f"training, seed {s}" for s in seeds), *(f"test, seed {s}" for s in seeds)]
    base = [run["arms"]["vanilla, uncut"]["after"]["alive"] for run in experiments]
    kept = ", ".join(str(run["kept"]) for run in experiments)
    after = f"\n\nk = {kept}; alive in the end in vanilla, uncut: {', '.join(map(str, base))}."
    return table([*header, "alive in the end"], rows) + after


# ------------------------------------------------------------------------------------ question 2


def edge_table(results: Results) -> str:
    """Deficits split into a part along the edge and one above it."""
    names = ["staircase", "linear 10 %", "linear 25 %", "linear 50 %", "linear 100 %", "cyclical"]
    names += ["soft 0.1", "soft 0.25", "soft 0.5", "soft 0.5, step 0.1", "free bits 0.5"]
    cheap = by_seed(results, BUNDLED, 3000, "beta 0.5")
    rows = []
    for name in names:
        row = [name]
        for prefix in ("", "train_"):
            splits = [
                split(run, vanilla, cheap[run["seed"]], prefix)
                for run, vanilla in pairs(results, BUNDLED, 3000, name)
                if run["seed"] in cheap
            ]
            for column, digits in zip(zip(*splits), (1, 2, 2, 2, 2)):
                row.append(spread(list(column), digits, True))
        if len(row) > 1:
            rows.append(row)
    parts = ["more R", "deficit", "at least", "along", "above"]
    header = [f"{part}, {where}" for where in ("test", "training") for part in parts]
    return table(["", *header], rows)


def split(run: dict, vanilla: dict, cheap: dict, prefix: str) -> tuple[float, ...]:
    """More rate, deficit, what the tangents allow at least, what lies along the edge, and above it.

    Args:
        run: of any objective.
        vanilla, cheap: of beta = 1 and of beta = 0.5, the same seed.
        prefix: "" for test digits, "train_" for training digits.
    """
    rates = [r[f"{prefix}rate"] for r in (run, vanilla, cheap)]
    bounds = [r[f"{prefix}neg_elbo"] for r in (run, vanilla, cheap)]
    more, reach = rates[0] - rates[1], rates[2] - rates[1]
    deficit, rise = bounds[0] - bounds[1], bounds[2] - bounds[1]
    least, along = edge(more, reach, rise)
    return more, deficit, least, along, deficit - along


def edge(more: float, reach: float, rise: float) -> tuple[float, float]:
    """-ELBO along the edge, above that at beta = 1, as a function of the extra rate.

    In the plane of rate and -ELBO = D + R the slope is 0 at beta = 1 and 1/2 at beta = 0.5.

    Args:
        more: extra rate, nats.
        reach, rise: extra rate and extra -ELBO of the model of beta = 0.5.

    Returns:
        What the two tangents allow at least, and the cubic with both points and both slopes.
    """
    tangent = rise + 0.5 * (more - reach)
    least = max(0.0, tangent)
    if more <= 0:
        return least, 0.0
    if more >= reach:
        return least, tangent
    t = more / reach
    return least, rise * t * t * (3 - 2 * t) + 0.5 * reach * t * t * (t - 1)


# ------------------------------------------------------------------------------------ question 3


def row_table(results: Results) -> str:
    """The row decoder against its twin."""
    rows = []
    for setting, steps in ((ROW, 1400), (ROW, 5600), (FULL_ROW, 4690)):
        objectives = settings_of(results).get((*setting, steps), {})
        for name in objectives:
            if name == "z-free twin":
                bound = spread([run["neg_elbo"] for run in objectives[name]])
                rows.append([f"{title(setting, steps)}: twin", bound, *[""] * 6])
                continue
            found = pairs(results, setting, steps, name, "z-free twin")
            if not found:
                continue
            runs = [run for run, _ in found]
            differences = [run["paired"][0] - twin["paired"][0] for run, twin in found]
            rows.append(
                [
                    f"{title(setting, steps)}: {name}",
                    spread([run["neg_elbo"] for run in runs]),
                    spread(deficits(found), 2, True),
                    spread(deficits(found, "train_neg_elbo"), 2, True),
                    spread(differences, 2, True),
                    spread([run["rate"] for run in runs]),
                    spread([run["alive"] for run in runs], 0),
                    spread([100 * run["probe_accuracy"] for run in runs]),
                ]
            )
    header = ["", "-ELBO", "minus twin's", "minus twin's, training", "-L_100 minus twin's", "R"]
    return table([*header, "alive of 32", "probe, %"], rows)


def path_table(results: Results) -> str:
    """The rate on the way."""
    rows = []
    header: list[str] = []
    for steps in (1400, 5600):
        for name, runs in settings_of(results).get((*ROW, steps), {}).items():
            if name == "z-free twin":
                continue
            rates = np.array([run["path"]["rate"] for run in runs])  # (seeds, evaluations)
            shown = np.linspace(0.1, 1, 10) * rates.shape[1] - 1
            picked = rates[:, shown.round().astype(int)]  # (seeds, 10)
            header = [
                "",
                *(f"{share:.0%}" for share in np.linspace(0.1, 1, 10)),
                "range at the end",
            ]
            ends = f"{rates[:, -1].min():.1f} to {rates[:, -1].max():.1f}"
            row = [f"{value:.1f}" for value in picked.mean(axis=0)]
            rows.append([f"{steps:,} steps: {name}", *row, ends])
    return table(header, rows)


# ------------------------------------------------------------------------------------ question 4


def ledger_table(results: Results) -> str:
    """The ledger of every floor."""
    names = ["forced", "returned", "distortion", "cost", "moved", "bill", "own loss"]
    rows = []
    for setting, steps in BUDGETS:
        for floor in FLOORS:
            found = pairs(results, setting, steps, floor)
            if found:
                columns = zip(*(ledger(*pair).values() for pair in found))
                cells = [spread(list(column), 1, True) for column in columns]
                rows.append([f"{title(setting, steps)}: {floor}", *cells])
    return table(["", *(name if name != "distortion" else "D" for name in names)], rows)


def integral_table(results: Results) -> str:
    """Equation 3.13 of lesson 3 against what was found."""
    sweep = [0.05, 0.1, 0.25, 0.5, 1.0]
    vanilla = by_seed(results, BUNDLED, 3000, "vanilla")
    runs = {lam: by_seed(results, BUNDLED, 3000, f"soft {lam}") for lam in sweep}
    seeds = [seed for seed in vanilla if all(seed in found for found in runs.values())]
    rows = []
    for low, high in zip([0.0, *sweep], sweep):
        predicted, found, prices = [], [], []
        for seed in seeds:
            here = runs[high][seed]
            before = runs[low][seed] if low else vanilla[seed]
            price = [sum(1 - w for w in run["weights"]) for run in (before if low else here, here)]
            predicted.append((high - low) * sum(price) / 2)
            found.append(here["train_neg_elbo"] - before["train_neg_elbo"])
            prices.append(price[1])
        cells = [spread(prices, 1), spread(predicted, 2, True), spread(found, 2, True)]
        rows.append([f"{low:g} to {high:g}", *cells])
    header = ["lambda", "sum of 1 - gamma at the upper end", "predicted", "found"]
    return table(header, rows)


# ------------------------------------------------------------------------------------ question 5


def step_table(results: Results) -> str:
    """A coarse step against a fine one."""
    rows = []
    for setting, steps in [*BUDGETS, (GRAY, 4690)]:
        found = pairs(results, setting, steps, "soft 0.5, step 0.1", "soft 0.5")
        if not found:
            continue
        row = [title(setting, steps)]
        for name in ("neg_elbo", "distortion", "rate", "train_neg_elbo", "score"):
            row.append(spread(deficits(found, name), 2, True))
        for which in (0, 1):
            row.append(spread([min(pair[which]["kl_per_dim"]) for pair in found], 2))
        for which in (0, 1):
            low = [sum(kl < 0.4 for kl in pair[which]["kl_per_dim"]) for pair in found]
            row.append(", ".join(map(str, low)))
        rows.append(row)
    header = ["", "-ELBO", "D", "R", "-ELBO, training", "-L", "lowest KL, step 0.1"]
    header += ["lowest KL, 0.02", "dimensions below 0.4, step 0.1", "below 0.4, 0.02"]
    return table(header, rows)


# What goes between which markers of RESULTS.md.
TABLES = {
    "annealing": annealing_table,
    "pruning": pruning_table,
    "edge": edge_table,
    "row": row_table,
    "path": path_table,
    "ledger": ledger_table,
    "integral": integral_table,
    "step": step_table,
    "every": every_table,
    "machines": machines,
}
