"""A database for the gateways of this folder, as the tests of the gateway have it."""

from tests.gateway.conftest import database_url, empty_database_url, postgres

__all__ = ["database_url", "empty_database_url", "postgres"]
