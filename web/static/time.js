// Writes times in the language of the browser, and in its time zone unless they
// belong to a site with one. Without scripts, the text of the server stays.
(() => {
  'use strict';
  const clock = new Intl.DateTimeFormat(undefined, {
    month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
  });
  const today = new Intl.DateTimeFormat(undefined, {
    hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
  });

  const zones = new Map();
  // In the time zone of a site, which is named if it differs from the browser's.
  function sited(t, zone) {
    if (!zones.has(zone)) {
      const fields = { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZone: zone };
      if (zone !== clock.resolvedOptions().timeZone) fields.timeZoneName = 'short';
      zones.set(zone, new Intl.DateTimeFormat(undefined, fields));
    }
    return zones.get(zone).format(t);
  }

  // Ages are rounded down to steps, so that a page does not flicker: [from, step].
  const steps = [[4 * 864e5, 864e5], [6 * 36e5, 36e5], [6e4, 6e4], [0, 1e3]];

  function span(ms) {
    const age = Math.max(0, Math.round(ms / 1000) * 1000);
    const [, step] = steps.find(([from]) => age >= from);
    return headwaterDuration(Math.floor(age / step) * step);
  }

  function words(element) {
    const t = new Date(element.dateTime);
    if (Number.isNaN(t.getTime())) return null;
    const past = Date.now() - t.getTime();
    switch (element.dataset.as) {
      case 'ago':
        if (past < -5000) return `in ${span(-past)}`;
        return past < 3000 ? 'just now' : `${span(past)} ago`;
      case 'for':
        return span(past);
      case 'moment':
        return clock.format(t);
      default:
        if (element.dataset.zone) return sited(t, element.dataset.zone);
        return t.toDateString() === new Date().toDateString() ? today.format(t) : clock.format(t);
    }
  }

  function say(element) {
    const text = words(element);
    if (text !== null && element.textContent !== text) element.textContent = text;
  }

  const all = (root) => root.querySelectorAll('time[data-as]').forEach(say);

  // The page and each update write UTC. It is rewritten before it is painted, so that
  // nothing moves.
  new MutationObserver((changes) => {
    for (const change of changes) {
      const at = change.target.nodeType === Node.TEXT_NODE ? change.target.parentElement : change.target;
      const time = at?.closest?.('time[data-as]');
      if (time) { say(time); continue; }
      for (const node of change.addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        if (node.matches('time[data-as]')) say(node); else all(node);
      }
    }
  }).observe(document.documentElement, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['datetime'] });

  all(document);
  setInterval(() => { if (!document.hidden) all(document); }, 1000);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) all(document); });
})();
