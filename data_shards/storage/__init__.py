"""Where bytes live: store.py is the interface, folder.py and bucket.py are behind it, place.py opens one by URL."""
