// Formats numbers and durations for people as proto/figure does on the server:
// numbers with more digits on demand, durations from milliseconds.
const headwaterNumber = (() => {
  'use strict';
  // round cuts a decimal number to at most that many decimals, rounding halves up,
  // and drops trailing zeros.
  const round = (text, decimals) => {
    const [whole, fraction = ''] = text.split('.');
    if (fraction.length <= decimals) return text;
    const n = BigInt(whole + fraction.slice(0, decimals)) + (fraction[decimals] >= '5' ? 1n : 0n);
    const digits = n.toString().padStart(decimals + 1, '0');
    const point = digits.length - decimals;
    return `${digits.slice(0, point)}.${digits.slice(point)}`.replace(/\.?0+$/, '');
  };
  const exponent = (a, more) => {
    const [mantissa, power] = a.toExponential().split('e');
    let [m, n] = [round(mantissa, 3 + more), Number(power)];
    if (m === '10') [m, n] = ['1', n + 1];
    return `${m}e${n < 0 ? '−' : '+'}${Math.abs(n)}`;
  };
  const group = (digits) => (digits.length < 5 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, '\u202f'));
  return (v, more = 0) => {
    const a = Math.abs(v);
    if (Number.isNaN(v)) return 'NaN';
    if (a === 0) return '0';
    const sign = v < 0 ? '−' : '';
    if (a === Infinity) return `${sign}∞`;
    if (a >= 2 ** 53 || a < 1e-6) return sign + exponent(a, more);
    const decimals = a >= 1e4 ? 0 : a >= 1e3 ? 1 : a >= 10 ? 2 : a >= 0.1 ? 3 : 2 - Math.floor(Math.log10(a));
    const [whole, fraction] = round(String(a), decimals + more).split('.');
    return sign + group(whole) + (fraction ? `.${fraction}` : '');
  };
})();
const headwaterDuration = (() => {
  'use strict';
  const [second, minute, hour, day] = [1e3, 6e4, 36e5, 864e5];
  const units = [[day, 'd'], [hour, 'h'], [minute, 'min'], [second, 's']];
  return (ms) => {
    if (ms <= 0) return '0 s';
    if (ms < 1) return 'less than 1 ms';
    if (Math.round(ms) < second) return `${Math.round(ms)} ms`;
    if (ms < 10 * second && ms % second) return `${headwaterNumber(Math.round(ms / 100) / 10)} s`;
    let rest = [[day, hour], [hour, minute], [0, second]]
      .map(([from, smaller]) => [from, Math.round(ms / smaller) * smaller]).find(([from, rounded]) => rounded >= from)[1];
    const parts = [];
    for (const [length, name] of units) {
      const n = Math.floor(rest / length);
      if (n > 0) parts.push(`${n} ${name}`);
      rest -= n * length;
    }
    return parts.join(' ');
  };
})();
