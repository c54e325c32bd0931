"""Kotlin for Android built and tested without Google's servers: of the same sources and versions as Gradle's build."""
