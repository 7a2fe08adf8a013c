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
	"headwater/services/writer/point"
	"headwater/streams"
)

const (
	// mendPage is how many readings are read at once.
	mendPage = 20_000
	// maxMended bounds the readings of one window that is made anew.
	maxMended = 1_000_000
	// maxMends bounds how many windows of one run may be made anew; a run lies
	// within a week.
	maxMends = 8 * 24 * 60
	// storedWait is how long it may take until the readings are stored that a
	// window is made anew for, and storedEvery how often that is looked at.
	storedWait  = 10 * time.Minute
	storedEvery = 200 * time.Millisecond
)

// mend stores the corrected readings of a commit, and recomputes the roll-ups to
// which readings belong that came too late for the processor: from the readings
// in InfluxDB, with a revision above that of what is there. What cannot be
// recomputed is counted and logged.
func (l *lane) mend(stop, work context.Context, commit *derivedv1.Commit, m jetstream.Msg) error {
	if len(commit.GetMends()) == 0 && len(commit.GetCorrections()) == 0 {
		return nil
	}
	err := l.stored(stop, work, commit.GetInput())
	if errors.Is(err, errStopping) || work.Err() != nil {
		return errStopping
	}
	if len(commit.GetCorrections()) > 0 {
		if err != nil {
			l.s.log.Warn("a corrected reading may be overwritten by an earlier one", "subject", m.Subject(), "err", err)
		}
		if err := l.s.store(stop, work, corrections(l.s.cfg, commit, m)); err != nil {
			return errStopping
		}
	}
	for _, d := range commit.GetMends() {
		if err == nil {
			err = l.renew(stop, work, d, m)
		}
		switch {
		case errors.Is(err, errStopping) || work.Err() != nil:
			return errStopping
		case err != nil:
			l.s.metrics.mends.WithLabelValues("failed").Inc()
			s := d.GetSeries()
			l.s.log.Warn("roll-up lacks readings that came late", "device", s.GetSite()+"/"+s.GetDevice(), "metric", s.GetMetric(),
				"window", d.GetWindow(), "from", time.Unix(0, d.GetFrom()).UTC(), "err", err)
			err = nil
		default:
			l.s.metrics.mends.WithLabelValues("made").Inc()
		}
	}
	return nil
}

// corrections returns the values of a commit that took the place of others. The
// writers of readings may store the two in either order; the one that has the
// lane comes after them.
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

// stored waits until all readings up to a position in TELEMETRY are in InfluxDB,
// as far as the stream still has them.
func (l *lane) stored(stop, work context.Context, of *derivedv1.Position) error {
	until := time.Now().Add(storedWait)
	place := streams.Place{Incarnation: of.GetIncarnation(), Sequence: of.GetSequence(), Stored: of.GetStored()}
	done := func() bool {
		stream, err := l.s.js.Stream(work, streams.StreamTelemetry)
		if err != nil {
			return false
		}
		now, _, err := place.Resume(work, stream)
		if err != nil {
			return false
		}
		processed, err := streams.Processed(work, l.s.js, streams.StreamTelemetry, streams.ConsumerWriter, now.Sequence)
		return err == nil && processed
	}
	for {
		if done() {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the readings are not stored after %v", storedWait)
		}
		select {
		case <-stop.Done():
			return errStopping
		case <-work.Done():
			return errStopping
		case <-time.After(storedEvery):
		}
	}
}

// renew makes one run of windows anew.
func (l *lane) renew(stop, work context.Context, d *derivedv1.Mend, m jetstream.Msg) error {
	policy, _ := policyOf(&derivedv1.WindowSummary{Window: d.GetWindow()})
	if policy == others || d.GetWidth() <= 0 || d.GetTo() <= d.GetFrom() || (d.GetTo()-d.GetFrom())/d.GetWidth() > maxMends {
		return errors.New("that is no run of a roll-up")
	}
	revisions := make(map[int64]uint32)
	rows, err := l.values(stop, work, policy, `SELECT "revision" AS "value"`, d, d.GetFrom(), maxMends+1)
	if err != nil {
		return err
	}
	for _, r := range rows {
		revisions[r.Time] = uint32(r.Value)
	}
	out := new(lines)
	window := make([]point.Reading, 0, 64)
	close := func() {
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
		rows, err := l.values(stop, work, raw, `SELECT "value"`, d, from, mendPage)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if len(window) > 0 && (r.Time-d.GetFrom())/d.GetWidth() != (window[0].Time-d.GetFrom())/d.GetWidth() {
				close()
			}
			if window = append(window, r); len(window) > maxMended {
				return fmt.Errorf("it has more than %d readings", maxMended)
			}
		}
		if len(rows) < mendPage {
			break
		}
		from = rows[len(rows)-1].Time + 1
	}
	close()
	return l.s.store(stop, work, request{
		bucket: l.s.cfg.bucket(policy), lines: out,
		deadLetter: func(int) streams.DeadLetter {
			return streams.DeadLetter{Origin: m.Subject(), Site: d.GetSeries().GetSite(), Device: d.GetSeries().GetDevice(), Arrived: time.Now()}
		},
	})
}

// values asks for the values of a series from a time on, in order; while
// InfluxDB does not answer, again and again.
func (l *lane) values(stop, work context.Context, policy, what string, d *derivedv1.Mend, from int64, limit int) ([]point.Reading, error) {
	var out []point.Reading
	s := d.GetSeries()
	// The tag of a reading without a unit is empty.
	unit, none := units.Name(d.GetUnit()), ""
	if d.GetApart() {
		none = unit
	}
	err := l.s.gate(l.s.cfg.bucket(policy)).do(stop, work, func(ctx context.Context) error {
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
