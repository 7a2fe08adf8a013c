package notifier

import (
	"context"
	"fmt"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/proto/figure"
	"headwater/proto/units"
	"headwater/services/internal/influx"
	"headwater/services/notifier/chart"
	"headwater/services/notifier/policy"
	"headwater/streams"
)

const (
	// pictureBefore is how much of the time before an alert its chart shows, and pictureMost
	// how much of the time at all.
	pictureBefore = time.Hour
	pictureMost   = 7 * 24 * time.Hour
	// pictureBuckets is how many pieces the history of a chart has. Each has two points.
	pictureBuckets = 300
	// pictureTimeout bounds the query for it: a message does not wait for a picture.
	pictureTimeout = 3 * time.Second
	// rawPolicy is the retention policy of the readings.
	rawPolicy = "raw"
)

// pictures draws the charts of alerts, from the history and the evidence. It may be used by
// many goroutines.
type pictures struct {
	// past has the history; nil for none.
	past *influx.Client
}

// of returns what draws the chart of a message; nil if it is not about one alert.
func (p *pictures) of(o outbound) func(context.Context) ([]byte, string) {
	if len(o.message.GetAlerts()) != 1 || isReport(o.message.GetAlerts()[0]) {
		return nil
	}
	a := o.message.GetAlerts()[0]
	return func(ctx context.Context) ([]byte, string) {
		c := chart.Chart{Began: moment(a.GetStarted(), placeOf(a))}
		to := moment(a.GetUpdated(), placeOf(a))
		if over(a) {
			c.Ended = moment(a.GetEnded(), placeOf(a))
		}
		if e := a.GetEvidence(); e.GetWithin() == 0 && e != nil {
			c.Low, c.High = finite(e.Low), finite(e.High)
		}
		c.Points = joined(p.history(ctx, a, c.Began.Add(-pictureBefore), to), samplesOf(o.commit, a))
		body, err := c.PNG()
		if err != nil || body == nil {
			return nil, "" // a message does not fail for its picture
		}
		return body, pictureWords(a, c)
	}
}

// history reads the lowest and the highest value of each piece of a time; nothing if that
// cannot be read.
func (p *pictures) history(ctx context.Context, a *alertingv1.Alert, from, to time.Time) []chart.Point {
	if p == nil || p.past == nil {
		return nil
	}
	to = to.Add(time.Nanosecond)
	if to.Sub(from) > pictureMost {
		from = to.Add(-pictureMost)
	}
	ctx, cancel := context.WithTimeout(ctx, pictureTimeout)
	defer cancel()
	unit := units.Name(a.GetUnit())
	answer, err := p.past.Query(ctx, p.past.Database(), rawPolicy,
		`SELECT min("value") AS "min", max("value") AS "max" FROM $metric WHERE "site" = $site AND "device" = $device AND time >= $from AND time < $to`+
			influx.InUnit+` GROUP BY time($step) fill(none)`,
		influx.Params{
			"metric": influx.Ident(a.GetSeries().GetMetric()), "site": a.GetSeries().GetSite(), "device": a.GetSeries().GetDevice(),
			"from": from, "to": to, "step": max(to.Sub(from)/pictureBuckets, time.Second).Truncate(time.Second), "unit": unit, "none": unit,
		})
	if err != nil || len(answer) == 0 {
		return nil
	}
	low, high := answer[0].Floats("min"), answer[0].Floats("max")
	var points []chart.Point
	for i, at := range answer[0].Times {
		if i < len(low) && i < len(high) {
			points = append(points, chart.Point{At: time.Unix(0, at), Value: low[i]}, chart.Point{At: time.Unix(0, at), Value: high[i]})
		}
	}
	return points
}

// samplesOf returns the readings behind the verdict on an episode, which are in the commit
// that began or ended it.
func samplesOf(c *alertingv1.Commit, of *alertingv1.Alert) []chart.Point {
	var points []chart.Point
	for _, a := range c.GetAlerts() {
		if streams.EpisodeID(a) != streams.EpisodeID(of) {
			continue
		}
		e := a.GetEvidence()
		if over(a) && a.GetEnding() != nil {
			e = a.GetEnding()
		}
		points = nil
		for _, s := range e.GetSamples() {
			points = append(points, chart.Point{At: time.Unix(0, s.GetTime()), Value: s.GetValue()})
		}
	}
	return points
}

// joined returns the history with the samples that are newer than it: the writer may not
// have written them yet.
func joined(history, samples []chart.Point) []chart.Point {
	for _, s := range samples {
		if n := len(history); n == 0 || s.At.After(history[n-1].At) {
			history = append(history, s)
		}
	}
	return history
}

// pictureWords says what a chart shows.
func pictureWords(a *alertingv1.Alert, c chart.Chart) string {
	low, high := c.Points[0].Value, c.Points[0].Value
	for _, p := range c.Points {
		low, high = min(low, p.Value), max(high, p.Value)
	}
	from, to := c.Points[0].At.In(c.Began.Location()), c.Points[len(c.Points)-1].At.In(c.Began.Location())
	const layout = "2006-01-02 15:04"
	words := fmt.Sprintf("Chart of %s of %s at %s, from %s to %s: between %s and %s", a.GetSeries().GetMetric(), a.GetSeries().GetDevice(), a.GetSeries().GetSite(),
		from.Format(layout), to.Format(layout+" MST"), figure.Number(low), figure.Number(high))
	if a.GetUnit() != "" {
		words += " " + a.GetUnit()
	}
	return policy.Clean(words + ".")
}
