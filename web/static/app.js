// What the pages need besides htmx: the colours, the state of the live stream,
// copying a command, and the stream that belongs to a filtered list.
(() => {
  'use strict';
  const root = document.documentElement;

  // Colours: as the system, light, dark.
  const theme = document.getElementById('theme');
  if (theme) {
    const names = { '': 'as the system', light: 'light', dark: 'dark' };
    const show = () => {
      const now = root.dataset.theme ?? '';
      theme.setAttribute('aria-label', `Colours: ${names[now]}`);
      theme.title = `Colours: ${names[now]}`;
    };
    theme.hidden = false;
    show();
    theme.addEventListener('click', () => {
      const order = ['', 'light', 'dark'];
      const next = order[(order.indexOf(root.dataset.theme ?? '') + 1) % order.length];
      if (next) root.dataset.theme = next; else delete root.dataset.theme;
      try {
        if (next) localStorage.setItem('theme', next); else localStorage.removeItem('theme');
      } catch { /* storage may be refused */ }
      show();
      document.dispatchEvent(new CustomEvent('headwater:theme'));
    });
  }

  // The live stream: say whether it runs, and begin again when the first
  // attempt failed (later ones are htmx's).
  const link = document.getElementById('link');
  const tell = (state, text) => {
    if (!link || link.dataset.state === state) return;
    link.dataset.state = state;
    link.querySelector('.link-text').textContent = text;
  };
  let again = 0;
  const feedIs = (event) => event.target?.id === 'feed';
  document.addEventListener('htmx:sse:after:connection', (event) => {
    if (feedIs(event)) { clearTimeout(again); tell('live', 'live'); }
  });
  document.addEventListener('htmx:sse:before:connection', (event) => {
    if (feedIs(event) && event.detail.connection.attempt > 0) tell('lost', 'reconnecting');
  });
  document.addEventListener('htmx:sse:error', (event) => { if (feedIs(event)) tell('lost', 'reconnecting'); });
  const retry = (event) => {
    if (!feedIs(event)) return;
    tell('lost', 'reconnecting');
    clearTimeout(again);
    again = setTimeout(() => htmx.trigger('#feed', 'headwater:reconnect'), 3000);
  };
  document.addEventListener('htmx:error', retry);
  document.addEventListener('htmx:response:error', retry);

  // A filtered list brings the address of its own stream.
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
  if (navigator.clipboard) document.querySelectorAll('button[data-copy]').forEach((button) => { button.hidden = false; });
})();
