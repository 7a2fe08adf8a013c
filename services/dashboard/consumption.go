package dashboard

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"headwater/services/dashboard/consumption"
	"headwater/services/internal/config"
	"headwater/services/internal/influx"
	"headwater/services/rule"
	pages "headwater/web/consumption"
	"headwater/web/device"
	"headwater/web/view"
)

// meterSource implements consumption.Source.
type meterSource struct {
	rules *ruleSource
	past  *history
}

// Meters implements consumption.Source.
func (m meterSource) Meters(site, dev string) ([]string, error) {
	all, err := m.rules.meters(site, dev)
	var metrics []string
	for _, c := range all {
		metrics = append(metrics, c.Metric)
	}
	slices.Sort(metrics)
	return metrics, err
}

// meters returns the counters in force of a device.
func (r *ruleSource) meters(site, dev string) ([]rule.Counter, error) {
	_, c, err := r.ready()
	if err != nil {
		return nil, err
	}
	return metersOf(c, site, dev), nil
}

// metersOf returns the counters of a configuration that are in force for a device.
func metersOf(c *config.Config, site, dev string) []rule.Counter {
	var all []rule.Counter
	if c == nil || len(c.Counters) == 0 {
		return nil
	}
	numbers, _ := c.DerivedOf(site, dev, c.Tags(site, dev))
	for _, n := range numbers {
		if d := c.Derived[n]; d.Counter != nil && !d.Cost {
			all = append(all, *d.Counter)
		}
	}
	return all
}

// Consumption implements consumption.Source.
func (m meterSource) Consumption(ctx context.Context, q pages.Query) (pages.Consumption, error) {
	all, err := m.rules.meters(q.Site, q.Device)
	if err != nil {
		return pages.Consumption{}, err
	}
	i := slices.IndexFunc(all, func(c rule.Counter) bool { return c.Metric == q.Metric })
	if i < 0 {
		return pages.Consumption{}, view.ErrNotFound
	}
	meter := consumption.Meter{Counter: all[i], Place: m.rules.place(q.Site)}
	on := q.On
	if on.IsZero() {
		on = q.Now.In(meter.Place)
	}
	shown := consumption.Show(q.Per, on, meter.Place)
	step, byTariff := meter.Step(shown)
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	of := device.SeriesQuery{Site: q.Site, Device: q.Device, Metric: q.Metric + rule.UsedSuffix, Unit: meter.Counter.Unit, From: shown.From(), To: shown.To()}
	used, err := m.past.sums(ctx, of, step)
	if err != nil {
		return pages.Consumption{}, unavailable(err)
	}
	var cost consumption.Sums
	if meter.Counter.Costs() {
		of.Metric, of.Unit = q.Metric+rule.CostSuffix, meter.Counter.Currency
		if cost, err = m.past.sums(ctx, of, step); err != nil {
			return pages.Consumption{}, unavailable(err)
		}
	}
	out := meter.Add(shown, used, cost, step, byTariff, q.Now)
	out.Site, out.Device = q.Site, q.Device
	return out, nil
}

// sums returns the sums of a series by steps of at most an hour. They are those of the
// readings and, from before the first reading that is kept, those of a roll-up.
func (h *history) sums(ctx context.Context, q device.SeriesQuery, step time.Duration) (consumption.Sums, error) {
	p := params(q)
	p["width"] = step
	answer, err := h.query(ctx, `SELECT sum("value") AS "sum"`+where+` GROUP BY time($width) fill(none); SELECT first("value") AS "first"`+where, p)
	if err != nil {
		return nil, fmt.Errorf("add up %s: %w", q.Metric, err)
	}
	sums := make(consumption.Sums)
	kept := q.To
	for _, s := range answer {
		if s.Statement == 1 {
			kept = time.Unix(0, s.Times[0]).Truncate(consumption.Longest)
			continue
		}
		addSums(sums, s)
	}
	if !q.From.Before(kept) {
		return sums, nil
	}
	// Readings leave the history by whole hours.
	tier := "1m"
	if step == consumption.Longest {
		tier = "1h"
	}
	p["to"] = kept
	older, err := h.ask(ctx, tier, `SELECT sum("total") AS "sum" FROM (SELECT "mean" * "count" AS "total"`+where+`)`+
		` WHERE time >= $from AND time < $to GROUP BY time($width) fill(none)`, p)
	if err != nil {
		return nil, fmt.Errorf("add up %s: %w", q.Metric, err)
	}
	for _, s := range older {
		addSums(sums, s)
	}
	return sums, nil
}

// addSums adds the sums of an answer.
func addSums(sums consumption.Sums, s influx.Series) {
	for i, v := range s.Floats("sum") {
		if !math.IsNaN(v) {
			sums[s.Times[i]] += v
		}
	}
}
