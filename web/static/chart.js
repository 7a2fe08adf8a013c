// Draws the charts of a device: the history in buckets that keep the extremes,
// new readings appended as they come, anomalies as bands with their sentence.
(() => {
  'use strict';
  const charts = new Map(); // metric, and its unit if there is one -> Chart
  const reduced = matchMedia('(prefers-reduced-motion: reduce)');

  const number = headwaterNumber;
  const part = (options) => new Intl.DateTimeFormat(undefined, { hourCycle: 'h23', ...options });
  const seconds = part({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const minutes = part({ hour: '2-digit', minute: '2-digit' });
  const days = part({ month: 'short', day: 'numeric' });
  const moment = part({ month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' });

  // A custom property holds light-dark(...), which only an element resolves.
  function colours(figure) {
    const probe = document.createElement('i');
    figure.append(probe);
    const read = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const out = {
      line: read('--accent'), text: read('--text-2'), grid: read('--line'), surface: read('--surface'),
      info: read('--info'), warning: read('--warn'), critical: read('--bad'),
    };
    probe.remove();
    return out;
  }

  const alpha = (colour, share) => `color-mix(in srgb, ${colour} ${share}%, transparent)`;

  // apart writes the numbers of an axis with enough digits to differ.
  function apart(values) {
    for (let more = 0; ; more++) {
      const texts = values.map((v) => number(v, more));
      if (more > 15 || new Set(texts).size === texts.length) return texts;
    }
  }

  // grain names what a point of the chart is made of.
  function grain({ bucket_ms: ms, tier, source }) {
    if (source === 'memory') return '';
    if (ms === 0) return 'every reading';
    const [size, unit] = ms >= 864e5 ? [864e5, 'd'] : ms >= 36e5 ? [36e5, 'h'] : ms >= 6e4 ? [6e4, 'min'] : [1e3, 's'];
    const of = { '1m': 'minutes', '1h': 'hours', '1d': 'days' }[tier] ?? 'readings';
    return `${number(Math.round(10 * ms / size) / 10)} ${unit} a point, from ${of}`;
  }

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.plot = figure.querySelector('.plot');
      this.note = figure.querySelector('p.chart-note');
      this.read = figure.querySelector('.chart-read');
      this.lines = figure.querySelector('.chart-lines');
      this.tier = figure.querySelector('.chart-tier');
      // A chart of a past period does not move.
      this.period = figure.dataset.from ? [figure.dataset.from, figure.dataset.to].map((t) => Date.parse(t) / 1000) : null;
      this.span = this.period ? 1000 * (this.period[1] - this.period[0]) : Number(figure.dataset.span);
      // The alerts that a tried rule would have raised, beside the real ones.
      this.tried = JSON.parse(figure.dataset.tried ?? '[]').map((e) => ({ ...e, tried: true }));
      this.flag = figure.dataset.kind === 'flag';
      this.unit = figure.dataset.unit;
      this.data = [[], [], [], []]; // seconds, max, min, mean
      this.episodes = [];
      this.waiting = [];
      this.bucket = 0;
      this.started = false;
      this.loaded = false;
      this.u = null;
      this.dirty = false;
      this.plot.tabIndex = 0;
      this.say('Loading the history');
      // A screen reader announces what the keys choose, not what arrives by itself.
      this.plot.addEventListener('keydown', (event) => this.key(event));
      this.plot.addEventListener('blur', () => { this.read.ariaLive = 'off'; });
      new ResizeObserver(() => this.resize()).observe(this.plot);
    }

    size() {
      return { width: Math.max(200, this.plot.clientWidth), height: this.flag ? 120 : window.innerWidth < 600 ? 200 : 240 };
    }

    async load() {
      const { site, device, metric, of } = this.figure.dataset;
      const points = Math.min(2000, Math.max(120, Math.round(this.plot.clientWidth * Math.min(2, devicePixelRatio))));
      const { from, to: until } = this.figure.dataset;
      const query = new URLSearchParams({ site, device, metric, points, ...(of === undefined ? {} : { unit: of }), ...(this.period ? { from, to: until } : { from: `-${this.span}ms` }) });
      let answer;
      try {
        const response = await fetch(`/api/v1/series?${query}`, { headers: { Accept: 'application/json' } });
        if (!response.ok) {
          const problem = await response.json().catch(() => ({}));
          throw new Error(problem.detail ?? `the server answered ${response.status}`);
        }
        answer = await response.json();
      } catch (error) {
        this.loaded = true; // live points continue without the history
        this.say(`The history could not be loaded: ${error.message.replace(/\.$/, '')}.`);
        this.take(this.waiting.splice(0));
        return;
      }
      this.bucket = answer.bucket_ms / 1000;
      this.tier.textContent = grain(answer);
      const shift = this.bucket / 2;
      const to = Date.parse(answer.to) / 1000;
      this.data = [answer.time_ms.map((t) => Math.min(t / 1000 + shift, to)), answer.max, answer.min, answer.mean];
      this.episodes = [...answer.episodes, ...this.tried];
      // The last seconds may not have been written when the history was read.
      this.until = to - 5;
      this.first = this.data[0].length;
      this.loaded = true;
      this.say(answer.source === 'memory' ? 'InfluxDB does not answer: the chart shows the last 15 minutes from memory.' : '');
      this.take(this.waiting.splice(0));
      this.build();
    }

    say(text) {
      this.note.textContent = text;
      this.note.hidden = !text;
    }

    // take appends readings [ms, value], in any order.
    take(points) {
      if (!this.loaded) {
        this.waiting.push(...points);
        if (this.waiting.length > 5000) this.waiting.splice(0, this.waiting.length - 5000);
        return;
      }
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
      const [begin] = this.window();
      let old = 0;
      while (old < x.length - 1 && x[old + 1] < begin) old++;
      if (old > 0) this.data.forEach((column) => column.splice(0, old));
      this.dirty = true;
      this.figure.dataset.points = x.length; // how many the chart holds, for tests
      if (x.length > (this.first ?? 0) + 6000) { this.loaded = false; this.load(); }
    }

    // drawn returns the data with a hole wherever the series paused. The readings of
    // one pixel are one point, with their extremes.
    drawn() {
      const [x] = this.data;
      const steps = [];
      for (let i = Math.max(1, x.length - 400); i < x.length; i++) steps.push(x[i] - x[i - 1]);
      steps.sort((a, b) => a - b);
      const limit = x.length < 4 ? Infinity : Math.max(6 * steps[steps.length >> 1], 3 * this.bucket, 10);
      const [begin, end] = this.window();
      const pixel = (end - begin) / Math.max(1, this.plot.clientWidth * devicePixelRatio);
      const out = [[], [], [], []];
      const last = (c) => out[c].length - 1;
      let many = 1; // readings in the last point
      this.merged = false;
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
          out[0].push((x[i] + x[i - 1]) / 2);
          for (let c = 1; c < 4; c++) out[c].push(null);
        }
        for (let c = 0; c < 4; c++) out[c].push(this.data[c][i]);
      }
      return out;
    }

    window() {
      if (this.period) return this.period;
      const now = Date.now() / 1000;
      return [now - this.span / 1000, now];
    }

    build() {
      this.u?.destroy();
      const c = this.colours = colours(this.figure);
      const font = '12px system-ui, sans-serif';
      const axis = { stroke: c.text, font, grid: { stroke: c.grid, width: 1 }, ticks: { show: false } };
      const steps = this.flag ? uPlot.paths.stepped({ align: 1 }) : undefined;
      this.u = new uPlot({
        ...this.size(),
        padding: [10, 24, 0, 4],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { time: true, range: () => this.window() },
          y: {
            range: (u, low, high) => {
              if (this.flag) return [-0.15, 1.15];
              if (low === null || high === null) return [0, 1];
              for (const e of this.episodes) {
                for (const bound of [e.low, e.high, e.baseline]) {
                  if (bound !== undefined && Math.abs(bound - (low + high) / 2) < 2 * (high - low)) {
                    low = Math.min(low, bound);
                    high = Math.max(high, bound);
                  }
                }
              }
              const least = 0.01 * Math.max(Math.abs(low), Math.abs(high)); // noise must not look like a mountain
              if (high - low < least) { [low, high] = [(low + high - least) / 2, (low + high + least) / 2]; }
              const pad = (high - low) * 0.08 || 1;
              return [low - pad, high + pad];
            },
          },
        },
        series: [
          {},
          { stroke: alpha(c.line, 45), width: 1, points: { show: false }, paths: steps },
          { stroke: alpha(c.line, 45), width: 1, points: { show: false }, paths: steps },
          { stroke: c.line, width: 1.75, paths: steps, points: { show: (u) => this.marked(u), size: 5, fill: c.line, stroke: c.line } },
        ],
        bands: [{ series: [1, 2], fill: alpha(c.line, 22) }],
        axes: [
          { ...axis, size: 40, space: 80, values: (u, splits, i, space, step) => this.times(splits, step) },
          {
            ...axis,
            space: 36,
            size: (u, values) => Math.max(34, 14 + 7.2 * Math.max(0, ...(values ?? []).map((v) => v.length))),
            splits: this.flag ? () => [0, 1] : undefined,
            values: (u, splits) => (this.flag ? splits.map((v) => (v ? 'on' : 'off')) : apart(splits)),
          },
        ],
        hooks: {
          drawClear: [(u) => this.marks(u)],
          draw: [(u) => this.alone(u)],
          setCursor: [(u) => this.readout(u.cursor.idx)],
        },
      }, this.drawn(), this.plot);
      this.readout(null);
    }

    // marked reports whether each point has a mark: they are far enough apart, and
    // none hides the extremes of a bucket.
    marked(u) {
      const [x] = u.data;
      if (this.bucket > 0 || this.merged || x.length === 0) return false;
      return u.valToPos(x.at(-1), 'x') - u.valToPos(x[0], 'x') >= 10 * (x.length - 1);
    }

    // alone draws points with a pause on both sides, for which a line has no length:
    // as a dot on the range that they span.
    alone(u) {
      const [x, max, min, mean] = u.data;
      const { ctx, bbox } = u;
      const ratio = devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left - 3 * ratio, bbox.top, bbox.width + 6 * ratio, bbox.height);
      ctx.clip();
      for (let from = 0, i = 0; i <= x.length; i++) {
        if (i < x.length && mean[i] !== null) continue;
        const left = from < i ? u.valToPos(x[from], 'x', true) : 0;
        if (from < i && u.valToPos(x[i - 1], 'x', true) - left < 4 * ratio) {
          ctx.strokeStyle = alpha(this.colours.line, 45);
          ctx.fillStyle = this.colours.line;
          ctx.lineWidth = 2 * ratio;
          for (let k = from; k < i; k++) {
            const at = u.valToPos(x[k], 'x', true);
            ctx.beginPath();
            ctx.moveTo(at, u.valToPos(max[k], 'y', true));
            ctx.lineTo(at, u.valToPos(min[k], 'y', true));
            ctx.stroke();
            ctx.beginPath();
            ctx.arc(at, u.valToPos(mean[k], 'y', true), 2.5 * ratio, 0, 2 * Math.PI);
            ctx.fill();
          }
        }
        from = i + 1;
      }
      ctx.restore();
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

    // explain shows what the lines of the anomalies mean, if there are any.
    explain() {
      const has = (name) => this.episodes.some((e) => e[name] !== undefined);
      const bounded = has('low') || has('high');
      this.lines.hidden = !bounded;
      this.lines.querySelector('.key-expected').hidden = !has('baseline');
    }

    // marks draws the anomalies behind the line.
    marks(u) {
      this.explain();
      const { ctx, bbox } = u;
      const ratio = devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top - 10 * ratio, bbox.width, bbox.height + 10 * ratio);
      ctx.clip();
      for (const e of this.episodes) {
        const colour = this.colours[e.severity] ?? this.colours.info;
        const start = u.valToPos(Date.parse(e.start) / 1000, 'x', true);
        const end = u.valToPos(e.end ? Date.parse(e.end) / 1000 : this.window()[1], 'x', true);
        const width = Math.max(2 * ratio, end - start);
        if (e.tried) this.hatch(u, start, width);
        else this.flagged(u, start, width, colour);
        ctx.strokeStyle = e.tried ? this.colours.text : colour;
        ctx.lineWidth = ratio;
        for (const bound of [e.low, e.high]) this.level(u, bound, start, width, [4, 4]);
        ctx.lineWidth = 1.5 * ratio;
        this.level(u, e.baseline, start, width, [8, 3, 1.5, 3]);
      }
      ctx.restore();
    }

    // level draws a value, if it is in view, over a time, in dashes of those lengths.
    level({ ctx, bbox, valToPos }, value, start, width, dashes) {
      if (value === undefined) return;
      const y = valToPos(value, 'y', true);
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
      ctx.fillStyle = alpha(this.colours.line, 10);
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

    // readout shows the value under the cursor, or the latest, and the anomaly there.
    readout(index) {
      const data = this.u.data;
      let i = index;
      if (i === null || i === undefined) {
        i = data[0].length - 1;
        while (i >= 0 && data[3][i] === null) i--;
      }
      if (i < 0 || data[3][i] === null || data[3][i] === undefined) {
        this.read.textContent = data[0].length ? '' : 'no readings in this range';
        return;
      }
      const unit = this.unit && !this.flag ? ` ${this.unit}` : '';
      const say = (v) => (this.flag ? (v >= 0.5 ? 'on' : 'off') : number(v));
      let text = `${say(data[3][i])}${unit}`;
      if (data[1][i] !== data[2][i]) text += ` (${say(data[2][i])} to ${say(data[1][i])})`;
      const date = new Date(data[0][i] * 1000);
      text += ` · ${(date.toDateString() === new Date().toDateString() ? seconds : moment).format(date)}`;
      const at = data[0][i] * 1000;
      const there = this.episodes.filter((x) => Date.parse(x.start) <= at && (!x.end || at <= Date.parse(x.end)));
      if (index === null || index === undefined) there.length = 0;
      for (const tried of [false, true]) {
        const e = there.find((x) => Boolean(x.tried) === tried);
        if (!e) continue;
        const which = tried ? 'simulated: ' : this.period ? `${e.rule}: ` : '';
        if (e.baseline !== undefined) text += ` · ${e.within_ms ? 'from' : 'expected'} ${say(e.baseline)}${unit}`;
        text += ` · ${which}${e.sentence.replace(/[\u0000-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, ' ')}`;
      }
      this.read.textContent = text;
    }

    key(event) {
      if (!this.u || !['ArrowLeft', 'ArrowRight', 'Home', 'End', 'Escape'].includes(event.key)) return;
      event.preventDefault();
      this.read.ariaLive = 'polite';
      const x = this.u.data[0];
      if (!x.length) return;
      if (event.key === 'Escape') { this.u.setCursor({ left: -10, top: -10 }); return; }
      const now = this.u.cursor.idx ?? x.length - 1;
      const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: x.length - 1 }[event.key];
      const i = Math.min(x.length - 1, Math.max(0, next));
      this.u.setCursor({ left: this.u.valToPos(x[i], 'x'), top: 10 });
    }

    resize() {
      if (this.u) this.u.setSize(this.size());
    }

    // frame draws what arrived since the last frame and moves the window.
    frame(force) {
      if (!this.u || document.hidden) return;
      if (this.dirty || force) {
        this.dirty = false;
        this.u.setData(this.drawn());
        if (this.u.cursor.idx === null || this.u.cursor.idx === undefined || this.u.cursor.left < 0) this.readout(null);
      }
    }
  }

  // keyOf names a chart as live readings do: a metric, a blank and the unit.
  const keyOf = ({ dataset: { metric, of } }) => (of ? `${metric} ${of}` : metric);
  const metricOf = (key) => key.split(' ', 1)[0];

  // chartOf returns the chart of readings: that of their unit, or the one of a metric
  // of which no unit was known when the page was made.
  const chartOf = (key) => charts.get(key) ?? charts.get(metricOf(key));

  // A device may have many metrics: a chart loads when it comes near the view.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      const chart = charts.get(keyOf(entry.target));
      chart.started = true;
      chart.load();
    }
  }, { rootMargin: '800px' });

  function find() {
    if (typeof uPlot === 'undefined') return;
    document.querySelectorAll('figure.chart').forEach((figure) => {
      if (charts.get(keyOf(figure))?.figure.isConnected) return;
      const chart = new Chart(figure);
      charts.set(keyOf(figure), chart);
      near.observe(figure);
    });
  }

  find();
  document.addEventListener('htmx:after:swap', find);
  document.addEventListener('points', (event) => {
    for (const [metric, points] of Object.entries(JSON.parse(event.detail.data))) chartOf(metric)?.take(points);
  });
  document.addEventListener('episodes', (event) => {
    const all = JSON.parse(event.detail.data);
    for (const chart of charts.values()) {
      const { metric, of, only } = chart.figure.dataset;
      chart.episodes = all.filter((e) => e.metric === metric && (only === undefined || !e.unit || e.unit === of));
      chart.dirty = true;
    }
  });
  // A stream that reconnected may have missed readings: ask for the history again.
  let connected = false;
  document.addEventListener('htmx:sse:after:connection', (event) => {
    if (event.target?.id !== 'feed') return;
    if (connected) charts.forEach((chart) => { if (chart.started) { chart.loaded = false; chart.load(); } });
    connected = true;
  });
  document.addEventListener('headwater:theme', () => charts.forEach((chart) => chart.u && chart.build()));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => charts.forEach((chart) => chart.u && chart.build()));

  let last = 0;
  const slide = reduced.matches ? 5000 : 1000;
  setInterval(() => {
    const force = Date.now() - last >= slide;
    if (force) last = Date.now();
    charts.forEach((chart) => chart.frame(force));
  }, 250);
})();
