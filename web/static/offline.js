// The page that stands in for one that could not be loaded: it loads that one as soon as the
// server answers.
(() => {
  'use strict';
  const again = async () => {
    try {
      const answer = await fetch('/icon.svg', { cache: 'no-store' });
      if (answer.ok) location.reload();
    } catch { /* still offline */ }
  };
  window.addEventListener('online', again);
  setInterval(again, 5000);
})();
