// The service worker: it shows notifications while no page is open, and does what their
// buttons say. It keeps no files.
'use strict';

const here = (address) => {
  try {
    const url = new URL(address, self.location.origin);
    if (url.origin === self.location.origin) return url.href;
  } catch { /* not an address */ }
  return new URL('/alerts', self.location.origin).href;
};

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

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
