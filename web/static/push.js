// The button with which this browser asks to be notified, also while the page is closed.
(() => {
  'use strict';
  const box = document.getElementById('this-device');
  if (!box) return;
  const button = document.getElementById('notify');
  const note = document.getElementById('notify-note');
  const show = (state) => {
    for (const e of box.querySelectorAll('[data-state]')) e.hidden = e.dataset.state !== state;
    box.dataset.shows = state;
  };
  const say = (text) => { note.textContent = text; };

  const apple = /iPhone|iPad|iPod/.test(navigator.userAgent) || (navigator.platform === 'MacIntel' && navigator.maxTouchPoints > 1);
  if (!window.isSecureContext) return show('insecure');
  if (!('serviceWorker' in navigator) || !('PushManager' in window) || !('Notification' in window)) return show(apple ? 'install' : 'unsupported');

  const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
  // The id that the server gives a browser.
  const idOf = async (endpoint) => {
    const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(endpoint)));
    return [...sum.slice(0, 8)].map((b) => b.toString(16).padStart(2, '0')).join('');
  };
  const ours = (subscription) => {
    const key = subscription?.options?.applicationServerKey;
    return !!subscription && (!key || text(key) === box.dataset.key);
  };
  // A name by which its owner knows the device.
  const name = () => {
    const a = navigator.userAgent;
    const browser = [['Edg/', 'Edge'], ['Firefox/', 'Firefox'], ['SamsungBrowser/', 'Samsung Internet'], ['Chrome/', 'Chrome'], ['Safari/', 'Safari']].find(([mark]) => a.includes(mark));
    const system = [['Android', 'Android'], ['iPhone', 'iPhone'], ['iPad', 'iPad'], ['Windows', 'Windows'], ['Mac', 'Mac'], ['Linux', 'Linux']].find(([mark]) => a.includes(mark));
    return `${browser?.[1] ?? 'Browser'} on ${system?.[1] ?? 'a device'}`;
  };

  const start = async () => {
    const registration = await navigator.serviceWorker.register('/sw.js');
    const subscription = await registration.pushManager.getSubscription();
    if (ours(subscription)) {
      const row = document.querySelector(`[data-device="${await idOf(subscription.endpoint)}"]`);
      if (row) {
        row.querySelector('.tag').hidden = false;
        return show('on');
      }
    }
    show(Notification.permission === 'denied' ? 'denied' : 'off');
  };

  const subscribe = async () => {
    if (await Notification.requestPermission() !== 'granted') return show('denied');
    const registration = await navigator.serviceWorker.ready;
    let subscription = await registration.pushManager.getSubscription();
    if (subscription && !ours(subscription)) { // of an earlier Headwater at this address
      await subscription.unsubscribe();
      subscription = null;
    }
    subscription ??= await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(box.dataset.key) });
    const answer = await fetch('/devices-notified', {
      method: 'POST',
      body: new URLSearchParams({ endpoint: subscription.endpoint, p256dh: text(subscription.getKey('p256dh')), auth: text(subscription.getKey('auth')), name: name() }),
    });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    location.assign('/channels?done=device');
  };

  button.addEventListener('click', async () => {
    button.disabled = true;
    say('');
    try {
      await subscribe();
    } catch (error) {
      say(`It did not work: ${error.message}`);
    }
    button.disabled = false;
  });
  start().catch((error) => { show('unsupported'); say(error.message); });
})();
