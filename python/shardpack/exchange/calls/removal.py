"""The calls of a store that list keys and remove what lies under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.exchange.calls.base import StoreBase
from shardpack.exchange.upkeep import delete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.exchange.types import DeleteReport, ManifestRef

__all__ = ["RemovalCalls"]


class RemovalCalls(StoreBase):
    """Listing and removing."""

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """List the keys that begin with a prefix, in the order of their UTF-8 bytes.

        Args:
            prefix: The beginning; a slash at its end is kept, so that ``"a/"`` leaves out ``"ab"``.

        Returns:
            The keys, without the base prefix of the store unless ``prefix`` begins with it.
        """
        space = self.space
        with_base = bool(space.base_prefix) and prefix.startswith(f"{space.base_prefix}/")
        for info in space.objects.list(space.full_prefix(prefix)):
            key = info.key if with_base else space.relative(info.key)
            # Where a folder below the base prefix has its very name, only the full key is clear.
            yield key if space.full(key) == info.key else info.key

    def delete_key(self, key: str) -> None:
        """Remove an object, and the indexes beside it where it is a shard archive.

        Args:
            key: Its key; one that is not there is no error.

        Raises:
            ValueError: It is the virtual key of a member: archives are not changed.
            StorageError: The store refused.
        """
        delete.delete_key(self.space, key)

    def delete_prefix(
        self,
        prefix: str,
        *,
        regex: str | None = None,
        batch_size: int = 1000,
        everything: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Remove all objects whose keys begin with a prefix.

        Args:
            prefix: The beginning of their keys; nothing outside of the base prefix is touched.
            regex: Only keys in which this is found; keys are as ``list_keys`` gives them.
            batch_size: Most keys of one request, at most 1000.
            everything: Allow an empty prefix where there is no base prefix either.
            dry_run: Remove nothing, count only.

        Returns:
            The number of objects that are gone.

        Raises:
            ValueError: This would empty the whole bucket, and ``everything`` is not set.
            StorageError: Some could not be removed; raised when all others are gone.
        """
        return delete.delete_prefix(
            self.space,
            prefix,
            regex=regex,
            batch_size=batch_size,
            everything=everything,
            dry_run=dry_run,
        )

    def delete_manifest(
        self,
        manifest: ManifestRef,
        *,
        delete_manifests: bool = True,
        dedupe: bool = True,
        dry_run: bool = False,
        force: bool = False,
    ) -> DeleteReport:
        """Remove all that a manifest names, the manifests it refers to, and at last itself.

        All manifests are read first: where one that is referred to is missing or cannot be read,
        nothing is removed, and the errors name it. Indexes beside archives go with them. Where
        something could not be removed, the manifests stay, so that the call can be repeated. A
        member of an archive cannot be removed alone: archives that entries name only by their
        members stay, and stand among the errors.

        Args:
            manifest: Its key, or its entries.
            delete_manifests: Remove the manifests too.
            dedupe: Count each key once however often it is named; takes memory for each.
            dry_run: Remove nothing, count only.
            force: Remove what can be found in spite of manifests that are missing, as after a
                removal that was interrupted, or cannot be read; in the second case all manifests
                stay.

        Returns:
            How many went, and what did not, with the reason, by key.

        Raises:
            ManifestNotFoundError: There is no such manifest.
        """
        return delete.delete_manifest(
            self.space,
            manifest,
            delete_manifests=delete_manifests,
            dedupe=dedupe,
            dry_run=dry_run,
            force=force,
        )
