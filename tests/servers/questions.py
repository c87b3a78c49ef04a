"""Each proxy's question as it was recorded, and what that proxy always sends."""

from __future__ import annotations

from authz.core.model import Peer
from tests.servers.raw_http import recorded

PROXY = Peer(address="127.0.0.1", trusted=True)
CANARY = "c4n4ry-credential"

# Each recording, at the path where its proxy asks `authz`.
TRAEFIK = recorded("k1-traefik").to("/traefik?x=1")
NGINX = recorded("k2-nginx").to("/nginx")
INGRESS = recorded("k3-ingress-nginx").to("/nginx?from=nginx")
CADDY = recorded("k4-caddy").to("/caddy?from=caddy")
HAPROXY = recorded("k8-haproxy").to("/haproxy")
ENVOY = recorded("k5-envoy")
ENVOY = ENVOY.to("/envoy" + ENVOY.target)
ENVOY_PREFIX = recorded("k6-envoy-prefix")

# The same with a request that is plain to read.
PLAIN = "/documents/17?q=a%20b&mode=ok"
PLAIN_TRAEFIK = TRAEFIK.edited(x_forwarded_uri=PLAIN)
PLAIN_CADDY = CADDY.edited(x_forwarded_uri=PLAIN)
PLAIN_ENVOY = ENVOY.to("/envoy" + PLAIN)
PLAIN_NGINX = NGINX.edited(x_original_uri=PLAIN).plus(
    ("X-Original-Method", "POST"),
    ("X-Forwarded-Host", "app.example"),
    ("X-Forwarded-Proto", "http"),
    ("X-Real-IP", "127.0.0.1"),
)
# With what its configuration must set: HAProxy itself says nothing of the request.
PLAIN_HAPROXY = HAPROXY.plus(
    ("x-original-method", "POST"),
    ("x-original-uri", PLAIN),
    ("x-forwarded-host", "app.example"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-for", "127.0.0.1"),
)
PLAIN_INGRESS = INGRESS.edited(x_original_url=f"http://app.example{PLAIN}", x_original_uri=None)

QUESTIONS = {
    "traefik": PLAIN_TRAEFIK,
    "nginx": PLAIN_NGINX,
    "ingress-nginx": PLAIN_INGRESS,
    "caddy": PLAIN_CADDY,
    "envoy": PLAIN_ENVOY,
    "haproxy": PLAIN_HAPROXY,
}

REQUIRED = {
    "traefik": (
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-uri",
        "x-forwarded-for",
    ),
    "nginx": (
        "x-original-uri",
        "x-original-method",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    ),
    "ingress-nginx": ("x-original-url", "x-original-method", "x-real-ip"),
    "caddy": ("host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri", "x-forwarded-for"),
    "envoy": ("host",),
    "haproxy": (
        "x-original-method",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-original-uri",
        "x-forwarded-for",
    ),
}
OPTIONAL = {"envoy": ("x-forwarded-for", "x-forwarded-proto")}
PAIRS = [(name, header) for name, headers in REQUIRED.items() for header in headers]
