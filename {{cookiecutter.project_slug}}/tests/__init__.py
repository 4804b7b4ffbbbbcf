raise SystemExit(
    "This project is unfinished, because the hooks of its template did not run: nothing checked the"
    " answers, and the files of what was not chosen are still here.\nIn the folder above this one,"
    " generate it again with the same answers:"
    " cookiecutter TEMPLATE --overwrite-if-exists --accept-hooks yes"
)
