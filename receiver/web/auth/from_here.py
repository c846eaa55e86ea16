"""Whether a request comes straight from this machine, as far as its address, its Host and its headers say."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

# What proxies and tunnels add to a request, by kind, so that the next one of a family is known as well; a browser sends
# none of them. As of 2026 ngrok, localtunnel, zrok, cloudflared, Dev Tunnels and `tailscale serve` add X-Forwarded-For
# and names of their own (tailscale.com/s/serve-headers, developers.cloudflare.com/fundamentals/reference/http-headers);
# load balancers and platforms may come with their own alone (docs.aws.amazon.com/elasticloadbalancing, X-Amzn-Trace-Id;
# envoyproxy.io, "HTTP header manipulation"; fly.io/docs/networking/request-headers; learn.microsoft.com, "Azure Front
# Door", "Application Gateway"). What bore, serveo's TCP and `ssh -R` carry is a raw connection: nothing is added.
_KINDS = (
    # whom the request was for, and from: X-Forwarded-Anything, X-Original-Host, True-Client-Ip, X-Azure-Socketip
    r".*forward(ed|er|ing)(-.*)?",
    r"x-original(-.*)?",
    r"(.*-)?via",
    r"(.*-)?ip(v?[46])?",
    r".*(client|socket|real|remote|user)-?(ip|addr|address|port|host)",
    r"x-(remote|client|proxy|scheme|real|cluster|ssl|url-scheme)(-.*|user-.*|mesh-.*)?",
    # who passed it on
    r"(.*-)?tunnel(-.*)?",
    r"(x-)?(tailscale|ngrok|zrok|frp|pagekite|localtunnel|devtunnels?|tunnelto|serveo|bore|pinggy|localxpose)(-.*)?",
    r"(x-)?(cf|cloudflare|cdn|cloudfront|amzn|amz|envoy|istio|fly|vercel|nf|netlify|render|rndr|railway|koyeb|heroku)-.*",
    r"(x-)?(azure|appservice|arr|fd|ms|was|appengine|cloud|goog|google|gfe|fastly|varnish|akamai|sucuri|incap)-.*",
    r"(x-)?(nginx|haproxy|traefik|kong|consumer|caddy|apache|do-connecting|codespaces?|gitpod|coder|replit|teleport)-.*",
    r"disguised-host|max-forwards|front-end-https|connect-time|x-request-(id|start)|x-b3-.*|x-trace-id|x-varnish",
    # whom a gateway let in: oauth2-proxy, Authelia, authentik, Pomerium
    r"x-(auth-request|webauth|authentik|pomerium)-.*|remote-(user|groups|email|name)|skip-zrok.*",
)
_ADDED = re.compile("|".join(_KINDS), re.IGNORECASE)


def is_passed_on(names: Iterable[str]) -> bool:
    """Say whether a proxy or a tunnel has added one of these headers."""
    return any(map(_ADDED.fullmatch, names))


def is_from_here(peer: str, host: str, names: Iterable[str]) -> bool:
    """Say whether this is somebody on our own machine, or cannot be told from that: a raw TCP tunnel adds nothing."""
    return not is_passed_on(names) and is_loopback(peer) and is_loopback(_name_of(host))


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Say whether a name or address is this machine's own.

    By name as well: a page of another site may have its own name point here (DNS rebinding), but not this one.
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
