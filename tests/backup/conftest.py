"""Databases as the gateway's tests have them."""

from tests.gateway.conftest import empty_database_url, postgres

__all__ = ["empty_database_url", "postgres"]
