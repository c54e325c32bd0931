"""Rewrites: same numbers, a graph the runtime likes. One file each; a submodule lists its own in order."""
