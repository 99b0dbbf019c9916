"""What the benchmarks found, as short tables."""

from __future__ import annotations

import re
import statistics
from typing import Any


def file_name(record: dict[str, Any]) -> str:
    """Name of a record's file: kind, model, type, device."""
    parts = [record["kind"].removeprefix("bench-")]
    if "vlm" in record["settings"]:
        found = record["provenance"]
        parts += [record["settings"]["vlm"], found["dtype"], found["device"].split(" ")[0]]
        parts += ["compiled"] if record["settings"].get("compiled") else []
        if record["kind"] == "bench-tuning" and record["settings"]["split"] != "tune":
            parts.append(record["settings"]["split"])
    return re.sub("[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-")


def heading(record: dict[str, Any]) -> list[str]:
    """What was measured, and where."""
    found, where = record["settings"], record["provenance"]
    head = "all heads" if found["head"] is None else f"head {found['head']}"
    return [
        f"{found['vlm']}, {where['dtype']} on {where['device']} ({where['processor']}, "
        f"{found['threads']} threads)",
        f"{found['image_size']} pixels, {found['classes']} classes, {found['rounds']} rounds, "
        f"layer {found['layer']}, {head}",
    ]


def versus_text(record: dict[str, Any]) -> str:
    """The comparison as a short table."""
    found = record["agreement"]
    memory, spent = record["memory"], record["seconds"]
    lines = [*heading(record), f"{'':<24}{'everything':>12}{'ours':>12}"]
    lines.append(
        f"{'seconds per picture':<24}{spent['everything']:>12.3f}{spent['ours']:>12.3f}"
        f"   {record['ratio']:.2f}x"
    )
    if memory is not None:
        peaks = [f"{memory[way]['net'] / 1e9:>12.2f}" for way in ("everything", "ours")]
        lines.append(f"{'peak memory in GB':<24}{''.join(peaks)}   {100 * memory['share']:.0f} %")
    lines.append(
        f"{'work per picture':<24}{'':>12}{record['flops'] / 1e9:>12.1f}   GFLOP "
        f"(counted by {record['flops_counted_by']})"
    )
    lines.append(
        f"{'GFLOP per second':<24}{'':>12}{record['rate'] / 1e9:>12.1f}   "
        f"{100 * record['share']:.0f} % of a matrix product's {record['matmul_rate'] / 1e9:.1f}"
    )
    differences = ", ".join(_difference(value) for value in found["rounds"])
    lines.append(
        f"largest difference of the maps, round by round: {differences}; "
        f"of their sum: {_difference(found['sums'])} (allowed: {found['tolerance']:g})"
    )
    if found["other_patches"]:
        lines.append(
            f"images with other patches dropped: {found['other_patches']}, "
            f"{found['wrong_patches']} of them wrongly"
        )
    lines.append(
        f"pixels labelled alike: {100 * statistics.mean(record['labels']):.2f} % on average, "
        f"{100 * min(record['labels']):.2f} % in the worst image"
    )
    lines.append(f"the maps {'agree' if found['agree'] else 'DO NOT agree'}")
    return "\n".join(lines)


def _difference(value: float | str | None) -> str:
    if value is None:
        return "not comparable"
    return value if isinstance(value, str) else f"{value:.1e}"


def batches_text(record: dict[str, Any]) -> str:
    """Images per second by batch size as a table."""
    lines = [*heading(record), f"{'batch':>6}{'salience':>12}{'pipeline':>12}   share of the peak"]
    for row in record["rows"]:
        if "error" in row:
            lines.append(f"{row['batch']:>6}   {row['error']}")
        else:
            lines.append(
                f"{row['batch']:>6}{row['salience']:>12.2f}{row['pipeline']:>12.2f}"
                f"{100 * row['share']:>8.1f} %"
            )
    lines.append(
        f"images per second; peak: a matrix product's {record['matmul_rate'] / 1e12:.2f} "
        f"TFLOP/s; {record['flops'] / 1e9:.1f} GFLOP per image; refinement in "
        f"{record['settings']['workers'] or 'no'} other processes"
    )
    return "\n".join(lines)


def precision_text(record: dict[str, Any]) -> str:
    """Number types as a table."""
    found = record["settings"]
    lines = [
        f"{found['vlm']} on {found['images']} images of Diorama {found['split']}, "
        f"{found['threads']} threads",
        f"{'type':>10}{'s/picture':>12}{'ratio':>8}{'labels':>10}{'worst':>10}",
    ]
    for row in record["rows"]:
        lines.append(
            f"{row['dtype']:>10}{row['seconds']:>12.4f}{row['ratio']:>8.2f}"
            f"{100 * row['labels']:>8.2f} %{100 * row['worst']:>8.2f} %"
            f"{'' if row['kept'] else '   too far from float32'}"
        )
    lines.append("labels: share of pixels labelled as in float32; seconds: salience alone")
    return "\n".join(lines)


def refine_text(record: dict[str, Any]) -> str:
    """Stage times and the pipeline's rates as tables."""
    names = ("upsample", "blur", "crf", "total")
    lines = [f"{'size':>10}{'classes':>9}" + "".join(f"{name:>10}" for name in names)]
    for row in record["rows"]:
        cells = "".join(f"{row[name]:>10.1f}" for name in names)
        lines.append(f"{row['size']:>10}{row['classes']:>9}{cells}")
    lines.append("milliseconds per image")
    found = record["pipeline"]
    if found is not None:
        settings = found["settings"]
        lines.append(
            f"{settings['vlm']} on {settings['images']} images of Diorama, "
            f"{settings['threads']} threads, images per second: salience alone "
            f"{found['salience']:.2f}, refinement alone {found['refinement']:.2f}"
        )
        lines.append(f"{'workers':>9}{'pipeline':>10}{'slower stage':>14}{'one by one':>12}")
        lines += [
            f"{row['workers']:>9}{row['pipeline']:>10.2f}{row['slower_stage']:>14.2f}"
            f"{row['sum']:>12.2f}"
            for row in found["rows"]
        ]
        same = "the same" if found["same_labels"] else "NOT the same"
        lines.append(f"labels are {same} for all numbers of workers")
    return "\n".join(lines)


def evaluation_text(record: dict[str, Any]) -> str:
    """Rates and memory of evaluation without a model."""
    found, spent, rate = record["settings"], record["milliseconds"], record["rate"]
    memory = record["memory"]
    lines = [
        f"{found['images']} made-up images of {found['width']} x {found['height']} "
        f"({found['distinct']} different) with {found['classes']} classes, one thread",
        f"{'':<24}{'ms/picture':>12}",
        *(f"{name:<24}{spent[name]:>12.2f}" for name in ("label", "confusion", "picture")),
        f"{'':<24}{'pictures/s':>12}",
        f"{'label':<24}{rate['label']:>12.0f}",
        f"{'label and confusion':<24}{rate['evaluation']:>12.0f}",
        f"{'with the picture':<24}{rate['with_picture']:>12.0f}",
        f"memory: {memory['first'] / 1e6:.1f} MB after {memory['after']} images, "
        f"{memory['last'] / 1e6:.1f} MB after {found['images']}",
        f"the counts are {'right' if record['counts_agree'] else 'WRONG'}",
    ]
    return "\n".join(lines)


def dask_text(record: dict[str, Any]) -> str:
    """Overhead per shard of the engines as a table."""
    found, file, beside = record["settings"], record["file"], record["refinement"]
    lines = [
        f"dry shards; those stored hold {found['pictures']} images and {found['labels']} labels",
        f"{'job':>9}{'engine':>11}{'workers':>9}{'shards':>8}{'start s':>9}{'ms/shard':>10}"
        f"{'overhead':>10}{'shards/s':>10}{'own cpu ms':>12}{'total s':>9}{'memory MB':>15}",
    ]
    for row in record["rows"]:
        memory = " -> ".join(f"{row['memory'][key] / 1e6:.0f}" for key in ("before", "most"))
        lines.append(
            f"{row['job']:>9}{row['engine']:>11}{row['workers']:>9}{row['shards']:>8}"
            f"{row['start']:>9.1f}{1000 * row['seconds']:>10.2f}{1000 * row['overhead']:>10.2f}"
            f"{row['rate']:>10.0f}{1000 * row['cpu']:>12.2f}{row['total']:>9.1f}{memory:>15}"
        )
    lines += [
        "overhead: ms per shard beyond the serial time divided by the workers; own cpu and memory: "
        "of the process that asks, Dask's scheduler included",
        f"a job: {record['job_bytes']} bytes; a file of {file['pictures']} images: "
        f"{file['bytes'] / 1e3:.0f} kB",
        f"{beside['workers']} refinement processes start in {beside['start']:.2f} s, and have "
        f"{beside['memory'] / 1e6:.0f} MB each at most (20 classes, 500 x 375)",
        f"each shard was {'done once' if record['complete'] else 'NOT done exactly once'}",
    ]
    return "\n".join(lines)


def tuning_text(record: dict[str, Any]) -> str:
    """Candidates per minute as a table."""
    found, same = record["settings"], record["agreement"]
    lines = [
        f"{found['vlm']} and the reward of {found['reward']} ({found['size']} pixels, "
        f"{found['options']}) on "
        f"{found['images']} images of Diorama {found['split']}, {found['threads']} threads",
        f"maps of all layers and heads: {record['collect']:.1f} s once, "
        f"{record['bytes'] / 1e6:.1f} MB",
        f"{'way':>8}{'candidates':>12}{'s/candidate':>13}{'per minute':>12}{'ratio':>8}{'CLIP':>8}",
    ]
    lines += [
        f"{row['way']:>8}{row['candidates']:>12}{row['seconds']:>13.3f}{row['rate']:>12.1f}"
        f"{row['ratio']:>8.2f}{100 * row['clip']:>6.0f} %"
        for row in record["rows"]
    ]
    lines += [
        "race: candidates that fall far behind are dismissed; fair: a pass for each candidate's "
        "layer and head; usual: the preset's rounds and CRF as well; CLIP: share of the time in "
        "the reward",
        f"with the time for the maps, stored is {record['with_collect']:.2f} times as fast as fair",
        f"equal rewards: {100 * same['same']:.2f} %; of values: within {same['largest']:.4f}",
        f"the race looked at {100 * record['looks']:.0f} % of candidates times images and ended "
        f"with {'the best candidate' if same['winner'] else 'ANOTHER candidate than the best'}",
    ]
    slow = {row["way"]: row["seconds"] for row in record["rows"]}
    if "usual" in slow:
        lines.append(
            f"candidates per minute against the whole pipeline for each: "
            f"{slow['usual'] / slow['stored']:.0f}x stored, {slow['usual'] / slow['race']:.0f}x in "
            "a race"
        )
    return "\n".join(lines)
