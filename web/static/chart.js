// Draws charts: the history in buckets that keep the extremes, new readings
// appended as they come, anomalies as bands with their sentence. All charts of a page
// show the same time; a pointer, two fingers and the keyboard change it.
(() => {
  'use strict';
  const charts = new Set();
  const known = new WeakMap(); // figure -> Chart
  const reduced = matchMedia('(prefers-reduced-motion: reduce)');
  const shortest = 1; // seconds that a chart shows at least
  const longest = 20 * 366 * 86400;
  const settled = 150; // ms of rest of a wheel or a finger after which the history is read again
  const tableRows = 500;
  const maxStates = 12; // that a timeline names
  const unwanted = /[\u0000-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

  const number = headwaterNumber;
  const part = (options) => new Intl.DateTimeFormat(undefined, { hourCycle: 'h23', ...options });
  const seconds = part({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const minutes = part({ hour: '2-digit', minute: '2-digit' });
  const days = part({ month: 'short', day: 'numeric' });
  const day = part({ weekday: 'short', month: 'short', day: 'numeric' });
  const moment = part({ month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' });

  const period = ([from, to]) => `${moment.format(from * 1000)} to ${moment.format(to * 1000)}`;
  const iso = (t) => new Date(Math.round(t * 1000)).toISOString();
  const local = (t) => new Date(t * 1000 - 60000 * new Date(t * 1000).getTimezoneOffset()).toISOString().slice(0, 19);
  const colourNames = { text: '--text-2', grid: '--line', surface: '--surface', info: '--info', warning: '--warn', critical: '--bad', ink: '--text' };

  // A custom property holds light-dark(...), which only an element resolves.
  function colours(figure) {
    const probe = document.createElement('i');
    figure.append(probe);
    const read = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const out = { lines: [1, 2, 3, 4, 5, 6].map((n) => read(`--series-${n}`)) };
    for (const [name, property] of Object.entries(colourNames)) out[name] = read(property);
    probe.remove();
    return out;
  }

  // What the pointer does on every chart.
  const pointer = {
    y: false, points: { size: 7 },
    drag: { x: true, y: false, setScale: false },
    sync: { key: 'page', setSeries: false, scales: ['x', null], filters: { pub: (type) => type === 'mousemove' } },
    bind: {
      mousedown: (u, target, handle) => (event) => (event.button === 0 && !event.shiftKey ? handle(event) : null),
      dblclick: () => () => null,
    },
  };

  const alpha = (colour, share) => `color-mix(in srgb, ${colour} ${share}%, transparent)`;

  // apart writes the numbers of an axis with enough digits to differ.
  function apart(values) {
    for (let more = 0; ; more++) {
      const texts = values.map((v) => number(v, more));
      if (more > 15 || new Set(texts).size === texts.length) return texts;
    }
  }

  // tableRow is a row of a table: of its head, or one that begins with its name.
  function tableRow(cells, head) {
    const row = document.createElement('tr');
    row.append(...cells.map((text, i) => {
      const cell = document.createElement(head || i === 0 ? 'th' : 'td');
      if (cell.tagName === 'TH') cell.scope = head ? 'col' : 'row';
      cell.textContent = text;
      return cell;
    }));
    return row;
  }

  // grain names what a point of the chart is made of.
  function grain({ bucket_ms: ms, tier, source }) {
    if (source === 'memory') return '';
    if (ms === 0) return 'every reading';
    const [size, unit] = ms >= 864e5 ? [864e5, 'd'] : ms >= 36e5 ? [36e5, 'h'] : ms >= 6e4 ? [6e4, 'min'] : [1e3, 's'];
    const of = { '1m': 'minutes', '1h': 'hours', '1d': 'days' }[tier] ?? 'readings';
    return `${number(Math.round(10 * ms / size) / 10)} ${unit} a point, from ${of}`;
  }

  // time is what all charts of the page show: seconds, up to now or a fixed period.
  const time = {
    span: 0, // of the time up to now, in seconds; 0 if the page shows a fixed period
    home: null, // the fixed period that the page shows first
    fixed: null,
    compare: '', // days by which the line to compare with is older; empty for none

    adopt({ dataset: { span, from, to } }) {
      this.span = Number(span ?? 0) / 1000;
      this.fixed = from ? [Date.parse(from) / 1000, Date.parse(to) / 1000] : null;
      this.home = this.span ? null : this.fixed;
    },
    window() {
      if (this.fixed) return this.fixed;
      const now = Date.now() / 1000;
      return [now - this.span, now];
    },
    atHome() { return this.fixed === this.home; },
    // go shows another time: at once with the data that are there, and after that many
    // ms without another wish with those of its own resolution.
    go(fixed, rest = 0) {
      if (fixed) {
        const length = Math.min(longest, Math.max(shortest, fixed[1] - fixed[0]));
        const middle = (fixed[0] + fixed[1]) / 2;
        const to = Math.min(Date.now() / 1000, middle + length / 2);
        fixed = [to - length, to];
      }
      this.fixed = fixed ?? this.home;
      showTools();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => { bookmark(); charts.forEach((c) => c.refresh()); }, rest);
      this.since = performance.now();
      if (this.drawing) return;
      this.drawing = requestAnimationFrame(() => { this.drawing = 0; charts.forEach((c) => c.frame(true)); });
    },
    // zoom shows 1/factor of the time, with a moment staying where it is.
    zoom(factor, about, rest) {
      const [from, to] = this.window();
      const at = about ?? (from + to) / 2;
      this.go([at - (at - from) / factor, at + (to - at) / factor], rest);
    },
    pan(share, rest) {
      const [from, to] = this.window();
      this.go([from + share * (to - from), to + share * (to - from)], rest);
    },
  };

  // A series of a chart, with its columns: seconds, greatest, least and the line.
  class Series {
    constructor({ site, device, metric, of, unit, kind, name }) {
      Object.assign(this, { site, device, metric, of, unit, name: name ?? metric });
      this.flag = kind === 'flag';
      this.key = of ? `${metric} ${of}` : metric; // as live readings name it
      this.data = [[], [], [], []];
      this.past = [[], []]; // seconds and the line of the time to compare with
      this.episodes = [];
      this.silences = [];
      this.annotations = [];
      this.bucket = 0;
      this.until = 0;
    }

    words(v) { return this.flag ? (v >= 0.5 ? 'on' : 'off') : number(v); }

    async read(from, to, points, line, signal) {
      const { site, device, metric, of } = this;
      const query = new URLSearchParams({ site, device, metric, points, from, ...(to && { to }), ...(of !== undefined && { unit: of }), ...(['last', 'count'].includes(line) && { with: line }) });
      const response = await fetch(`/api/v1/series?${query}`, { headers: { Accept: 'application/json' }, signal });
      if (response.ok) return response.json();
      const problem = await response.json().catch(() => ({}));
      throw new Error(problem.detail ?? `the server answered ${response.status}`);
    }

    // fill takes an answer.
    fill(answer, line) {
      this.bucket = answer.bucket_ms / 1000;
      const to = Date.parse(answer.to) / 1000;
      this.data = [answer.time_ms.map((t) => Math.min(t / 1000 + this.bucket / 2, to)), answer.max, answer.min, answer[line] ?? answer.mean];
      this.episodes = answer.episodes;
      this.silences = answer.silences ?? [];
      this.annotations = answer.annotations ?? [];
      // The last seconds may not have been written when the history was read.
      this.until = to - 5;
    }

    // shifted returns an answer about the past as seconds of the present and the line,
    // with holes where the series paused.
    shifted(answer, line, seconds) {
      const then = new Series(this);
      then.fill(answer, line);
      then.data[0] = then.data[0].map((t) => t + seconds);
      const [x, , , values] = then.drawn(1e-6);
      return [x, values];
    }

    // take appends readings [ms, value], in any order.
    take(points, begin) {
      const [x, max, min, mean] = this.data;
      for (const [ms, value] of points) {
        const t = ms / 1000;
        if (this.bucket > 0 && t < this.until) continue; // in a bucket already
        let i = x.length;
        while (i > 0 && x[i - 1] > t) i--;
        if (i > 0 && x[i - 1] === t) {
          max[i - 1] = min[i - 1] = mean[i - 1] = value;
          continue;
        }
        x.splice(i, 0, t);
        max.splice(i, 0, value);
        min.splice(i, 0, value);
        mean.splice(i, 0, value);
      }
      let old = 0;
      while (old < x.length - 1 && x[old + 1] < begin) old++;
      if (old > 0) this.data.forEach((column) => column.splice(0, old));
    }

    // drawn returns the data with a hole wherever the series paused. The readings of
    // one pixel are one point, with their extremes.
    drawn(pixel) {
      const [x] = this.data;
      const steps = [];
      for (let i = Math.max(1, x.length - 400); i < x.length; i++) steps.push(x[i] - x[i - 1]);
      steps.sort((a, b) => a - b);
      const limit = x.length < 4 ? Infinity : Math.max(6 * steps[steps.length >> 1], 3 * this.bucket, 10);
      const out = [[], [], [], []];
      const last = (c) => out[c].length - 1;
      let many = 1; // readings in the last point
      this.merged = false;
      this.gaps = [];
      for (let i = 0; i < x.length; i++) {
        const near = i > 0 && Math.floor(x[i] / pixel) === Math.floor(x[i - 1] / pixel);
        if (near && !this.flag) {
          many++;
          this.merged = true;
          out[1][last(1)] = Math.max(out[1][last(1)], this.data[1][i]);
          out[2][last(2)] = Math.min(out[2][last(2)], this.data[2][i]);
          out[3][last(3)] += (this.data[3][i] - out[3][last(3)]) / many;
          continue;
        }
        many = 1;
        if (i > 0 && x[i] - x[i - 1] > limit) {
          this.gaps.push([x[i - 1], x[i]]);
          out[0].push((x[i] + x[i - 1]) / 2);
          for (let c = 1; c < 4; c++) out[c].push(null);
        }
        for (let c = 0; c < 4; c++) out[c].push(this.data[c][i]);
      }
      return out;
    }
  }

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.plot = figure.querySelector('.plot');
      this.note = figure.querySelector('p.chart-note');
      this.read = figure.querySelector('.chart-read');
      this.lines = figure.querySelector('.chart-lines');
      this.tier = figure.querySelector('.chart-tier');
      this.table = figure.querySelector('.chart-table');
      const { series, tried, line, kind } = figure.dataset;
      this.series = (series ? JSON.parse(series) : [figure.dataset]).map((s) => new Series(s));
      this.line = line ?? 'mean';
      this.flag = kind === 'flag'; // a low chart of one flag
      this.polled = figure.dataset.poll !== undefined;
      // The alerts that a tried rule would have raised, beside the real ones.
      this.tried = JSON.parse(tried ?? '[]').map((e) => ({ ...e, tried: true }));
      this.waiting = [];
      this.started = false;
      this.loaded = false;
      this.u = null;
      this.dirty = false;
      this.plot.tabIndex = 0;
      this.say('Loading the history');
      // A screen reader announces what the keys choose, not what arrives by itself.
      this.plot.addEventListener('keydown', (event) => this.key(event));
      this.plot.addEventListener('blur', () => { this.read.ariaLive = 'off'; });
      this.plot.addEventListener('dblclick', () => time.go(null));
      this.plot.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
      for (const name of ['pointerdown', 'pointermove', 'pointerup', 'pointercancel']) this.plot.addEventListener(name, (event) => this.pointer(event));
      this.fingers = new Map(); // pointer id -> its place, and the moment under it
      figure.querySelector('.chart-png')?.addEventListener('click', () => this.picture());
      figure.querySelector('.chart-csv')?.addEventListener('click', (event) => this.address(event.currentTarget));
      this.table?.addEventListener('toggle', () => this.fillTable());
      this.noteList = figure.querySelector('.chart-notes');
      this.writing = figure.querySelector('.chart-annotate');
      this.draft = null; // the moment or the period to write about, in seconds
      this.writing?.addEventListener('toggle', () => this.write());
      this.writing?.querySelector('form').addEventListener('submit', (event) => { event.preventDefault(); this.annotate(event.target); });
      this.writing?.querySelector('form').addEventListener('change', (event) => this.typed(event.currentTarget));
      this.plot.addEventListener('pointerdown', (event) => { this.pressed = event.clientX; }, { capture: true });
      this.plot.addEventListener('click', (event) => {
        if (this.u && this.writing?.open && this.u.over.contains(event.target) && Math.abs(event.clientX - this.pressed) < 4) this.about(this.moment(event.clientX));
      });
      new ResizeObserver(() => this.resize()).observe(this.plot);
    }

    size() {
      if (this.figure.dataset.fill !== undefined) return { width: Math.max(100, this.plot.clientWidth), height: Math.max(60, this.plot.clientHeight) };
      return { width: Math.max(200, this.plot.clientWidth), height: this.flag ? 120 : window.innerWidth < 600 ? 200 : 240 };
    }

    points() { return Math.min(2000, Math.max(120, Math.round(this.plot.clientWidth * Math.min(2, devicePixelRatio)))); }

    refresh() { if (this.started) this.load(); }

    // load reads the history of the time that the page shows. What is there stays
    // until the answer has come.
    async load() {
      this.started = true;
      this.abort?.abort();
      const { signal } = this.abort = new AbortController();
      const [from, to] = time.window();
      const since = time.since ?? performance.now();
      time.since = undefined;
      this.asked = Date.now();
      this.loaded = false; // live readings wait for the history
      this.figure.ariaBusy = 'true';
      const points = this.points();
      const range = time.fixed ? [iso(from), iso(to)] : [`-${Math.round(time.span * 1000)}ms`];
      const failures = [];
      const ask = (s, begin, end) => s.read(begin, end, points, this.line, signal).catch((error) => { failures.push(error); });
      const days = Number(time.compare);
      const before = new Date(from * 1000);
      before.setDate(before.getDate() - days); // a day of the calendar, also when the clocks change
      const shift = from - before / 1000;
      const [now, past] = await Promise.all([
        Promise.all(this.series.map((s) => ask(s, ...range))),
        Promise.all(this.series.map((s) => (days ? ask(s, iso(from - shift), iso(to - shift)) : null))),
      ]);
      if (signal.aborted) return;
      this.figure.ariaBusy = 'false';
      this.series.forEach((s, i) => {
        if (now[i]) s.fill(now[i], this.line);
        s.past = past[i] ? s.shifted(past[i], this.line, shift) : [[], []];
      });
      this.loaded = true; // live points continue without the history
      this.first = this.series[0].data[0].length;
      if (now[0]) this.tier.textContent = grain(now[0]);
      this.say(failures.length ? `The history could not be loaded: ${failures[0].message.replace(/\.$/, '')}.`
        : now.some((a) => a?.source === 'memory') ? 'InfluxDB does not answer: the chart shows the last 15 minutes from memory.' : '');
      this.since = since;
      this.shown = `${Math.round(from)} ${Math.round(to)}`;
      this.take(this.waiting.splice(0));
      if (now.some(Boolean) || this.u) this.build();
    }

    say(text) {
      this.note.textContent = text;
      this.note.hidden = !text;
    }

    take(points) {
      if (!this.loaded) {
        this.waiting.push(...points);
        if (this.waiting.length > 5000) this.waiting.splice(0, this.waiting.length - 5000);
        return;
      }
      const [begin, end] = time.window();
      if (time.fixed) points = points.filter(([ms]) => ms >= 1000 * begin && ms < 1000 * end);
      const [one] = this.series;
      one.take(points, begin);
      this.dirty = true;
      const held = one.data[0].length;
      this.figure.dataset.points = held; // for tests
      if (held > (this.first ?? 0) + 6000) { this.first = held; this.load(); }
    }

    // drawn joins the columns of all series: of each the greatest, the least and the
    // line, then the lines to compare with.
    drawn() {
      const [begin, end] = time.window();
      const pixel = (end - begin) / Math.max(1, this.plot.clientWidth * devicePixelRatio);
      const now = this.series.map((s) => s.drawn(pixel));
      const all = [...now, ...this.series.map((s) => s.past)];
      if (all.length === 2 && !all[1][0].length) return [...now[0], []];
      return uPlot.join(all, all.map((table) => table.map(() => 2))); // a hole takes in the points of others in it
    }

    // scaleOf names the scale of a series: there is one for each unit, of which the
    // first two have an axis.
    scaleOf(s) { return s.flag ? 'flag' : `y ${this.line === 'count' ? 'readings' : s.unit ?? ''}`; }

    range(key, low, high) {
      if (key === 'flag') return [-0.15, 1.15];
      if (low === null || high === null) return [0, 1];
      for (const s of this.series) {
        if (this.scaleOf(s) !== key || this.line === 'count') continue;
        for (const { low: l, high: h, baseline } of [...s.episodes, ...this.tried]) {
          for (const bound of [l, h, baseline]) {
            if (bound !== undefined && Math.abs(bound - (low + high) / 2) < 2 * (high - low)) {
              low = Math.min(low, bound);
              high = Math.max(high, bound);
            }
          }
        }
      }
      const least = 0.01 * Math.max(Math.abs(low), Math.abs(high)); // noise must not look like a mountain
      if (high - low < least) { [low, high] = [(low + high - least) / 2, (low + high + least) / 2]; }
      const pad = (high - low) * 0.08 || 1;
      return [low - pad, high + pad];
    }

    build() {
      const left = this.u?.cursor.left ?? -10;
      this.u?.destroy();
      const c = this.colours = colours(this.figure);
      const axis = this.axis();
      const keys = [...new Set(this.series.map((s) => this.scaleOf(s)))];
      const banded = this.line === 'mean' || this.line === 'last';
      const lines = [{}];
      const bands = [];
      this.series.forEach((s, k) => {
        const colour = c.lines[k % c.lines.length];
        const paths = s.flag ? uPlot.paths.stepped({ align: 1 }) : undefined;
        const part = { scale: this.scaleOf(s), paths };
        const edge = { ...part, stroke: alpha(colour, 45), width: 1, points: { show: false }, show: banded };
        bands.push({ series: [lines.length, lines.length + 1], fill: alpha(colour, this.series.length > 1 ? 14 : 22) });
        lines.push(edge, edge, { ...part, stroke: colour, width: 1.75, dash: [[], [8, 3], [2, 3], [8, 3, 2, 3]][k % 4], points: { show: (u) => this.marked(u), size: 5, fill: colour, stroke: colour } });
      });
      this.series.forEach((s, k) => {
        const colour = this.series.length > 1 ? c.lines[k % c.lines.length] : c.text;
        lines.push({ scale: this.scaleOf(s), stroke: alpha(colour, 70), width: 1.25, dash: [3, 4], points: { show: false } });
      });
      this.u = new uPlot({
        ...this.size(),
        padding: [10, keys.length > 1 ? 4 : 24, 0, 4],
        legend: { show: false },
        cursor: pointer,
        scales: {
          x: { time: true, range: () => time.window() },
          ...Object.fromEntries(keys.map((key) => [key, { range: (u, low, high) => this.range(key, low, high) }])),
        },
        series: lines,
        bands: banded ? bands : [],
        axes: [
          this.timeAxis(),
          ...keys.slice(0, 2).map((key, side) => ({
            ...axis,
            scale: key,
            side: side ? 1 : 3,
            grid: { ...axis.grid, show: side === 0 },
            space: 36,
            size: (u, values) => Math.max(34, 14 + 7.2 * Math.max(0, ...(values ?? []).map((v) => v.length))),
            splits: key === 'flag' ? () => [0, 1] : undefined,
            values: (u, splits) => (key === 'flag' ? splits.map((v) => (v ? 'on' : 'off')) : apart(splits)),
          })),
        ],
        hooks: {
          drawClear: [(u) => this.marks(u)],
          draw: [(u) => this.alone(u)],
          setCursor: [(u) => this.readout(u.cursor.idx)],
          setSelect: [(u) => this.select(u)],
        },
      }, this.drawn(), this.plot);
      if (left >= 0) this.u.setCursor({ left, top: 10 }, true, false);
      this.readout(this.u.cursor.idx);
      this.fillTable();
    }

    axis() { return { stroke: this.colours.text, font: '12px system-ui, sans-serif', grid: { stroke: this.colours.grid, width: 1 }, ticks: { show: false } }; }

    timeAxis() { return { ...this.axis(), size: 40, space: 80, values: (u, splits, i, space, step) => this.times(splits, step) }; }

    // select zooms to what was dragged over.
    select(u) {
      const { left, width } = u.select;
      if (width < 4) return;
      const [from, to] = [u.posToVal(left, 'x'), u.posToVal(left + width, 'x')];
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      if (this.writing?.open) this.about(from, to);
      else time.go([from, to]);
    }

    // marked reports whether each point has a mark: they are far enough apart, and
    // none hides the extremes of a bucket.
    marked(u) {
      const [x] = u.data;
      if (this.series.length > 1 || this.series[0].bucket > 0 || this.series[0].merged || x.length === 0) return false;
      return u.valToPos(x.at(-1), 'x') - u.valToPos(x[0], 'x') >= 10 * (x.length - 1);
    }

    // alone draws points with a pause on both sides, for which a line has no length:
    // as a dot on the range that they span.
    alone(u) {
      const { ctx, bbox } = u;
      const [x] = u.data;
      const ratio = devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left - 3 * ratio, bbox.top, bbox.width + 6 * ratio, bbox.height);
      ctx.clip();
      this.series.forEach((s, k) => {
        const [max, min, mean] = u.data.slice(1 + 3 * k, 4 + 3 * k);
        const scale = this.scaleOf(s);
        let run = [];
        for (let i = 0; i <= x.length; i++) {
          if (i < x.length && mean[i] === undefined) continue; // a point of another series
          if (i < x.length && mean[i] !== null) { run.push(i); continue; }
          if (run.length && u.valToPos(x[run.at(-1)], 'x', true) - u.valToPos(x[run[0]], 'x', true) < 4 * ratio) {
            ctx.strokeStyle = alpha(this.colours.lines[k % 6], 45);
            ctx.fillStyle = this.colours.lines[k % 6];
            ctx.lineWidth = 2 * ratio;
            for (const n of run) {
              const at = u.valToPos(x[n], 'x', true);
              ctx.beginPath();
              if (u.series[1 + 3 * k].show) {
                ctx.moveTo(at, u.valToPos(max[n], scale, true));
                ctx.lineTo(at, u.valToPos(min[n], scale, true));
                ctx.stroke();
                ctx.beginPath();
              }
              ctx.arc(at, u.valToPos(mean[n], scale, true), 2.5 * ratio, 0, 2 * Math.PI);
              ctx.fill();
            }
          }
          run = [];
        }
      });
      ctx.restore();
      this.drawnAt();
    }

    // drawnAt notes on the figure what is drawn.
    drawnAt() {
      if (this.since === undefined) return;
      this.figure.dataset.took = Math.round(performance.now() - this.since); // ms from the wish to the drawing
      this.figure.dataset.shown = this.shown;
      this.since = undefined;
    }

    times(splits, step) {
      let day = '';
      return splits.map((t) => {
        const date = new Date(t * 1000);
        if (step >= 86400) return days.format(date);
        const today = days.format(date);
        const text = (step < 60 ? seconds : minutes).format(date);
        const fresh = day !== '' && day !== today;
        day = today;
        return fresh ? `${text}\n${today}` : text;
      });
    }

    // explain shows what the lines and shades mean, as far as there are some.
    explain() {
      const all = this.series.flatMap((s) => [...s.episodes, ...this.tried]);
      const has = (name) => all.some((e) => e[name] !== undefined);
      const shown = { bound: has('low') || has('high'), expected: has('baseline'), gap: this.gaps().length > 0, silence: this.silences().length > 0, note: this.notes().length > 0, past: this.series.some((s) => s.past[0].length) };
      for (const [name, is] of Object.entries(shown)) {
        const key = this.lines.querySelector(`.key-${name}`);
        if (key) key.hidden = !is;
      }
      this.lines.hidden = !Object.values(shown).some(Boolean);
      this.listNotes();
    }

    // notes returns the annotations in view, the earliest first. One of a site is of several
    // series.
    notes() {
      const [from, to] = time.window();
      const all = new Map(this.series.flatMap((s) => s.annotations).map((a) => [a.id, { ...a, begin: Date.parse(a.from) / 1000, end: Date.parse(a.to ?? a.from) / 1000 }]));
      return [...all.values()].filter((a) => a.begin <= to && a.end >= from).sort((a, b) => a.begin - b.begin);
    }

    listNotes() {
      if (!this.noteList) return;
      const all = this.notes();
      const key = JSON.stringify(all);
      if (this.listed === key) return;
      this.listed = key;
      this.noteList.hidden = all.length === 0;
      this.noteList.querySelector('.chart-noted').textContent = all.length === 1 ? '1 note' : `${all.length} notes`;
      this.noteList.querySelector('ul').replaceChildren(...all.map((a) => {
        const item = document.createElement('li');
        const when = document.createElement('strong');
        when.textContent = a.to ? period([a.begin, a.end]) : moment.format(1000 * a.begin);
        item.append(when, ` ${a.text.replace(unwanted, ' ')} (${a.author.replace(unwanted, ' ')}${a.device ? '' : `, all of ${a.site}`})`);
        return item;
      }));
    }

    // noted marks a moment or a period: a dashed line with a diamond, and a bar at the top.
    noted(u, begin, end, colour) {
      const { ctx, bbox } = u;
      const ratio = devicePixelRatio;
      const [left, right] = [begin, end].map((t) => Math.round(u.valToPos(t, 'x', true)));
      ctx.strokeStyle = ctx.fillStyle = colour;
      ctx.lineWidth = ratio;
      ctx.setLineDash([2 * ratio, 3 * ratio]);
      for (const x of new Set([left, right])) {
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      ctx.setLineDash([]);
      ctx.fillRect(left, bbox.top, right - left, 3 * ratio);
      ctx.beginPath();
      for (const [x, y] of [[0, 0], [5, 5], [0, 10], [-5, 5]]) ctx.lineTo(left + x * ratio, bbox.top + y * ratio);
      ctx.fill();
    }

    // write begins an annotation when its form opens, and forgets it when that closes.
    write() {
      const form = this.writing.querySelector('form');
      if (!this.writing.open) {
        this.draft = null;
        this.u?.redraw(false);
        return;
      }
      const places = new Map(this.series.flatMap((s) => [[`${s.site}.${s.device}`, `${s.device} (${s.site})`], [s.site, `all of ${s.site}`]]));
      const sorted = [...places].sort(([a], [b]) => b.includes('.') - a.includes('.'));
      form.elements.where.replaceChildren(...sorted.map(([value, text]) => new Option(text, value)));
      if (this.draft) return;
      const [from, to] = time.window();
      const left = this.u?.cursor.left ?? -1;
      this.about(left >= 0 ? this.u.posToVal(left, 'x') : Math.min(Date.now() / 1000, Math.max(from, to)));
    }

    // about sets the moment or the period to write about.
    about(from, to) {
      const { elements } = this.writing.querySelector('form');
      [elements.from.value, elements.to.value] = [local(from), to ? local(to) : ''];
      this.draft = [from, to ?? from];
      this.u?.redraw(false);
    }

    // typed takes the times as the form has them.
    typed({ elements }) {
      const from = Date.parse(elements.from.value) / 1000;
      if (Number.isFinite(from)) this.draft = [from, Date.parse(elements.to.value) / 1000 || from];
      this.u?.redraw(false);
    }

    async annotate(form) {
      const said = form.querySelector('[role=status]');
      const { where, from, to, text } = form.elements;
      const [site, device] = where.value.split('.');
      const at = (input) => (input.value ? new Date(input.value).toISOString() : '');
      said.textContent = 'Saving';
      try {
        const response = await fetch('/api/v1/annotations', {
          method: 'POST', headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
          body: JSON.stringify({ site, device: device ?? '', from: at(from), to: at(to), text: text.value }),
        });
        if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? `The server answered ${response.status}.`);
      } catch (error) {
        said.textContent = `Not saved. ${error.message}`;
        return;
      }
      said.textContent = '';
      text.value = '';
      this.writing.open = false;
      this.plot.focus({ preventScroll: true });
      charts.forEach((chart) => chart.refresh());
    }

    gaps() { return this.series.length > 1 ? [] : this.series[0].gaps ?? []; }

    silences() {
      const [from, to] = time.window();
      return this.series.flatMap((s) => s.silences).map((s) => [Date.parse(s.from) / 1000, s.until ? Date.parse(s.until) / 1000 : to])
        .filter(([begin, end]) => begin < to && end > from);
    }

    // marks draws pauses, silences and anomalies behind the lines.
    marks(u) {
      this.explain();
      const { ctx, bbox } = u;
      const ratio = devicePixelRatio;
      const at = (t) => u.valToPos(t, 'x', true);
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top - 10 * ratio, bbox.width, bbox.height + 10 * ratio);
      ctx.clip();
      ctx.fillStyle = alpha(this.colours.text, 9);
      for (const [from, to] of this.gaps()) ctx.fillRect(at(from), bbox.top, at(to) - at(from), bbox.height);
      ctx.fillStyle = alpha(this.colours.text, 60);
      for (const [from, to] of this.silences()) ctx.fillRect(at(from), bbox.top + bbox.height - 4 * ratio, at(to) - at(from), 4 * ratio);
      for (const a of this.notes()) this.noted(u, a.begin, a.end, this.colours.ink);
      if (this.draft) this.noted(u, ...this.draft, this.colours.lines[0]);
      for (const s of this.series) {
        for (const e of [...s.episodes, ...this.tried]) {
          const colour = this.colours[e.severity] ?? this.colours.info;
          const start = at(Date.parse(e.start) / 1000);
          const end = at(e.end ? Date.parse(e.end) / 1000 : time.window()[1]);
          const width = Math.max(2 * ratio, end - start);
          if (e.tried) this.hatch(u, start, width);
          else this.flagged(u, start, width, colour);
          if (this.line === 'count') continue; // a bound is of values
          ctx.strokeStyle = e.tried ? this.colours.text : colour;
          ctx.lineWidth = ratio;
          for (const bound of [e.low, e.high]) this.level(u, this.scaleOf(s), bound, start, width, [4, 4]);
          ctx.lineWidth = 1.5 * ratio;
          this.level(u, this.scaleOf(s), e.baseline, start, width, [8, 3, 1.5, 3]);
        }
      }
      ctx.restore();
    }

    // level draws a value, if it is in view, over a time, in dashes of those lengths.
    level({ ctx, bbox, valToPos }, scale, value, start, width, dashes) {
      if (value === undefined) return;
      const y = valToPos(value, scale, true);
      if (y < bbox.top || y > bbox.top + bbox.height) return;
      ctx.setLineDash(dashes.map((length) => length * devicePixelRatio));
      ctx.beginPath();
      ctx.moveTo(start, y);
      ctx.lineTo(start + width, y);
      ctx.stroke();
      ctx.setLineDash([]);
    }

    // flagged marks real alerts: a tint, and a flag at the start, because colour must
    // not be the only sign.
    flagged({ ctx, bbox }, start, width, colour) {
      const ratio = devicePixelRatio;
      ctx.fillStyle = alpha(colour, 14);
      ctx.fillRect(start, bbox.top, width, bbox.height);
      ctx.fillStyle = colour;
      ctx.fillRect(start, bbox.top, Math.max(1.5, 1.5 * ratio), bbox.height);
      ctx.beginPath();
      ctx.moveTo(start, bbox.top - 8 * ratio);
      ctx.lineTo(start + 9 * ratio, bbox.top - 3.5 * ratio);
      ctx.lineTo(start, bbox.top + 1 * ratio);
      ctx.fill();
    }

    // hatch marks the alerts that a rule would have raised: a hatched bar at the foot
    // of the chart.
    hatch({ ctx, bbox }, start, width) {
      const ratio = devicePixelRatio;
      const height = 14 * ratio;
      const foot = bbox.top + bbox.height;
      ctx.save();
      ctx.fillStyle = alpha(this.colours.lines[0], 10);
      ctx.fillRect(start, bbox.top, width, bbox.height);
      ctx.beginPath();
      ctx.rect(start, foot - height, width, height);
      ctx.clip();
      ctx.fillStyle = this.colours.surface;
      ctx.fillRect(start, foot - height, width, height);
      ctx.strokeStyle = this.colours.text;
      ctx.lineWidth = 2 * ratio;
      ctx.strokeRect(start, foot - height, width, height);
      ctx.lineWidth = 1.5 * ratio;
      for (let x = start - height; x < start + width; x += 6 * ratio) {
        ctx.beginPath();
        ctx.moveTo(x, foot);
        ctx.lineTo(x + height, foot - height);
        ctx.stroke();
      }
      ctx.restore();
    }

    // at returns the value of a column at a point of the chart or the nearest before
    // it that is of the series; null where it paused.
    at(column, i) {
      const all = this.u.data[column];
      let n = i;
      while (n > 0 && all[n] === undefined) n--;
      return all[n] ?? null;
    }

    // readout shows the values under the cursor, or the latest, and the anomaly there.
    readout(index) {
      const { data } = this.u;
      const chosen = index !== null && index !== undefined;
      const [one] = this.series;
      const several = this.series.length > 1;
      let i = chosen ? index : data[0].length - 1;
      if (!chosen) while (i >= 0 && this.series.every((s, k) => this.at(3 + 3 * k, i) === null)) i--;
      if (i < 0 || !several && this.at(3, i) === null) {
        this.read.textContent = data[0].length && i >= 0 ? '' : 'no readings in this range';
        return;
      }
      const unitOf = (s) => (this.line === 'count' ? ' readings' : s.unit && !s.flag ? ` ${s.unit}` : '');
      const said = this.series.map((s, k) => {
        const value = this.at(3 + 3 * k, i);
        let text = value === null ? '–' : `${s.words(value)}${unitOf(s)}`;
        const [high, low] = [this.at(1 + 3 * k, i), this.at(2 + 3 * k, i)];
        if (value !== null && high !== low && this.u.series[1 + 3 * k].show) text += ` (${s.words(low)} to ${s.words(high)})`;
        const past = s.past[0].length ? this.at(1 + 3 * this.series.length + k, i) : null;
        if (past !== null) text += `, ${time.compare === '1' ? 'yesterday' : 'last week'} ${s.words(past)}${unitOf(s)}`;
        return several ? `${s.name} ${text}` : text;
      });
      const date = new Date(data[0][i] * 1000);
      let text = `${said.join(' · ')} · ${(date.toDateString() === new Date().toDateString() ? seconds : moment).format(date)}`;
      const there = !chosen ? [] : [...this.series.flatMap((s) => s.episodes), ...this.tried].filter((x) => Date.parse(x.start) <= +date && (!x.end || +date <= Date.parse(x.end)));
      for (const tried of [false, true]) {
        const e = there.find((x) => Boolean(x.tried) === tried);
        if (!e) continue;
        const which = tried ? 'simulated: ' : time.home ? `${e.rule}: ` : '';
        if (e.baseline !== undefined) text += ` · ${e.within_ms ? 'from' : 'expected'} ${one.words(e.baseline)}${unitOf(one)}`;
        text += ` · ${which}${e.sentence.replace(unwanted, ' ')}`;
      }
      this.read.textContent = text + (chosen ? this.noteAt() : '');
    }

    // noteAt says what is written about the time under the cursor.
    noteAt() {
      const { left } = this.u.cursor;
      if (!(left >= 0)) return '';
      const [from, to] = [left - 6, left + 6].map((x) => this.u.posToVal(x, 'x'));
      return this.notes().filter((a) => a.begin <= to && a.end >= from).slice(0, 3).map((a) => ` · note: ${a.text.replace(unwanted, ' ')}`).join('');
    }

    // fillTable writes what is drawn as a table, while that is open.
    fillTable() {
      if (!this.table?.open || !this.u) return;
      const { data } = this.u;
      const columns = this.series.flatMap((s, k) => {
        const name = this.series.length > 1 ? `${s.name} ` : '';
        const unit = this.line === 'count' || s.flag || !s.unit ? '' : ` (${s.unit})`;
        const all = [[`${name}${s.flag ? 'state' : this.line}${unit}`, 3 + 3 * k, s]];
        if (this.u.series[1 + 3 * k].show && !s.flag) all.push([`${name}least${unit}`, 2 + 3 * k, s], [`${name}greatest${unit}`, 1 + 3 * k, s]);
        if (s.past[0].length) all.push([`${name}${time.compare === '1' ? 'yesterday' : 'last week'}${unit}`, 1 + 3 * this.series.length + k, s]);
        return all;
      });
      const rows = [];
      const [from, to] = time.window();
      let more = 0;
      data[0].forEach((t, i) => {
        if (t < from || t > to || this.series.every((s, k) => typeof data[3 + 3 * k][i] !== 'number')) return;
        if (rows.length === tableRows) { more++; return; }
        rows.push(tableRow([moment.format(t * 1000), ...columns.map(([, c, s]) => { const v = c > 3 * this.series.length ? this.at(c, i) : data[c][i]; return typeof v === 'number' ? s.words(v) : '–'; })]));
      });
      this.table.querySelector('thead').replaceChildren(tableRow(['Time', ...columns.map(([name]) => name)], true));
      this.table.querySelector('tbody').replaceChildren(...rows);
      this.table.querySelector('.chart-more').textContent = more ? `${more} more rows: zoom in to see them, or take the CSV.` : '';
    }

    // address lets a link to the CSV mean what the chart shows.
    address(link) {
      const [from, to] = time.window();
      const url = new URL(link.href);
      url.searchParams.set('from', iso(from));
      url.searchParams.set('to', iso(to));
      url.searchParams.set('points', this.points());
      url.searchParams.set('zone', part({}).resolvedOptions().timeZone);
      link.href = url;
    }

    // picture saves the chart as PNG, with its name and its time.
    picture() {
      if (!this.u) return;
      const source = this.u.ctx.canvas;
      const ratio = devicePixelRatio;
      const canvas = document.createElement('canvas');
      const head = 44 * ratio;
      canvas.width = source.width;
      canvas.height = source.height + head;
      const ctx = canvas.getContext('2d');
      ctx.fillStyle = this.colours.surface;
      ctx.fillRect(0, 0, canvas.width, canvas.height);
      ctx.drawImage(source, 0, head);
      ctx.font = `600 ${13 * ratio}px system-ui, sans-serif`;
      let left = 12 * ratio;
      this.series.forEach((s, k) => {
        const name = `${s.site} / ${s.device} ${s.metric}${s.unit ? ` (${s.unit})` : ''}`;
        ctx.fillStyle = this.series.length > 1 ? this.colours.lines[k % 6] : this.colours.ink;
        ctx.fillText(name, left, 18 * ratio);
        left += ctx.measureText(`${name}    `).width;
      });
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      ctx.fillStyle = this.colours.text;
      ctx.fillText(`${period(time.window())} · ${part({}).resolvedOptions().timeZone}`, 12 * ratio, 35 * ratio);
      canvas.toBlob((blob) => {
        const link = document.createElement('a');
        link.href = URL.createObjectURL(blob);
        link.download = `${this.series.map((s) => `${s.device}-${s.metric}`).join('_').slice(0, 100)}.png`;
        link.click();
        this.figure.dataset.picture = blob.size; // for tests
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      }, 'image/png');
    }

    // moment returns the time under a place of the window, in seconds.
    moment(x) { return this.u.posToVal(x - this.u.over.getBoundingClientRect().left, 'x'); }

    // wheel zooms with Ctrl, as pads do for a pinch, and moves sideways.
    wheel(event) {
      if (!this.u) return;
      if (event.ctrlKey) time.zoom(Math.exp(-event.deltaY / (event.deltaMode ? 10 : 250)), this.moment(event.clientX), settled);
      else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) time.pan((event.deltaX || event.deltaY) / this.u.over.clientWidth, settled);
      else return;
      event.preventDefault();
    }

    // pointer moves the time with a finger, or with the mouse and Shift, and zooms with
    // two fingers: the moments that were under them stay there.
    pointer(event) {
      const { fingers } = this;
      const { pointerId: id, clientX: x } = event;
      if (event.type === 'pointerdown') {
        if (!this.u || event.pointerType === 'mouse' && !(event.shiftKey && event.button === 0) || fingers.size > 1) return;
        fingers.set(id, { x, first: x });
        for (const f of fingers.values()) f.moment = this.moment(f.x);
        if (event.pointerType === 'mouse') this.plot.setPointerCapture(id);
      } else if (!fingers.has(id)) {
        return;
      } else if (event.type !== 'pointermove') {
        fingers.delete(id);
        for (const f of fingers.values()) f.moment = this.moment(f.x);
        return;
      }
      const finger = fingers.get(id);
      finger.x = x;
      finger.moved ||= Math.abs(x - finger.first) > 6; // a tap is no move
      if (event.type !== 'pointermove' || !finger.moved) return;
      const { left, width } = this.u.over.getBoundingClientRect();
      const [a, b] = fingers.values();
      const [from, to] = time.window();
      const seconds = b && Math.abs(b.x - a.x) > 10 ? Math.abs((b.moment - a.moment) / (b.x - a.x)) : (to - from) / width; // per pixel
      const begin = a.moment - seconds * (a.x - left);
      time.go([begin, begin + seconds * width], settled);
    }

    key(event) {
      if (!this.u || event.ctrlKey || event.altKey || event.metaKey) return;
      const x = this.u.data[0];
      const now = this.u.cursor.idx;
      const chosen = now !== null && now !== undefined && this.u.cursor.left >= 0;
      const [from, to] = time.window();
      const choose = (i) => {
        if (!x.length) return;
        const first = x.findIndex((t) => t >= from);
        const last = x.findLastIndex((t) => t <= to);
        const at = x[Math.min(last, Math.max(first, i))];
        if (at !== undefined) this.u.setCursor({ left: this.u.valToPos(at, 'x'), top: 10 });
      };
      const steps = {
        ArrowLeft: () => (event.shiftKey ? time.pan(-0.25) : choose((chosen ? now : x.length) - 1)),
        ArrowRight: () => (event.shiftKey ? time.pan(0.25) : choose((chosen ? now : x.length - 2) + 1)),
        Home: () => choose(0),
        End: () => choose(x.length - 1),
        '+': () => time.zoom(2, chosen ? x[now] : undefined),
        '-': () => time.zoom(0.5, chosen ? x[now] : undefined),
        0: () => time.go(null),
        n: () => {
          if (!this.writing) return;
          this.draft = null;
          if (this.writing.open) this.write();
          this.writing.open = true;
          if (chosen) this.about(x[now]);
          this.writing.querySelector('textarea').focus();
        },
        Escape: () => (chosen ? this.u.setCursor({ left: -10, top: -10 }) : time.go(null)),
      };
      const step = steps[{ '=': '+', '_': '-', N: 'n' }[event.key] ?? event.key];
      if (!step) return;
      event.preventDefault();
      this.read.ariaLive = 'polite';
      step();
    }

    resize() {
      if (this.u) this.u.setSize(this.size());
    }

    // frame draws what arrived since the last frame and moves the window.
    frame(force) {
      if (!this.u || document.hidden) return;
      const [from, to] = time.window();
      // A polled chart has no live readings: its buckets are read again as time passes.
      if (this.polled && !time.fixed && this.figure.ariaBusy !== 'true' && Date.now() - this.asked > 1000 * Math.min(600, Math.max(5, (to - from) / this.points()))) this.load();
      if (this.dirty || force) {
        this.dirty = false;
        this.u.setData(this.drawn());
        if (this.u.cursor.idx === null || this.u.cursor.idx === undefined || this.u.cursor.left < 0) this.readout(null);
      }
    }
  }

  // A timeline is what states a flag or a text had, on the time axis of the charts.
  class Timeline extends Chart {
    constructor(figure) {
      super(figure);
      this.spans = []; // {from, to, value}, in seconds
      this.order = []; // the states by colour, which they keep while the page is open
      this.recent = []; // live readings that the history may not have yet
      this.legend = figure.querySelector('.legend');
      this.days = figure.querySelector('.chart-days');
      this.days?.addEventListener('toggle', () => this.fillDays());
    }

    size() { return this.figure.dataset.fill !== undefined ? super.size() : { width: Math.max(200, this.plot.clientWidth), height: 100 }; }

    async load() {
      this.started = true;
      this.abort?.abort();
      const { signal } = this.abort = new AbortController();
      const [from, to] = time.window();
      const since = time.since ?? performance.now();
      this.asked = Date.now();
      this.figure.ariaBusy = 'true';
      const [one] = this.series;
      const { site, device, metric } = one;
      const query = new URLSearchParams({ site, device, metric, from: iso(from), to: iso(to), zone: part({}).resolvedOptions().timeZone });
      let failure = '';
      try {
        const response = await fetch(`/api/v1/states?${query}`, { headers: { Accept: 'application/json' }, signal });
        const answer = await response.json().catch(() => ({}));
        if (!response.ok) throw new Error(answer.detail ?? `the server answered ${response.status}`);
        this.answer = answer;
        this.spans = answer.spans.map((s) => ({ from: s.from_ms / 1000, to: s.to_ms / 1000, value: s.value.replace(unwanted, ' ') }));
        one.episodes = answer.episodes;
        one.silences = answer.silences;
        one.annotations = answer.annotations ?? [];
      } catch (error) {
        failure = error.message.replace(/\.$/, '');
      }
      if (signal.aborted) return;
      this.figure.ariaBusy = 'false';
      this.loaded = true;
      this.say(failure ? `The history could not be loaded: ${failure}.` : '');
      if (failure && !this.answer) return;
      this.tier.textContent = this.answer.more ? 'only the latest: too many readings' : '';
      this.since = since;
      this.shown = `${Math.round(from)} ${Math.round(to)}`;
      this.takeStates();
      this.build();
    }

    // take applies live readings of a flag at once; the history has them some seconds later.
    take(points) {
      const [begin] = time.window();
      this.recent.push(...points.map(([ms, value]) => ({ at: ms / 1000, value: value >= 0.5 ? 'on' : 'off' })));
      this.recent = this.recent.filter((p) => p.at >= Math.max(begin, Date.now() / 1000 - 60)).slice(-1000);
      if (this.loaded && this.u) this.takeStates();
      this.dirty = true;
    }

    takeStates() {
      if (time.fixed) return;
      for (const { at, value } of this.recent.sort((a, b) => a.at - b.at)) {
        const last = this.spans.at(-1);
        if (last && (at <= last.from || value === last.value)) continue;
        if (last) last.to = at;
        this.spans.push({ from: at, to: at, value });
      }
    }

    // until returns the end of a span: the last one is in force up to now.
    until(span) {
      const now = Date.now() / 1000;
      return span === this.spans.at(-1) && now - span.to < 60 ? Math.min(now, time.window()[1]) : span.to;
    }

    scaleOf() { return 'y'; }

    colour(value) { return this.colours.lines[Math.min(5, Math.max(0, this.order.indexOf(value)))]; }

    // drawn has a point in the middle of each span, which the keys choose.
    drawn() {
      const x = this.seen().map((s) => (s.from + s.to) / 2);
      return [x, x.map(() => null)];
    }

    // seen returns the spans in view, cut to it.
    seen() {
      const [from, to] = time.window();
      return this.spans.map((s) => ({ value: s.value, began: s.from, from: Math.max(from, s.from), to: Math.min(to, this.until(s)) })).filter((s) => s.from < s.to);
    }

    build() {
      const left = this.u?.cursor.left ?? -10;
      this.u?.destroy();
      this.colours = colours(this.figure);
      this.u = new uPlot({
        ...this.size(),
        padding: [10, 24, 0, 4],
        legend: { show: false },
        cursor: pointer,
        scales: { x: { time: true, range: () => time.window() }, y: { range: () => [0, 1] } },
        series: [{}, { scale: 'y', stroke: 'transparent', points: { show: false } }],
        axes: [this.timeAxis(), { ...this.axis(), scale: 'y', size: 34, values: () => [], grid: { show: false } }],
        hooks: {
          drawClear: [(u) => this.marks(u)],
          draw: [(u) => this.paint(u)],
          setCursor: [() => this.readout()],
          setSelect: [(u) => this.select(u)],
        },
      }, this.drawn(), this.plot);
      if (left >= 0) this.u.setCursor({ left, top: 10 }, true, false);
      this.explainStates();
      this.readout();
      this.fillTable();
      this.fillDays();
    }

    paint(u) {
      const { ctx, bbox } = u;
      const ratio = devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      ctx.textBaseline = 'middle';
      ctx.textAlign = 'left';
      for (const s of this.seen()) {
        const left = u.valToPos(s.from, 'x', true);
        const width = Math.max(ratio, u.valToPos(s.to, 'x', true) - left);
        ctx.fillStyle = alpha(this.colour(s.value), 30);
        ctx.fillRect(left, bbox.top, width, bbox.height);
        ctx.fillStyle = this.colour(s.value);
        ctx.fillRect(left, bbox.top, Math.min(width, 2 * ratio), bbox.height);
        if (width < ctx.measureText(s.value).width + 12 * ratio) continue;
        ctx.fillStyle = this.colours.ink;
        ctx.fillText(s.value, Math.max(left, bbox.left) + 6 * ratio, bbox.top + bbox.height / 2);
      }
      ctx.restore();
      this.drawnAt();
    }

    // explainStates names the states in view, how often each began and how long it lasted.
    explainStates() {
      const all = new Map();
      const seen = this.seen();
      const [from] = time.window();
      let known = 0;
      for (const s of seen) {
        const one = all.get(s.value) ?? { count: 0, length: 0 };
        one.count += s.began > from + 0.001 ? 1 : 0;
        one.length += s.to - s.from;
        known += s.to - s.from;
        all.set(s.value, one);
      }
      const longest = [...all.keys()].sort((a, b) => all.get(b).length - all.get(a).length);
      this.order.push(...longest.filter((v) => !this.order.includes(v)));
      const items = longest.slice(0, maxStates).map((value) => {
        const { count, length } = all.get(value);
        const item = document.createElement('li');
        const swatch = document.createElement('span');
        swatch.className = `state-swatch swatch-${Math.min(5, this.order.indexOf(value)) + 1}`;
        swatch.ariaHidden = 'true';
        const name = document.createElement('strong');
        name.textContent = value;
        item.append(swatch, name, ` ${headwaterDuration(1000 * length)} (${number(Math.round(1000 * length / known) / 10)} %), began ${count === 1 ? 'once' : `${number(count)} times`}`);
        return item;
      });
      if (longest.length > maxStates) {
        const item = document.createElement('li');
        item.textContent = `and ${longest.length - maxStates} more states`;
        items.push(item);
      }
      const text = items.map((item) => item.textContent).join('\n');
      if (this.said === text || !this.legend) return;
      this.said = text;
      this.legend.replaceChildren(...items);
    }

    // readout shows the state under the cursor, or the latest.
    readout() {
      const { left } = this.u.cursor;
      const chosen = left !== null && left !== undefined && left >= 0;
      const at = chosen ? this.u.posToVal(left, 'x') : Infinity;
      const seen = this.seen();
      const s = chosen ? seen.find((x) => x.from <= at && at < x.to) : seen.at(-1);
      if (!s) {
        this.read.textContent = seen.length ? '' : 'no readings in this range';
        return;
      }
      const cut = s.began <= Date.parse(this.answer.from) / 1000; // it began earlier
      this.read.textContent = `${s.value} · ${cut ? 'since before' : 'from'} ${moment.format(1000 * s.began)}, ${cut ? 'at least ' : ''}${headwaterDuration(1000 * (s.to - s.began))}${chosen ? this.noteAt() : ''}`;
    }

    fillTable() {
      if (!this.table?.open || !this.u) return;
      const seen = this.seen();
      const rows = seen.slice(0, tableRows).map((s) => tableRow([moment.format(1000 * s.began), moment.format(1000 * s.to), s.value, headwaterDuration(1000 * (s.to - s.began))]));
      this.table.querySelector('thead').replaceChildren(tableRow(['From', 'To', 'State', 'Duration'], true));
      this.table.querySelector('tbody').replaceChildren(...rows);
      this.table.querySelector('.chart-more').textContent = seen.length > tableRows ? `${seen.length - tableRows} more rows: zoom in to see them.` : '';
    }

    // fillDays writes the days of the time that was read last.
    fillDays() {
      if (!this.days?.open || !this.answer) return;
      this.days.querySelector('tbody').replaceChildren(...this.answer.days.slice(0, tableRows).map((d) => {
        const row = tableRow([day.format(new Date(`${d.day}T00:00`)), d.value.replace(unwanted, ' '), number(d.count), headwaterDuration(d.ms)]);
        row.cells[2].className = row.cells[3].className = 'end';
        return row;
      }));
    }

    // frame moves the window. The states of a text do not come by themselves.
    frame(force) {
      if (!this.u || document.hidden) return;
      const [from, to] = time.window();
      if (!time.fixed && this.figure.ariaBusy !== 'true' && Date.now() - this.asked > 1000 * Math.min(600, Math.max(10, (to - from) / this.points()))) this.load();
      if (!this.dirty && !force) return;
      this.dirty = false;
      this.u.setData(this.drawn());
      this.explainStates();
      if (!(this.u.cursor.left >= 0)) this.readout();
    }
  }

  // The controls of the time, if the page has some; they may be on one that has no
  // chart yet.
  const tools = () => document.querySelector('.chart-tools');

  function showTools() {
    const bar = tools();
    if (!bar) return;
    const [from, to] = time.window();
    bar.dataset.ready = '';
    bar.querySelector('[data-go="home"]').disabled = time.atHome();
    bar.querySelector('.chart-window').textContent = time.atHome() ? '' : period([from, to]);
    bar.querySelector('[data-compare]').value = time.compare;
    const form = bar.querySelector('form');
    if (!form.contains(document.activeElement)) [form.elements.from.value, form.elements.to.value] = [local(from), local(to)];
  }

  // bookmark keeps in the address of the page what its charts show.
  function bookmark() {
    const bar = tools();
    if (!bar) return;
    const [from, to] = time.window();
    const url = new URL(location);
    const set = (name, value) => (value ? url.searchParams.set(name, value) : url.searchParams.delete(name));
    if (time.fixed || bar.dataset.bookmark === '') {
      set('from', time.atHome() ? '' : iso(from));
      set('to', time.atHome() ? '' : iso(to));
    } else {
      set('from', bar.dataset.bookmark);
      set('to', '');
    }
    set('compare', time.compare);
    if (url.href !== location.href) history.replaceState(history.state, '', url);
  }

  document.addEventListener('click', (event) => {
    const go = event.target.closest?.('.chart-tools [data-go]')?.dataset.go;
    if (!go) return;
    ({ back: () => time.pan(-0.5), on: () => time.pan(0.5), in: () => time.zoom(2), out: () => time.zoom(0.5), home: () => time.go(null) })[go]();
  });
  document.addEventListener('click', (event) => {
    const link = event.target.closest?.('a[data-keep], a[data-rule]');
    if (!link) return;
    const url = new URL(link.href);
    if (link.dataset.rule !== undefined) { // a limit that nothing of what is seen exceeds
      const chart = known.get(link.closest('figure'));
      const [from, to] = time.window();
      const [x, max] = chart.series[Number(link.dataset.rule)].data;
      const most = Math.max(...max.filter((_, i) => x[i] >= from && x[i] <= to));
      if (Number.isFinite(most)) url.searchParams.set('above', Number(most.toPrecision(4)));
    } else {
      const here = new URLSearchParams(location.search);
      for (const name of ['from', 'to', 'compare']) if (here.has(name)) url.searchParams.set(name, here.get(name)); else url.searchParams.delete(name);
    }
    link.href = url;
  });
  document.addEventListener('change', (event) => {
    if (!event.target.matches?.('.chart-tools [data-compare]')) return;
    time.compare = event.target.value;
    bookmark();
    charts.forEach((chart) => chart.refresh());
  });
  document.addEventListener('submit', (event) => {
    if (!event.target.matches?.('.chart-tools form')) return;
    event.preventDefault();
    const [from, to] = ['from', 'to'].map((name) => Date.parse(event.target.elements[name].value) / 1000);
    if (from < to) time.go([from, to]);
  });

  // A device may have many metrics: a chart loads when it comes near the view.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      known.get(entry.target).load();
    }
  }, { rootMargin: '800px' });

  function find() {
    if (typeof uPlot === 'undefined') return;
    charts.forEach((chart) => { if (!chart.figure.isConnected) { chart.abort?.abort(); chart.u?.destroy(); charts.delete(chart); } });
    document.querySelectorAll('figure.chart').forEach((figure) => {
      if (known.has(figure)) return;
      if (charts.size === 0) {
        time.adopt(figure);
        const compare = !tools() ? '' : new URLSearchParams(location.search).get('compare');
        time.compare = ['1', '7'].includes(compare) ? compare : '';
      }
      const chart = new (figure.matches('.chart-states') ? Timeline : Chart)(figure);
      known.set(figure, chart);
      charts.add(chart);
      near.observe(figure);
    });
    if (charts.size) showTools();
  }

  find();
  document.addEventListener('htmx:after:swap', find);
  const all = (f) => [...charts].filter((chart) => !chart.polled).forEach(f);
  // Live readings are for the chart of their unit, or the one of a metric of which no unit
  // was known when the page was made.
  document.addEventListener('points', (event) => {
    for (const [key, points] of Object.entries(JSON.parse(event.detail.data))) {
      const of = (name) => [...charts].find((chart) => !chart.polled && chart.series[0].key === name);
      (of(key) ?? of(key.split(' ', 1)[0]))?.take(points);
    }
  });
  document.addEventListener('episodes', (event) => {
    const episodes = JSON.parse(event.detail.data);
    all((chart) => {
      if (!time.atHome()) return; // those are of the time that the page showed first
      const [one] = chart.series;
      one.episodes = episodes.filter((e) => e.metric === one.metric && (chart.figure.dataset.only === undefined || !e.unit || e.unit === one.of));
      chart.dirty = true;
    });
  });
  // A stream that reconnected may have missed readings: ask for the history again.
  let connected = false;
  document.addEventListener('htmx:sse:after:connection', (event) => {
    if (event.target?.id !== 'feed') return;
    if (connected) charts.forEach((chart) => chart.refresh());
    connected = true;
  });
  const repaint = () => charts.forEach((chart) => chart.u && chart.build());
  document.addEventListener('headwater:theme', repaint);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);

  let last = 0;
  const slide = reduced.matches ? 5000 : 1000;
  setInterval(() => {
    const force = Date.now() - last >= slide;
    if (force) last = Date.now();
    charts.forEach((chart) => chart.frame(force));
  }, 250);
})();
