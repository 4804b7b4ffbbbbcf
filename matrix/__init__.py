"""Proves every combination of a Cookiecutter template's prompts. Independent of the template."""
