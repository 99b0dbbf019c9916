"""BridgeTower."""
