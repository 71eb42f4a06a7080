"""Where bytes live: store.py is the interface, folder.py and bucket.py are behind it, place.py opens one by URL.

The room's own files import each other; everybody else takes what is named here.
"""

from data_shards.storage.place import check_url, open_store, without_slash
from data_shards.storage.store import Changed, NotFound, Stat, StorageError, Store

__all__ = ["Changed", "NotFound", "Stat", "StorageError", "Store", "check_url", "open_store", "without_slash"]
