package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/figure"
	"headwater/proto/units"
	"headwater/services/internal/config"
	"headwater/services/internal/registry"
	"headwater/services/processor/detect"
	"headwater/services/rule"
	"headwater/services/simulator"
	"headwater/services/simulator/warehouse"
	"headwater/services/writer"
	"headwater/services/writer/point"
	"headwater/streams"
	"headwater/web/view"
)

// fillPast gives the demo its past, once everything runs, so that no start waits for it:
//
//  1. The readings of 30 days, their roll-ups and their entries in the ledger are
//     imported into InfluxDB. They are no input: no rule and no window sees them, and
//     nobody is notified. What the devices measured in the last quarter of an hour they
//     send themselves.
//  2. The alerts that the demo's rules would have raised on them are put into the
//     bucket of alerts, the last one of each rule and device. They belong to no commit,
//     so the notifier leaves them alone, and the next alert of a series replaces them.
//  3. The device that has stopped reporting is put into the registry.
//  4. The data folder remembers that this is done. Until then, a start repeats it, with
//     the same result.
func (s *standalone) fillPast(ctx context.Context, js jetstream.JetStream) {
	if !await(ctx, func() bool { ready, _ := s.process.Health.Status(); return ready }) {
		return
	}
	begin := time.Now()
	readings, err := s.storePast(ctx, js)
	log := s.log("demo")
	switch {
	case ctx.Err() != nil: // the next start repeats it
	case err != nil:
		log.Error("the demo has no past; the next start tries again", "err", err)
	default:
		log.Info("the demo has a past", "readings", readings, "took", time.Since(begin).Round(time.Millisecond))
	}
}

func (s *standalone) storePast(ctx context.Context, js jetstream.JetStream) (readings int, err error) {
	past, err := simulator.DemoPast(s.demo.Began)
	if err != nil {
		return 0, err
	}
	histories := make([]writer.History, len(past))
	for i, p := range past {
		h := &histories[i]
		h.Series = point.Series{Site: simulator.DemoSite, Device: p.Device, Metric: warehouse.Metric, Unit: units.Name(warehouse.Unit)}
		h.Readings = make([]point.Reading, len(p.Measurements))
		for k, m := range p.Measurements {
			h.Readings[k] = point.Reading(m)
		}
		readings += len(p.Measurements)
	}
	if err := writer.Import(ctx, s.cfg.Writer, s.demo.Began, histories); err != nil {
		return 0, err
	}
	for i, h := range histories {
		if err := fillAlerts(ctx, js, h, i); err != nil {
			return 0, err
		}
		if !past[i].Silent {
			continue
		}
		if err := knowSilent(ctx, js, h); err != nil {
			return 0, err
		}
	}
	s.demo.Filled = true
	return readings, s.folder.setDemo(s.demo)
}

// fillAlerts puts the last alert of each rule of the demo on the history of device n into
// the bucket of alerts, unless it has a later one.
func fillAlerts(ctx context.Context, js jetstream.JetStream, h writer.History, n int) error {
	demo, err := config.Parse("demo", config.Demo())
	if err != nil {
		return err
	}
	bucket, err := js.KeyValue(ctx, streams.BucketAlerts)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketAlerts, err)
	}
	for _, r := range demo.Rules {
		if r.Origin == rule.BuiltIn || !r.Matches(h.Site, h.Device, h.Metric, nil) {
			continue
		}
		a, err := pastAlert(r, h, n)
		if err != nil {
			return err
		}
		if a == nil {
			continue
		}
		body, err := protojson.Marshal(a)
		if err != nil {
			return err
		}
		_, err = bucket.Create(ctx, a.Id, body)
		if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return fmt.Errorf("write key %s of bucket %s: %w", a.Id, streams.BucketAlerts, err)
		}
	}
	return nil
}

// pastPeople have acknowledged past alerts.
var pastPeople = [...]string{"Alex", "Kim", "Noor"}

// pastAlert returns the last episode that a rule would have found in a history and that
// is over; nil if there is none. N selects what people did about it.
func pastAlert(r rule.Rule, h writer.History, n int) (*alertingv1.Alert, error) {
	d, err := detect.New(r, time.UTC)
	if err != nil {
		return nil, err
	}
	var open, opening, ended detect.Verdict
	state := d.Start()
	var verdicts []detect.Verdict
	for _, reading := range h.Readings {
		verdicts = state.Observe(detect.Sample(reading), warehouse.Unit, verdicts[:0])
		for _, v := range verdicts {
			switch v.Phase {
			case detect.Close:
				opening, ended = open, v
			default:
				open = v
			}
		}
	}
	if ended.Start == 0 {
		return nil, nil
	}
	series := &derivedv1.Series{Site: h.Site, Device: h.Device, Metric: h.Metric}
	a := &alertingv1.Alert{
		Id: streams.AlertID(r.Name, series), Rule: r.Name, Series: series, Unit: warehouse.Unit, Description: r.Description,
		State: alertingv1.State_STATE_RESOLVED, Severity: derivedv1.Severity_SEVERITY_WARNING,
		Started: ended.Start, Opened: ended.Start, Ended: ended.Time, Updated: ended.Time, Learned: ended.Time, Version: 2,
		Evidence: pastEvidence(opening.Evidence), Ending: pastEvidence(ended.Evidence), End: derivedv1.End_END_RECOVERED,
	}
	if r.Severity == rule.Critical {
		a.Severity = derivedv1.Severity_SEVERITY_CRITICAL
	}
	if n%4 != 3 { // nobody saw every fourth
		after := min((a.Ended-a.Started)/2, int64(4+n%7)*int64(time.Minute))
		a.Acknowledged = &alertingv1.Note{Author: pastPeople[n%len(pastPeople)], Time: a.Started + after, Text: "On my way."}
		a.Version++
	}
	if n%4 == 1 {
		a.Comments = []*alertingv1.Note{{Author: a.Acknowledged.Author, Time: a.Ended, Text: "The door was wedged open for a delivery; it is shut now."}}
		a.Version++
	}
	return a, nil
}

func pastEvidence(e detect.Evidence) *derivedv1.Evidence {
	bound := func(v float64) *float64 {
		if math.IsInf(v, 0) {
			return nil
		}
		return new(figure.Zero(v))
	}
	return &derivedv1.Evidence{
		Value: figure.Zero(e.Value), Score: e.Score, Baseline: figure.Zero(e.Baseline), Low: bound(e.Low), High: bound(e.High),
		Within: int64(e.Within), Sentence: e.Sentence,
	}
}

// knowSilent adds a device that does not report any more to the registry.
func knowSilent(ctx context.Context, js jetstream.JetStream, h writer.History) error {
	bucket, err := js.KeyValue(ctx, streams.BucketDevices)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketDevices, err)
	}
	body, err := json.Marshal(registry.Device{
		Site: h.Site, Device: h.Device, FirstSeen: time.Unix(0, h.Readings[0].Time).UTC(),
		Metrics: []registry.Metric{{Name: h.Metric, Unit: warehouse.Unit, Kind: string(view.KindNumber)}},
	})
	if err != nil {
		return err
	}
	_, err = bucket.Create(ctx, registry.Key(h.Site, h.Device), body)
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("write device %s: %w", h.Device, err)
	}
	return nil
}

// forgetPastAlerts removes the alerts of the demo that belong to no commit.
func forgetPastAlerts(ctx context.Context, js jetstream.JetStream) error {
	bucket, err := js.KeyValue(ctx, streams.BucketAlerts)
	if err != nil {
		return err
	}
	keys, err := bucket.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return err
	}
	for _, key := range keys {
		entry, err := bucket.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		a := new(alertingv1.Alert)
		if (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(entry.Value(), a) != nil || a.GetSeries().GetSite() != simulator.DemoSite || a.GetCommitted() != nil {
			continue
		}
		if err := bucket.Purge(ctx, key, jetstream.LastRevision(entry.Revision())); err != nil {
			return err
		}
	}
	return nil
}
