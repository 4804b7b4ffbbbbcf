"""Proves every combination of a Cookiecutter template's yes/no prompts; knows of no template in particular."""
