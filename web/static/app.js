// What the pages need besides htmx: the colours, the state of the live stream,
// copying a command, and the stream that belongs to a filtered list.
(() => {
  'use strict';
  const root = document.documentElement;

  // Going back in the history replaces the content of the page, so elements are
  // looked up when they are used.

  // Colours: like the system, light, dark.
  const order = ['', 'light', 'dark'];
  const names = { '': 'as the system', light: 'light', dark: 'dark' };
  const showTheme = () => {
    const button = document.getElementById('theme');
    if (!button) return;
    button.hidden = false;
    button.title = `Colours: ${names[root.dataset.theme ?? '']}`;
    button.setAttribute('aria-label', button.title);
  };
  document.addEventListener('click', (event) => {
    if (!event.target.closest?.('#theme')) return;
    const next = order[(order.indexOf(root.dataset.theme ?? '') + 1) % order.length];
    if (next) root.dataset.theme = next; else delete root.dataset.theme;
    try {
      if (next) localStorage.setItem('theme', next); else localStorage.removeItem('theme');
    } catch { /* storage may be refused */ }
    showTheme();
    document.dispatchEvent(new CustomEvent('headwater:theme'));
  });
  showTheme();

  // Devices as cards or as a table.
  const showView = () => {
    const views = document.getElementById('views');
    if (!views) return;
    views.hidden = false;
    views.querySelectorAll('button').forEach((b) => b.setAttribute('aria-pressed', String(b.dataset.view === (root.dataset.view ?? 'cards'))));
  };
  document.addEventListener('click', (event) => {
    const chosen = event.target.closest?.('#views button')?.dataset.view;
    if (!chosen) return;
    if (chosen === 'table') root.dataset.view = chosen; else delete root.dataset.view;
    try { localStorage.setItem('view', chosen); } catch { /* storage may be refused */ }
    showView();
  });
  showView();

  // The title, the icon and the badge of the installed app show how many alerts fire.
  let firing = -1;
  const showFiring = () => {
    const place = document.getElementById('nav-alerts');
    if (!place) return;
    const count = parseInt(place.textContent, 10) || 0;
    const title = (count ? `(${count}) ` : '') + document.title.replace(/^\(\d+\) /, '');
    if (document.title !== title) document.title = title;
    if (count === firing) return;
    firing = count;
    const icon = document.querySelector('link[rel="icon"]');
    icon.href = icon.href.replace(/\?.*/, '') + (count ? `?firing=${count}` : '');
    navigator.setAppBadge?.(count).catch(() => { /* the app is not installed */ });
  };
  showFiring();

  // An open menu closes when its reader has done with it.
  const closeMenus = (but) => document.querySelectorAll('.menu[open]').forEach((menu) => { if (!menu.contains(but)) menu.open = false; });
  document.addEventListener('click', (event) => closeMenus(event.target));
  document.addEventListener('focusin', (event) => closeMenus(event.target));
  document.addEventListener('keydown', (event) => {
    const menu = event.key === 'Escape' && document.querySelector('.menu[open]');
    if (!menu) return;
    menu.open = false;
    menu.querySelector('summary').focus();
  });

  // The live stream. The server sends an event at least every 5 s: without one
  // for 10 s, or when the browser has no network, the values are old, and the page
  // shows that. A stream may be dead without having ended.
  const staleAfter = 10000;
  const words = { wait: 'connecting', live: 'live', lost: 'reconnecting', stale: 'stale', offline: 'offline', expired: 'logged out' };
  const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
  let link = 'wait';
  let heard = Date.now(); // the page itself is as new
  let offline = 0; // since when the browser has no network
  let expired = false; // the session has ended
  let connection = null;
  let again = 0;
  const feedIs = (event) => event.target?.id === 'feed';
  const reasons = { offline: 'The browser is offline.', stale: 'No updates from the server.', expired: 'Your session has expired.' };
  const show = () => {
    const mark = document.getElementById('link');
    if (!mark && !expired) return;
    const state = expired ? 'expired' : offline ? 'offline' : Date.now() - heard > staleAfter ? 'stale' : link;
    const old = state in reasons;
    const text = !old ? '' : `${reasons[state]} Values as of ${clock.format(heard)}.`;
    const note = document.getElementById('stale');
    if (note && note.dataset.text !== text) {
      note.dataset.text = text;
      note.textContent = text;
      if (expired) {
        const again = document.createElement('a');
        again.href = `/log-in?next=${encodeURIComponent(location.pathname + location.search)}`;
        again.textContent = 'Log in';
        note.append(' ', again);
      }
    }
    root.toggleAttribute('data-stale', old);
    if (!mark) return;
    mark.hidden = false;
    if (mark.dataset.state === state) return;
    mark.dataset.state = state;
    mark.querySelector('.link-text').textContent = words[state];
  };
  const linked = (state) => { link = state; show(); };
  // renew ends a stream that may be dead, so that it restarts with the whole
  // state.
  const renew = () => connection?.reader?.cancel().catch(() => {});
  const alive = () => {
    const now = Date.now();
    heard = now;
    if (offline && now - offline > 1000) offline = 0; // a server on this machine
    linked('live');
  };
  document.addEventListener('htmx:sse:after:connection', (event) => {
    if (!feedIs(event)) return;
    clearTimeout(again);
    ({ connection } = event.detail);
    offline = 0;
    expired = false; // someone has logged in meanwhile
    alive();
  });
  document.addEventListener('htmx:sse:before:connection', (event) => {
    if (feedIs(event) && event.detail.connection.attempt > 0) linked('lost');
  });
  document.addEventListener('htmx:sse:after:message', (event) => { if (feedIs(event)) alive(); });
  // The server refuses who has no session, at once or within seconds of its end.
  const refused = (status) => {
    if (status !== 401) return;
    expired = true;
    show();
  };
  document.addEventListener('expired', (event) => { if (feedIs(event)) refused(401); });
  document.addEventListener('htmx:sse:error', (event) => {
    if (!feedIs(event)) return;
    linked('lost');
    refused(event.detail.status);
  });
  // htmx reconnects by itself, but not after a first attempt that failed.
  const retry = (event) => {
    refused(event.detail.ctx?.response?.status);
    if (!feedIs(event)) return;
    linked('lost');
    clearTimeout(again);
    again = setTimeout(() => htmx.trigger('#feed', 'headwater:reconnect'), 2000 + 2000 * Math.random());
  };
  document.addEventListener('htmx:error', retry);
  document.addEventListener('htmx:response:error', retry);
  window.addEventListener('offline', () => { offline = Date.now(); show(); });
  window.addEventListener('online', () => {
    offline = 0;
    show();
    // All browsers of a site reconnect at the same moment.
    setTimeout(() => { connection?.delayCanceller?.(); renew(); }, 1000 * Math.random());
  });
  let renewed = 0;
  setInterval(() => {
    if (document.hidden) return; // htmx pauses the stream
    show();
    const now = Date.now();
    if (now - heard > staleAfter && now - renewed > staleAfter) { renewed = now; renew(); }
  }, 1000);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) show(); });
  if (!navigator.onLine) offline = Date.now();
  show();

  // A patch names what changed in the texts and attributes of parts; patch.go of
  // the server defines its form. A part that differs from what the server expects is
  // requested again.
  document.addEventListener('patch', (event) => {
    if (!feedIs(event)) return;
    let fits = true;
    for (const [id, [count, ...changes]] of Object.entries(JSON.parse(event.detail.data))) {
      const part = document.getElementById(id);
      if (!part) continue;
      const all = [part, ...part.querySelectorAll('*')];
      if (all.length !== count) { fits = false; continue; }
      for (const [at, what, ...how] of changes) {
        const element = all[at];
        if (typeof what === 'number') {
          const text = element.childNodes[what];
          if (text?.nodeType === Node.TEXT_NODE) text.data = how[0]; else fits = false;
        } else if (how.length === 0) {
          element.removeAttribute(what);
        } else if (how.length === 1) {
          element.setAttribute(what, how[0]);
        } else {
          const [start, length, piece] = how;
          const old = element.getAttribute(what) ?? '';
          element.setAttribute(what, old.slice(0, start) + piece + old.slice(start + length));
        }
        if (what === 'datetime') element.title = element.dateTime;
      }
    }
    showFiring();
    if (fits) return;
    root.dataset.misfits = Number(root.dataset.misfits ?? 0) + 1;
    if (Date.now() - renewed < staleAfter) return;
    renewed = Date.now();
    renew();
  });

  // A filtered list comes with the address of its own stream.
  document.addEventListener('htmx:after:swap', (event) => {
    const list = document.getElementById('devices');
    const feed = document.getElementById('feed');
    if (!list || !feed || feedIs(event) || list.dataset.feed === feed.getAttribute('hx-sse:connect')) return;
    const next = feed.cloneNode(false);
    next.removeAttribute('data-htmx-powered');
    next.setAttribute('hx-sse:connect', list.dataset.feed);
    htmx.trigger(feed, 'htmx:abort');
    feed.remove();
    document.body.append(next);
    htmx.process(next);
  });

  // The worker that shows a page of its own while the server cannot be reached. A
  // browser has none where the address is not trusted.
  if (document.querySelector('.bar')) navigator.serviceWorker?.register('/sw.js').catch(() => { /* the pages work without it */ });

  // Copy a command.
  document.addEventListener('click', async (event) => {
    const button = event.target.closest?.('button[data-copy]');
    if (!button) return;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Select and copy';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
  const showCopy = () => {
    if (navigator.clipboard) document.querySelectorAll('button[data-copy]').forEach((button) => { button.hidden = false; });
  };
  showCopy();
  // A field is marked as valid or not by the answer to a check of the form.
  const showInvalid = () => {
    document.querySelectorAll('[data-invalid]').forEach((said) => {
      document.querySelectorAll(`[aria-invalid][aria-describedby~="${CSS.escape(said.id)}"]`).forEach((field) => { field.setAttribute('aria-invalid', said.dataset.invalid); });
    });
  };
  document.addEventListener('htmx:after:swap', () => { showTheme(); showView(); showFiring(); showCopy(); showInvalid(); });
})();
