"""ARC post-training (arXiv 2505.08175): the sounds, the small model and its three stages, and how well it does."""
