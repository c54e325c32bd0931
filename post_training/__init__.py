"""The method the project is named after: sounds to learn from, a small model, its post-training, and its judges."""
