#!/bin/sh
# The command line in the images: `docker exec CONTAINER likeness keys create --bootstrap`.
exec /opt/venv/bin/python -m likeness.cli.main "$@"
