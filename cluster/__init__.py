"""The machines: runs trainer's loop on the workers of a Ray cluster, embedded or given. The only import of ray."""
