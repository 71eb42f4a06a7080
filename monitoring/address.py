"""Addresses: host and port joined and parted, also those of IPv6; what others call a host that listens everywhere."""

import ipaddress
import socket

# Reserved for documentation, by IP version: nothing is sent there.
_OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def joined(host: str, port: int) -> str:
    """host:port, as URLs and Prometheus' targets have it: [host]:port where the host is an address of IPv6."""
    host = unbracketed(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parted(address: str) -> tuple[str, str]:
    """(host, port) of host:port or [host]:port; of anything else (address, "")."""
    host, colon, port = address.rpartition(":")
    return (unbracketed(host), port) if colon and not address.endswith("]") else (unbracketed(address), "")


def unbracketed(host: str) -> str:
    """The host alone: sockets take ::1 and refuse [::1]."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def family(host: str) -> socket.AddressFamily:
    """How a socket at `host` is addressed. Raises OSError or UnicodeError where it has no address."""
    found = socket.getaddrinfo(
        unbracketed(host) or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return found[0][0]


def announced(host: str, towards: str | None = None) -> str:
    """The address by which others reach what listens at `host`; on "0.0.0.0" and "::" that of the way to `towards`.

    By default that is the way outside.
    """
    host = unbracketed(host)
    version = _everywhere(host)
    if version is None:
        return host
    with socket.socket(_FAMILY[version], socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: asks the routing table which of our addresses faces there.
            probe.connect((towards or _OUTSIDE[version], 9))
        except OSError:
            return _LOOPBACK[version]
        return str(probe.getsockname()[0])


def _everywhere(host: str) -> int | None:
    """The version of IP if `host` stands for all addresses of a machine; None = it is one address, or a name."""
    if not host:
        return 4
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return address.version if address.is_unspecified else None
