"""Where bytes live: store.py is the interface, folder.py and bucket.py are behind it, place.py opens one by URL.

The room's own files import each other; everybody else takes what is named here.
"""

from data_shards.storage.place import canonical, check_url, local_path, open_store
from data_shards.storage.store import Changed, NotFound, Stat, StorageError, Store

__all__ = [
    "Changed",
    "NotFound",
    "Stat",
    "StorageError",
    "Store",
    "canonical",
    "check_url",
    "local_path",
    "open_store",
]
