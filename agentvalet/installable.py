"""What makes the site an app on a phone: the web app manifest, the service worker, the page for when we are away."""

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

_STYLES = ("css/tokens.css", "css/app.css", "css/queue.css", "img/icon.svg")  # of the page for when we are away


@require_safe
@cache_control(max_age=3600)
def manifest(request: HttpRequest) -> HttpResponse:
    """https://www.w3.org/TR/appmanifest/"""
    content: dict[str, Any] = {
        "id": "/",
        "name": "AgentValet",
        "short_name": "AgentValet",
        "description": "Approve what your agents want to do.",
        "start_url": reverse("approvals"),
        "scope": "/",
        "display": "standalone",
        "background_color": "#f6f6f3",
        "theme_color": "#17242e",
        "icons": [
            {"src": static("img/icon.svg"), "type": "image/svg+xml", "sizes": "any"},
            {"src": static("img/icon-192.png"), "type": "image/png", "sizes": "192x192"},
            {"src": static("img/icon-512.png"), "type": "image/png", "sizes": "512x512"},
            {
                "src": static("img/icon-maskable-512.png"),
                "type": "image/png",
                "sizes": "512x512",
                "purpose": "maskable",
            },
        ],
    }
    return JsonResponse(content, content_type="application/manifest+json")


@require_safe
@cache_control(no_cache=True)
def service_worker(request: HttpRequest) -> HttpResponse:
    """At /sw.js, so that the whole site is its scope; it names the static files of this version."""
    kept = [reverse("offline"), *(static(name) for name in _STYLES)]
    context = {
        "offline": reverse("offline"),
        "kept": kept,
        "version": hashlib.sha256(" ".join(kept).encode()).hexdigest()[:12],
        "icon": static("img/icon-192.png"),
        "badge": static("img/badge-96.png"),
    }
    return render(request, "installable/sw.js", context, content_type="text/javascript; charset=utf-8")


@require_safe
@cache_control(max_age=3600)
def offline(request: HttpRequest) -> HttpResponse:
    """Kept by the service worker. It is the same for everybody."""
    return render(request, "installable/offline.html")
