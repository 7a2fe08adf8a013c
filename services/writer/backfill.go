package writer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/units"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/writer/point"
	"headwater/streams"
)

const (
	// pageReadings is how many readings one query returns.
	pageReadings = 20_000
	// maxWindowReadings bounds the readings of one window that is recomputed.
	maxWindowReadings = 1_000_000
	// maxRun bounds the windows of one run, which lies within a week.
	maxRun = 8 * 24 * 60
	// storedWait bounds the wait for the readings of a window to be stored, and
	// storedEvery is the pause between two looks.
	storedWait  = 10 * time.Minute
	storedEvery = 200 * time.Millisecond
)

// backfill stores the corrected readings of a commit, and recomputes the roll-ups
// whose readings arrived too late for the processor: from the readings in InfluxDB,
// with a revision above the stored one. What cannot be recomputed is counted and
// logged.
func (l *lane) backfill(ctx, hard context.Context, commit *derivedv1.Commit, m jetstream.Msg) error {
	if len(commit.GetMends()) == 0 && len(commit.GetCorrections()) == 0 {
		return nil
	}
	err := l.awaitStored(ctx, hard, commit.GetInput())
	if errors.Is(err, errStopping) || hard.Err() != nil {
		return errStopping
	}
	if len(commit.GetCorrections()) > 0 {
		if err != nil {
			l.s.log.Warn("a corrected reading may be overwritten by an earlier one", "subject", m.Subject(), "err", err)
		}
		if err := l.s.store(ctx, hard, corrections(l.s.cfg, commit, m)); err != nil {
			return errStopping
		}
	}
	for _, d := range commit.GetMends() {
		if err == nil {
			err = l.recompute(ctx, hard, d, m)
		}
		switch {
		case errors.Is(err, errStopping) || hard.Err() != nil:
			return errStopping
		case err != nil:
			l.s.metrics.mends.WithLabelValues("failed").Inc()
			s := d.GetSeries()
			l.s.log.Warn("a roll-up is missing readings that came late", "device", s.GetSite()+"/"+s.GetDevice(), "metric", s.GetMetric(),
				"window", d.GetWindow(), "from", time.Unix(0, d.GetFrom()).UTC(), "err", err)
			err = nil
		default:
			l.s.metrics.mends.WithLabelValues("made").Inc()
		}
	}
	return nil
}

// corrections returns the values of a commit that replaced others. The writers of
// readings may store the two in either order, so the owner of the lane stores the value
// that counts after them.
func corrections(cfg Config, commit *derivedv1.Commit, m jetstream.Msg) request {
	out := new(lines)
	for _, c := range commit.GetCorrections() {
		prefix := point.AppendValuePrefix(nil, seriesOf(c.GetSeries(), c.GetUnit()))
		out.text = point.AppendValue(out.text, prefix, c.GetValue(), c.GetTime())
		out.end()
	}
	return request{
		bucket: cfg.bucket(raw), lines: out,
		deadLetter: func(line int) streams.DeadLetter {
			s := commit.GetCorrections()[line].GetSeries()
			return streams.DeadLetter{Origin: m.Subject(), Site: s.GetSite(), Device: s.GetDevice(), Arrived: time.Now()}
		},
	}
}

// awaitStored waits until InfluxDB has all readings up to a position in TELEMETRY that
// the stream still holds.
func (l *lane) awaitStored(ctx, hard context.Context, of *derivedv1.Position) error {
	until := time.Now().Add(storedWait)
	place := streams.Place{Incarnation: of.GetIncarnation(), Sequence: of.GetSequence(), Stored: of.GetStored()}
	done := func() bool {
		stream, err := l.s.js.Stream(hard, streams.StreamTelemetry)
		if err != nil {
			return false
		}
		now, _, err := place.Resume(hard, stream)
		if err != nil {
			return false
		}
		processed, err := streams.Processed(hard, l.s.js, streams.StreamTelemetry, streams.ConsumerWriter, now.Sequence)
		return err == nil && processed
	}
	for {
		if done() {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the readings are not stored after %v", storedWait)
		}
		if !process.Sleep(ctx, storedEvery) || hard.Err() != nil {
			return errStopping
		}
	}
}

// recompute recomputes one run of windows.
func (l *lane) recompute(ctx, hard context.Context, d *derivedv1.Mend, m jetstream.Msg) error {
	policy, _ := policyOf(&derivedv1.WindowSummary{Window: d.GetWindow()})
	if policy == others || d.GetWidth() <= 0 || d.GetTo() <= d.GetFrom() || (d.GetTo()-d.GetFrom())/d.GetWidth() > maxRun {
		return errors.New("not a run of a roll-up")
	}
	revisions := make(map[int64]uint32)
	rows, err := l.values(ctx, hard, policy, `SELECT "revision" AS "value"`, d, d.GetFrom(), maxRun+1)
	if err != nil {
		return err
	}
	for _, r := range rows {
		revisions[r.Time] = uint32(r.Value)
	}
	out := new(lines)
	window := make([]point.Reading, 0, 64)
	summarise := func() {
		if len(window) == 0 {
			return
		}
		start := d.GetFrom() + (window[0].Time-d.GetFrom())/d.GetWidth()*d.GetWidth()
		s := point.Summarise(window)
		s.Series = seriesOf(d.GetSeries(), d.GetUnit())
		s.Time, s.Revision = start, revisions[start]+1
		out.text = point.AppendSummary(out.text, &s)
		out.end()
		window = window[:0]
	}
	for from := d.GetFrom(); from < d.GetTo(); {
		rows, err := l.values(ctx, hard, raw, `SELECT "value"`, d, from, pageReadings)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if len(window) > 0 && (r.Time-d.GetFrom())/d.GetWidth() != (window[0].Time-d.GetFrom())/d.GetWidth() {
				summarise()
			}
			window = append(window, r)
			if len(window) > maxWindowReadings {
				return fmt.Errorf("a window has more than %d readings", maxWindowReadings)
			}
		}
		if len(rows) < pageReadings {
			break
		}
		from = rows[len(rows)-1].Time + 1
	}
	summarise()
	return l.s.store(ctx, hard, request{
		bucket: l.s.cfg.bucket(policy), lines: out,
		deadLetter: func(int) streams.DeadLetter {
			return streams.DeadLetter{Origin: m.Subject(), Site: d.GetSeries().GetSite(), Device: d.GetSeries().GetDevice(), Arrived: time.Now()}
		},
	})
}

// values returns the values of a series from a time on, in order. It retries while
// InfluxDB does not answer.
func (l *lane) values(ctx, hard context.Context, policy, what string, d *derivedv1.Mend, from int64, limit int) ([]point.Reading, error) {
	var out []point.Reading
	s := d.GetSeries()
	// The tag of a reading without a unit is empty.
	unit, none := units.Name(d.GetUnit()), ""
	if d.GetApart() {
		none = unit
	}
	err := l.s.gate(l.s.cfg.bucket(policy)).do(ctx, hard, func(ctx context.Context) error {
		answer, err := l.s.influx.Query(ctx, l.s.cfg.Influx.Database, policy,
			what+` FROM $metric WHERE "site" = $site AND "device" = $device`+influx.InUnit+` AND time >= $from AND time < $to LIMIT $limit`,
			influx.Params{
				"metric": influx.Ident(s.GetMetric()), "site": s.GetSite(), "device": s.GetDevice(),
				"from": from, "to": d.GetTo(), "limit": limit, "unit": unit, "none": none,
			})
		out = out[:0]
		for i := range answer {
			values := answer[i].Floats("value")
			for j, t := range answer[i].Times {
				if j < len(values) && !math.IsNaN(values[j]) {
					out = append(out, point.Reading{Time: t, Value: values[j]})
				}
			}
		}
		return err
	})
	slices.SortFunc(out, func(a, b point.Reading) int { return int(max(-1, min(1, a.Time-b.Time))) })
	return out, err
}
