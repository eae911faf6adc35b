// The service worker: shows notifications and takes them away, opens the page to decide on, says when we are away.
// It never decides anything, and keeps nothing but the page for when we are away.
"use strict";

const CACHE = "away-{{ version }}";
const KEPT = [{% for path in kept %}"{{ path|escapejs }}"{% if not forloop.last %}, {% endif %}{% endfor %}];
const OFFLINE = "{{ offline|escapejs }}";
const ICON = "{{ icon|escapejs }}";
const BADGE = "{{ badge|escapejs }}";
const GONE_AFTER = 3000; // ms that a settled matter stays in sight: browsers want to see every push shown

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(KEPT)));
});

self.addEventListener("activate", (event) => {
  const old = (name) => name.startsWith("away-") && name !== CACHE;
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))));
});

self.addEventListener("fetch", (event) => {
  const path = new URL(event.request.url).pathname;
  if (event.request.mode === "navigate") {
    event.respondWith(fetch(event.request).catch(() => caches.match(OFFLINE)));
  } else if (event.request.method === "GET" && KEPT.includes(path)) {
    event.respondWith(fetch(event.request).catch(() => caches.match(path)));
  }
});

const read = (event) => {
  try {
    const message = event.data.json();
    return { kind: String(message.kind), tag: String(message.tag), title: String(message.title), body: String(message.body), url: String(message.url) };
  } catch {
    return { kind: "unknown", tag: "unknown", title: "AgentValet", body: "Something waits for you.", url: "/approvals" };
  }
};

const close = async (tag) => {
  for (const shown of await self.registration.getNotifications({ tag })) shown.close();
};

const show = async (message) => {
  const asks = message.kind === "ask" || message.kind === "reminder";
  const settled = message.kind === "withdrawal";
  await self.registration.showNotification(message.title, {
    body: message.body,
    tag: message.tag,
    icon: ICON,
    badge: BADGE,
    data: { url: message.url },
    silent: settled,
    renotify: message.kind === "reminder",
    requireInteraction: asks,
    actions: asks ? [{ action: "approve", title: "Approve" }, { action: "deny", title: "Deny" }] : [],
  });
  if (!settled) return;
  await new Promise((resolve) => setTimeout(resolve, GONE_AFTER)); // a worker that waits for nothing may be ended
  await close(message.tag);
};

self.addEventListener("push", (event) => event.waitUntil(show(read(event))));

// The browser or its push service has ended the subscription: nothing will come any more, so this is the last word.
const ENDED = { kind: "ended", tag: "ended", title: "Notifications have ended on this device", body: "Enable them again under Settings.", url: "/settings" };
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(show(ENDED)));

// Both actions and the notification itself lead to the page that shows the whole call: it is decided on there.
const open = async (notification) => {
  const url = new URL(notification.data?.url ?? "/approvals", self.location.origin);
  if (url.origin !== self.location.origin) return;
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = windows.find((one) => [url.pathname, `/m${url.pathname}`].includes(new URL(one.url).pathname));
  await (there ? there.focus() : self.clients.openWindow(url.href));
};

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification));
});
