// The service worker: it shows notifications while no page is open, and does what their
// buttons say. In place of a page that cannot be loaded it shows one that says so, the only
// page that it keeps.
'use strict';

const here = (address) => {
  try {
    const url = new URL(address, self.location.origin);
    if (url.origin === self.location.origin) return url.href;
  } catch { /* not an address */ }
  return new URL('/alerts', self.location.origin).href;
};

const offline = '/offline';

// keep stores the page with the files that it names.
const keep = async () => {
  const page = await fetch(offline, { cache: 'reload' });
  if (!page.ok) throw new Error(`${offline}: ${page.status}`);
  const files = [...(await page.clone().text()).matchAll(/(?:href|src)="(\/static\/[^"]+)"/g)].map(([, file]) => file);
  await caches.delete(offline);
  const cache = await caches.open(offline);
  await cache.addAll(files);
  await cache.put(offline, page);
};

self.addEventListener('install', (event) => {
  self.skipWaiting();
  // Notifications come first: they work without the page.
  event.waitUntil(keep().catch(() => { /* the next version tries again */ }));
});
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const kept = request.mode === 'navigate' && request.method === 'GET' ? offline : new URL(request.url).pathname.startsWith('/static/') ? request : null;
  if (!kept) return;
  event.respondWith(fetch(request).catch(async (error) => {
    const found = await caches.match(kept);
    if (!found) throw error;
    return found;
  }));
});

self.addEventListener('push', (event) => {
  let n = { title: 'Headwater', body: 'Something happened.', tag: 'headwater' };
  try {
    n = event.data.json();
  } catch { /* a browser must show something */ }
  const actions = n.actions ?? [];
  event.waitUntil(self.registration.showNotification(n.title, {
    body: n.body, tag: n.tag, renotify: true, requireInteraction: n.stay === true, icon: '/icon.png', badge: '/icon.png',
    actions: actions.map(({ action, title }) => ({ action, title })),
    data: { url: n.url ?? '/alerts', actions: Object.fromEntries(actions.map(({ action, url }) => [action, url])) },
  }));
});

// act does what a button says, without a page, and shows what came of it.
const act = async (address, tag) => {
  let title = 'It did not work', body = 'Headwater cannot be reached.';
  try {
    const answer = await fetch(here(address), { method: 'POST', credentials: 'omit', headers: { Accept: 'application/json' } });
    const said = await answer.json();
    title = said.title ?? title;
    body = answer.ok ? said.text ?? '' : said.detail ?? '';
  } catch { /* no connection */ }
  await self.registration.showNotification(title, { body, tag, silent: true, icon: '/icon.png', data: { url: '/alerts', actions: {} } });
};

const open = async (address) => {
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  for (const w of windows) {
    if (w.url === address) return w.focus();
  }
  return self.clients.openWindow(address);
};

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  const { url, actions } = event.notification.data ?? {};
  const address = event.action && actions?.[event.action];
  event.waitUntil(address ? act(address, event.notification.tag) : open(here(url)));
});
