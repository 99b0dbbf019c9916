"""What every peer shares: how its settings are told, and how it is built."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ovsslib.errors import OvssError
from ovsslib.io.json import digest
from ovsslib.lookup import check_fields, check_names, kinds_of
from ovsslib.methods import default_model
from ovsslib.pnp.config import fields_of


@dataclass(frozen=True)
class Settings:
    """Base of all settings."""

    later: ClassVar[tuple[str, ...]] = ()
    """Fields that are younger than stored results, see `ovsslib.pnp.config.fields_of`."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values; those of `later` where they are not the default."""
        return fields_of(self, self.later)

    def hash(self) -> str:
        """Ten hexadecimal characters that change when any field does."""
        return digest(self.to_dict(), 10)


def builder(method: Any, matcher: type[Any]) -> Callable[..., Any]:
    """What `ovsslib.load` calls for a method.

    Args:
        method: Its class, with `name` and `settings`, made of a model and settings.
        matcher: The model's class, made of a name, a device, a number type and `download`.

    Returns:
        A function of `vlm` (a name, or a model that is loaded; None for the method's own, see
        `ovsslib.methods.DEFAULTS`), `preset` (there is none), `device`, `dtype`, `download`, and of
        the fields of the method's settings.
    """

    def build(
        vlm: Any = None,
        preset: str | None = None,
        device: Any = None,
        dtype: str | None = None,
        *,
        download: bool = False,
        **overrides: Any,
    ) -> Any:
        if preset is not None:
            raise OvssError(f"{method.name} has no presets; leave the preset out")
        check_names("setting", overrides, kinds_of(method.settings))
        config = method.settings(**overrides)
        model = default_model(method.name) if vlm is None else vlm
        if isinstance(model, str | os.PathLike):
            model = matcher(os.fspath(model), device, dtype, download=download)
        elif not isinstance(model, matcher):
            raise OvssError(f"vlm must be a name, a folder or a loaded model, got {model!r:.80}")
        return method(model, config)

    return build
