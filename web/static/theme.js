// Applies the chosen colours and view before anything is drawn. The choice is kept
// in the browser; ?theme=light or ?theme=dark overrides it for one page.
(() => {
  'use strict';
  const root = document.documentElement;
  const asked = new URLSearchParams(location.search).get('theme');
  let kept = null;
  try { kept = localStorage.getItem('theme'); } catch { /* storage may be refused */ }
  const theme = ['light', 'dark'].includes(asked) ? asked : kept;
  if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
  // Devices are cards unless this browser has chosen the table.
  try { if (localStorage.getItem('view') === 'table') root.dataset.view = 'table'; } catch { /* likewise */ }
})();
