"""Proves every combination of a Cookiecutter template's yes/no prompts. It is independent of the template."""
