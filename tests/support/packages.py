"""The library's flat modules and packages, in the order of their imports."""

FLAT = ("redact", "errors", "types", "paths", "lookup", "methods")
PACKAGES = (
    "densecrf", "io", "metrics", "vlm", "datasets", "draw", "pnp", "filters", "miniature",
    "protocols", "peers", "trained", "evaluate", "book", "tuning", "reports", "bench", "cli",
)  # fmt: skip
