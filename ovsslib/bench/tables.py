"""What the benchmarks measured, as short tables."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def file_name(record: dict[str, Any]) -> str:
    """Name of a record's file: kind, model, type, device."""
    settings, where = record["settings"], record["provenance"]
    parts = [record["kind"].removeprefix("bench-")]
    if "vlm" in settings:
        parts += [settings["vlm"], where["dtype"], where["device"].split(" ")[0]]
        parts += ["compiled"] if settings.get("compiled") else []
        if record["kind"] == "bench-tuning" and settings["split"] != "tune":
            parts.append(settings["split"])
    if record["kind"] == "bench-peers":
        parts += ["random"] if settings["random"] else []
        parts += [settings["classes"], *([] if "vlm" in settings else [where["device"]])]
    return re.sub("[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-")


def text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a table under their keys, numbers with four digits.

    Example:
        >>> print(text([{"way": "ours", "s": 1.23456}, {"way": "other", "s": 20.0}]))
          way     s
         ours 1.235
        other    20
    """
    frame = pd.json_normalize([dict(row) for row in rows])
    return frame.to_string(index=False, float_format="{:.4g}".format, na_rep="")


def heading(record: dict[str, Any]) -> list[str]:
    """What was measured, and where."""
    case, where = record["settings"], record["provenance"]
    head = "all heads" if case["head"] is None else f"head {case['head']}"
    return [
        f"{case['vlm']}, {where['dtype']} on {where['device']} ({where['processor']}, "
        f"{case['threads']} threads)",
        f"{case['image_size']} pixels, "
        + (f"{case['classes']} classes, " if "classes" in case else "")
        + f"{case['rounds']} rounds, layer {case['layer']}, {head}",
    ]


def versus_text(record: dict[str, Any]) -> str:
    """The comparison of salience with the full graph."""
    agreement, memory, spent = record["agreement"], record["memory"], record["seconds"]
    rows = [{"": "seconds per image", **spent, "ratio": record["ratio"]}]
    if memory is not None:
        peaks = {way: memory[way]["net"] / 1e9 for way in spent}
        rows.append({"": "peak memory in GB", **peaks, "ratio": 1 / memory["share"]})
    lines = [
        *heading(record),
        text(rows),
        f"{record['flops'] / 1e9:.1f} GFLOP per image (counted by {record['flops_counted_by']}), "
        f"{record['rate'] / 1e9:.1f} GFLOP per second: {100 * record['share']:.0f} % of a matrix "
        f"product's {record['matmul_rate'] / 1e9:.1f}",
        "largest difference of the maps, round by round: "
        f"{', '.join(_difference(value) for value in agreement['rounds'])}; "
        f"of their sum: {_difference(agreement['sums'])} (allowed: {agreement['tolerance']:g})",
    ]
    if agreement["other_patches"]:
        lines.append(
            f"images with other patches dropped: {agreement['other_patches']}, "
            f"{agreement['wrong_patches']} of them wrongly"
        )
    lines.append(
        f"pixels labelled alike: {100 * statistics.mean(record['labels']):.2f} % on average, "
        f"{100 * min(record['labels']):.2f} % in the worst image"
    )
    return "\n".join([*lines, f"the maps {'agree' if agreement['agree'] else 'DO NOT agree'}"])


def _difference(value: float | str | None) -> str:
    if value is None:
        return "not comparable"
    return value if isinstance(value, str) else f"{value:.1e}"


def batches_text(record: dict[str, Any]) -> str:
    """Images per second by batch size."""
    last = (
        f"salience: images per second; peak: bytes on the GPU; share: of a matrix product's "
        f"{record['matmul_rate'] / 1e12:.2f} TFLOP/s; {record['flops'] / 1e9:.1f} GFLOP per image"
    )
    return "\n".join([*heading(record), text(record["rows"]), last])


def refine_text(record: dict[str, Any]) -> str:
    """Times of the stages, and the pipeline's rates."""
    lines = [text(record["rows"]), "milliseconds per image"]
    streams = record["pipeline"]
    if streams is not None:
        settings = streams["settings"]
        same = "the same" if streams["same_labels"] else "NOT the same"
        lines += [
            f"{settings['vlm']} on {settings['images']} images of Diorama, "
            f"{settings['threads']} threads, images per second: salience alone "
            f"{streams['salience']:.2f}, refinement alone {streams['refinement']:.2f}",
            text(streams["rows"]),
            f"labels are {same} for all numbers of workers",
        ]
    return "\n".join(lines)


def pipeline_text(record: dict[str, Any]) -> str:
    """What refinement costs beside salience."""
    percent = ("share", "alike")
    rows = [
        row | {name: 100 * row[name] for name in percent if name in row} for row in record["rows"]
    ]
    return "\n".join(
        [
            *heading(record),
            text(rows),
            "salience, pipeline: images per second; share: % of the pipeline's time that "
            "refinement takes",
            f"({record['settings']['refiners']} processes for what is not refined in batches); "
            "alike: % of pixels labelled as by pydensecrf",
        ]
    )


def evaluation_text(record: dict[str, Any]) -> str:
    """Rates and memory of evaluation without a model."""
    settings, memory = record["settings"], record["memory"]
    return "\n".join(
        [
            f"{settings['images']} synthetic images of {settings['width']} x {settings['height']} "
            f"({settings['distinct']} different) with {settings['classes']} classes, one thread",
            f"milliseconds per image:\n{text([record['milliseconds']])}",
            f"images per second:\n{text([record['rate']])}",
            f"memory: {memory['first'] / 1e6:.1f} MB after {memory['after']} images, "
            f"{memory['last'] / 1e6:.1f} MB after {settings['images']}",
            f"the counts are {'right' if record['counts_agree'] else 'WRONG'}",
        ]
    )


def dask_text(record: dict[str, Any]) -> str:
    """Overhead per shard of the engines."""
    settings, file, beside = record["settings"], record["file"], record["refinement"]
    return "\n".join(
        [
            f"dry shards; those stored hold {settings['pictures']} images and "
            f"{settings['labels']} labels",
            text(record["rows"]),
            "seconds; rate: shards per second; cpu and memory (bytes): of the process that asks, "
            "Dask's scheduler included; overhead: beyond the serial time divided by the workers",
            f"a job: {record['job_bytes']} bytes; a file of {file['pictures']} images: "
            f"{file['bytes'] / 1e3:.0f} kB",
            f"{beside['workers']} refinement processes start in {beside['start']:.2f} s, and have "
            f"{beside['memory'] / 1e6:.0f} MB each at most (20 classes, 500 x 375)",
            f"each shard was {'done once' if record['complete'] else 'NOT done exactly once'}",
        ]
    )


def tuning_text(record: dict[str, Any]) -> str:
    """Candidates per minute."""
    settings, same = record["settings"], record["agreement"]
    options = settings.get("options", "the paper's options")
    lines = [
        f"{settings['vlm']} and the reward of {settings['reward']} ({settings['size']} pixels, "
        f"{options}) on {settings['images']} images of Diorama {settings['split']}, "
        f"{settings['threads']} threads",
        f"maps of all layers and heads: {record['collect']:.1f} s once, "
        f"{record['bytes'] / 1e6:.1f} MB",
        text(record["rows"]),
        "seconds per candidate; rate: candidates per minute; race: candidates that fall far behind "
        "are dismissed; fair: a pass for each candidate's layer and head; usual: the preset's "
        "rounds and CRF as well; clip: share of the time in the reward",
        f"with the time for the maps, stored is {record['with_collect']:.2f} times as fast as fair",
        f"equal rewards: {100 * same['same']:.2f} %; of values: within {same['largest']:.4f}",
        f"the race judged {100 * record['judged']:.0f} % of candidates times images and ended "
        f"with {'the best candidate' if same['winner'] else 'ANOTHER candidate than the best'}",
    ]
    slow = {row["way"]: row["seconds"] for row in record["rows"]}
    if "usual" in slow:
        lines.append(
            "candidates per minute against the whole pipeline for each: "
            f"{slow['usual'] / slow['stored']:.0f}x stored, {slow['usual'] / slow['race']:.0f}x in "
            "a race"
        )
    return "\n".join(lines)


def peers_text(record: dict[str, Any]) -> str:
    """What each method costs."""
    settings, where = record["settings"], record["provenance"]
    names = "all class names" if settings["classes"] == "all" else "the class names in an image"
    weights = ", random weights" if settings["random"] else ""
    lines = [
        f"{settings['images']} images of {settings['dataset']}, {names}, batches of "
        f"{settings['batch']}, on {where['device']} ({where['processor']}, "
        f"{settings['threads']} threads){weights}"
    ]
    rows = [
        {
            "method": row["method"],
            "model": row["vlm"],
            "seconds": row["seconds"],
            "rate": row["rate"],
            "ratio": row["ratio"],
            **({"memory": row["memory"] / 1e6} if settings["memory"] else {}),
            "parameters": row["parameters"] / 1e6,
            "alike": 100 * row["labels"],
        }
        for row in record["rows"]
    ]
    if rows:
        memory = "memory: peak in MB beyond what there was before the model; "
        lines += [
            text(rows),
            f"seconds: per image; rate: images per second; ratio: of seconds to {rows[0]['method']}"
            f"'s; {memory if settings['memory'] else ''}parameters: million; alike: % of pixels "
            "labelled as in batches of 1",
        ]
    return "\n".join([*lines, *(f"not measured: {k}: {v}" for k, v in record["missing"].items())])


def training_text(record: dict[str, Any]) -> str:
    """What a training step of each model costs."""
    settings, where = record["settings"], record["provenance"]
    rows = [
        row | {"flops": row["flops"] / 1e9, "share": 100 * row["share"]} for row in record["rows"]
    ]
    return "\n".join(
        [
            f"{settings['measured']} steps of each on {where['device']} ({where['processor']}, "
            f"{settings['threads']} threads)",
            text(rows),
            "first: seconds of the first step, in which something may be computed once for each "
            "image; seconds: mean of the others; flops: 1e9 operations a step; share: % of the "
            "machine's matmul rate; minutes: of all steps",
        ]
    )
