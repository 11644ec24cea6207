"""What maintainers run: the documentation site, the check of what is published, and the release. See `hatch.toml`.

Standard library alone, and nothing in here is imported by the packages.
"""
