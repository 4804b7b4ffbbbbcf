from {{ cookiecutter.package_name }}.server import mcp

__all__ = ["mcp"]
