"""For programs that load a file, such as `fastmcp run server.py`."""

if __name__ == "__main__":
    from {{ cookiecutter.package_name }}.__main__ import main

    main()
else:
    from {{ cookiecutter.package_name }}.server import mcp

    __all__ = ["mcp"]
