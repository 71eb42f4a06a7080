"""Bytes on storage become clips (uint8, CPU): origins of clips in sources/, where sets lie in storage/."""
