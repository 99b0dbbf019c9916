"""The segmentation methods, by name."""

from __future__ import annotations

from typing import Any

from ovsslib.lookup import pick, resolve

METHODS: dict[str, str] = {
    "pnp-ovss": "ovsslib.pnp.pipeline:build",
    "raw-clip": "ovsslib.peers.raw_clip:build",
    "maskclip": "ovsslib.peers.maskclip:build",
    "sclip": "ovsslib.peers.sclip:build",
    "clearclip": "ovsslib.peers.clearclip:build",
    "naclip": "ovsslib.peers.naclip:build",
}
"""Name -> `"module:function"` of its builder; a string, so that listing methods imports none."""


def list_methods() -> list[str]:
    """Names that `ovsslib.load` accepts as its first argument.

    Example:
        >>> "pnp-ovss" in list_methods()
        True
    """
    return sorted(METHODS)


def load(method: str, **options: Any) -> Any:
    """Build a segmentation method by name.

    Args:
        method: A name out of `list_methods`, such as `"pnp-ovss"`.
        **options: Passed to the method's builder; for `"pnp-ovss"` see
            `ovsslib.pnp.pipeline.build` (`vlm`, `preset`, `device`, `dtype`, `download`
            and any field of `ovsslib.pnp.config.PnPConfig`).

    Returns:
        A `ovsslib.pnp.result.Segmenter`.

    Raises:
        OvssError: The method, the model or an option is unknown.
    """
    return resolve(pick("method", method, METHODS))(**options)
