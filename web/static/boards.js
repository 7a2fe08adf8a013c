// Arranges the tiles of a board and the pins of a floor plan with a mouse, a finger or keys,
// saves each change at once, and shows one board after the other on a wall.
(() => {
  'use strict';
  const board = () => document.getElementById('board');
  const columns = 12;
  const rows = 8;
  const size = (tile) => [Number(tile.dataset.width), Number(tile.dataset.height)];
  const name = (tile) => tile.querySelector('.board-tile-title').textContent.trim();

  function say(text) {
    const said = document.getElementById('board-said');
    if (said) said.textContent = text;
  }

  // Changes are sent one after the other, so that the last one stands.
  let sending = Promise.resolve();
  const save = (tile, fields) => send(board(), board().dataset.arrange + encodeURIComponent(tile.id), fields);
  let sent = 0;
  function send(whole, to, fields) {
    const mine = ++sent;
    whole.dataset.saving = '';
    sending = sending.then(async () => {
      const response = await fetch(to, { method: 'POST', headers: { Accept: 'application/json' }, body: new URLSearchParams(fields) });
      if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? `The server answered ${response.status}.`);
      if (mine === sent) delete whole.dataset.saving;
    }).catch((error) => {
      say(`Not saved. ${error.message} The page is loaded again.`);
      setTimeout(() => location.reload(), 1500);
    });
  }

  function resize(tile, width, height) {
    const [w, h] = [Math.min(columns, Math.max(1, width)), Math.min(rows, Math.max(1, height))];
    const [oldWidth, oldHeight] = size(tile);
    if (w === oldWidth && h === oldHeight) return false;
    tile.classList.replace(`bw-${oldWidth}`, `bw-${w}`);
    tile.classList.replace(`bh-${oldHeight}`, `bh-${h}`);
    [tile.dataset.width, tile.dataset.height] = [w, h];
    return true;
  }

  const tiles = () => [...board().querySelectorAll(':scope > .board-tile')];
  const following = (tile) => (tile.nextElementSibling?.matches('.board-tile') ? tile.nextElementSibling.id : '');
  // place puts a tile before another one, or to the end. The others move, because an element
  // that moves loses the pointer and the focus.
  const place = (tile, before) => {
    const all = tiles();
    const from = all.indexOf(tile);
    const to = before ? all.indexOf(before) : all.length;
    if (to > from) all.slice(from + 1, to).forEach((t) => board().insertBefore(t, tile));
    else tile.after(...all.slice(to, from));
  };
  const saveSize = (tile) => {
    const [width, height] = size(tile);
    save(tile, { do: 'size', width, height });
    say(`${name(tile)}: ${width} columns wide, ${height} rows high.`);
  };
  const savePlace = (tile) => {
    save(tile, { do: 'move', before: following(tile) });
    say(`${name(tile)}: place ${tiles().indexOf(tile) + 1} of ${tiles().length}.`);
  };

  function drag(event, tile, move, done) {
    event.preventDefault();
    const target = event.target.closest('.grip, .corner, .pin');
    target.setPointerCapture(event.pointerId);
    tile.classList.add('dragged');
    const moved = (e) => { if (e.pointerId === event.pointerId) move(e); };
    const end = (e) => {
      if (e.pointerId !== event.pointerId) return;
      for (const [type, f] of [['pointermove', moved], ['pointerup', end], ['pointercancel', end]]) target.removeEventListener(type, f);
      tile.classList.remove('dragged');
      done();
    };
    for (const [type, f] of [['pointermove', moved], ['pointerup', end], ['pointercancel', end]]) target.addEventListener(type, f);
  }

  document.addEventListener('pointerdown', (event) => {
    const tile = event.target.closest?.('.arranging .board-tile');
    if (!tile || event.button !== 0) return;
    if (event.target.closest('.grip')) {
      const before = following(tile);
      drag(event, tile, (e) => {
        const over = document.elementsFromPoint(e.clientX, e.clientY).map((x) => x.closest('.board-tile')).find((x) => x && x !== tile);
        if (!over) return;
        const r = over.getBoundingClientRect();
        const wide = getComputedStyle(board()).gridTemplateColumns.split(' ').length > 1;
        const late = wide ? e.clientX > r.left + r.width / 2 : e.clientY > r.top + r.height / 2;
        const at = late ? over.nextElementSibling : over;
        if (at !== tile && over !== tile) place(tile, at?.matches('.board-tile') ? at : null);
      }, () => { if (following(tile) !== before) savePlace(tile); });
    } else if (event.target.closest('.corner')) {
      const [width, height] = size(tile);
      const { width: w, height: h } = tile.getBoundingClientRect();
      const style = getComputedStyle(board());
      const narrow = style.gridTemplateColumns.split(' ').length === 1;
      const gap = parseFloat(style.columnGap);
      const column = (board().clientWidth + gap) / columns;
      const row = parseFloat(style.gridAutoRows) + gap;
      drag(event, tile, (e) => resize(tile, narrow ? width : Math.round((w + e.clientX - event.clientX + gap) / column), Math.round((h + e.clientY - event.clientY + gap) / row)),
        () => { if (String(size(tile)) !== String([width, height])) saveSize(tile); });
    }
  });

  document.addEventListener('keydown', (event) => {
    const grip = event.target.closest?.('.arranging .grip');
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!grip || !way || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const tile = grip.closest('.board-tile');
    if (event.shiftKey) {
      const [width, height] = size(tile);
      if (resize(tile, width + way[0], height + way[1])) saveSize(tile);
      return;
    }
    const all = tiles();
    const to = all.indexOf(tile) + way[0] + way[1];
    if (to < 0 || to >= all.length) return;
    place(tile, way[0] + way[1] > 0 ? all[to + 1] : all[to]);
    savePlace(tile);
  });

  // Pins of a floor plan have their places by script, because no element has a style of its
  // own. At an edge of the picture a pin touches it from within.
  function put(pin, x, y) {
    [pin.dataset.x, pin.dataset.y] = [x, y];
    [pin.style.left, pin.style.top, pin.style.transform] = [`${x}%`, `${y}%`, `translate(-${x}%, -${y}%)`];
  }
  function placePins() {
    document.querySelectorAll('.plan').forEach((plan) => {
      plan.style.setProperty('--ratio', plan.dataset.ratio);
      plan.querySelectorAll('.pin').forEach((pin) => put(pin, Number(pin.dataset.x), Number(pin.dataset.y)));
      plan.dataset.placed = '';
    });
  }

  const round = (v) => Math.round(10 * Math.min(100, Math.max(0, v))) / 10;
  function movePin(pin, x, y) { put(pin, round(x), round(y)); }
  function savePin(pin) {
    const { x, y, series } = pin.dataset;
    send(pin.closest('.plan'), pin.closest('.plan').dataset.place, { do: 'move', series, x, y });
    say(`${pin.querySelector('.pin-name').textContent}: ${x} % from the left, ${y} % from the top.`);
    const form = [...document.querySelectorAll('.plan-places form')].find((f) => f.dataset.of === series);
    if (form) [form.elements.x.value, form.elements.y.value] = [x, y];
  }

  document.addEventListener('pointerdown', (event) => {
    const pin = event.target.closest?.('.plan[data-place] .pin');
    if (!pin || event.button !== 0) return;
    const box = pin.closest('.plan').querySelector('.plan-picture').getBoundingClientRect();
    const { left, top, width, height } = pin.getBoundingClientRect();
    const before = pin.dataset.x + pin.dataset.y;
    drag(event, pin, (e) => movePin(pin, 100 * (left + e.clientX - event.clientX - box.left) / Math.max(1, box.width - width), 100 * (top + e.clientY - event.clientY - box.top) / Math.max(1, box.height - height)),
      () => { pin.querySelector('.pin-move').focus(); if (pin.dataset.x + pin.dataset.y !== before) savePin(pin); });
  });

  document.addEventListener('keydown', (event) => {
    const pin = event.target.closest?.('.plan[data-place] .pin');
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!pin || !way || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const step = event.shiftKey ? 5 : 1;
    movePin(pin, Number(pin.dataset.x) + step * way[0], Number(pin.dataset.y) + step * way[1]);
    savePin(pin);
  });

  placePins();
  for (const name of ['htmx:after:swap', 'htmx:sse:after:message']) document.addEventListener(name, placePins);

  document.querySelectorAll('.grip').forEach((grip) => { grip.hidden = false; });

  // On a wall the next board comes only while the server answers.
  const { rotate, next } = board()?.dataset ?? {};
  if (rotate && new URL(next, location).pathname !== location.pathname) {
    setInterval(() => { if (document.documentElement.dataset.stale === undefined && navigator.onLine) location.assign(next); }, 1000 * Number(rotate));
  }
})();
