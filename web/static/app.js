// What the pages need besides htmx: the colours, the state of the live stream,
// copying a command, and the stream that belongs to a filtered list.
(() => {
  'use strict';
  const root = document.documentElement;

  // Going back in the history replaces the content of the page, so elements are
  // looked up when they are needed.

  // Colours: as the system, light, dark.
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

  // The live stream: say whether it runs, and begin again when the first
  // attempt failed (later ones are htmx's).
  const words = { live: 'live', lost: 'reconnecting' };
  const tell = (state) => {
    const link = document.getElementById('link');
    if (!link || link.dataset.state === state) return;
    link.dataset.state = state;
    link.querySelector('.link-text').textContent = words[state];
  };
  let again = 0;
  const feedIs = (event) => event.target?.id === 'feed';
  document.addEventListener('htmx:sse:after:connection', (event) => {
    if (feedIs(event)) { clearTimeout(again); tell('live'); }
  });
  document.addEventListener('htmx:sse:before:connection', (event) => {
    if (feedIs(event) && event.detail.connection.attempt > 0) tell('lost');
  });
  document.addEventListener('htmx:sse:error', (event) => { if (feedIs(event)) tell('lost'); });
  const retry = (event) => {
    if (!feedIs(event)) return;
    tell('lost');
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
  const showCopy = () => {
    if (navigator.clipboard) document.querySelectorAll('button[data-copy]').forEach((button) => { button.hidden = false; });
  };
  showCopy();
  document.addEventListener('htmx:after:swap', () => { showTheme(); showCopy(); });
})();
