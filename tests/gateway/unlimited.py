"""A quota that counts nothing, for parts that are tested without a database."""

from __future__ import annotations


class Unlimited:
    """Lets everything be made."""

    async def spend(self, tenant_id: str, images: int) -> None:
        """Nothing."""

    async def give_back(self, tenant_id: str, images: int) -> None:
        """Nothing."""

    async def made(self, tenant_id: str, pixels: int) -> None:
        """Nothing."""
