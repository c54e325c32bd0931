"""The reference runtime: plays a bundle with numpy and the standard library.

It is the specification that the C++, Kotlin and Swift runtimes follow. It knows bundles, not
checkpoints, and never imports torch: an engine imports its own runtime when a program is loaded.
"""

__version__ = "0.1.0"
