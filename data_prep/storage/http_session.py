"""The session of requests for downloads: the system's certificates, the environment's proxies, no ``~/.netrc``."""

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

MAX_REDIRECTS = 10


class _Adapter(HTTPAdapter):
    """Trusts what Python's ``ssl`` trusts (SSL_CERT_FILE and SSL_CERT_DIR too); requests has a list of its own."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=ssl.create_default_context())

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=ssl.create_default_context())

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Add no certificates: those of the context hold."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send the request, or one of its redirects, through the proxy for its URL; ALL_PROXY is ignored."""
        proxies = get_environ_proxies(request.url or "", no_proxy=None)
        options["proxies"] = {scheme: proxies[scheme] for scheme in ("http", "https") if scheme in proxies}
        return super().send(request, *args, **options)


def http_session() -> requests.Session:
    """Return a session that sends a password only to the host for which it was given."""
    session = requests.Session()
    session.trust_env = False  # else a redirect gets the password that ~/.netrc has for its host
    session.max_redirects = MAX_REDIRECTS
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session
