"""The network as published, in PyTorch: the truth that everything else is held to. No export tricks here.

Modules are named as in the published checkpoint, so that loading is a comparison and not a translation.
"""
