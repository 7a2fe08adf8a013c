package dashboard

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/figure"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/dashboard/fleet"
	"headwater/services/internal/registry"
	"headwater/services/rule"
	"headwater/streams"
	"headwater/web/device"
	"headwater/web/view"
)

// Only this file turns messages of the streams into what the pages show.

var (
	kinds = map[telemetryv1.Kind]view.Kind{
		telemetryv1.Kind_KIND_VALUE: view.KindNumber,
		telemetryv1.Kind_KIND_FLAG:  view.KindFlag,
		telemetryv1.Kind_KIND_TEXT:  view.KindText,
	}
	severities = map[derivedv1.Severity]view.Severity{
		derivedv1.Severity_SEVERITY_INFO:     view.SeverityInfo,
		derivedv1.Severity_SEVERITY_WARNING:  view.SeverityWarning,
		derivedv1.Severity_SEVERITY_CRITICAL: view.SeverityCritical,
	}
	alertStates = map[alertingv1.State]string{
		alertingv1.State_STATE_PENDING:      view.AlertPending,
		alertingv1.State_STATE_FIRING:       view.AlertFiring,
		alertingv1.State_STATE_ACKNOWLEDGED: view.AlertAcknowledged,
		alertingv1.State_STATE_RESOLVED:     view.AlertResolved,
	}
)

var alertEnds = map[derivedv1.End]view.AlertEnd{
	derivedv1.End_END_RECOVERED:    view.AlertRecovered,
	derivedv1.End_END_NO_DATA:      view.AlertNoData,
	derivedv1.End_END_RULE_CHANGED: view.AlertRuleChanged,
	derivedv1.End_END_BY_HAND:      view.AlertByHand,
}

func at(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// onTelemetry applies a batch, or the clock of a lane.
func (s *Service) onTelemetry(m message) {
	lane, _, err := streams.ParseTelemetry(m.subject)
	if err != nil {
		s.odd(m, err)
		return
	}
	b, err := streams.DecodeTelemetry(m.data)
	if err != nil { // the writer and the processor dead-letter it
		s.odd(m, err)
		return
	}
	s.onReadings(b, s.fleet.Add)
	if b.Clock != nil {
		s.fleet.Clock(b.Clock.CaughtUp)
	}
	s.ledger.batch(lane, m.sequence, b)
	s.survey.batch(lane, m.sequence, uint64(len(b.Time)), at(b.Arrival), at(b.GetClock().GetCaughtUp()))
}

// onReadings adds the readings of a batch, which may be nil, to the fleet.
func (s *Service) onReadings(b *telemetryv1.Batch, add func(int64, []fleet.Series, iter.Seq[fleet.Reading])) {
	if len(b.GetTime()) == 0 {
		return
	}
	dictionary := b.Dictionary()
	batch := make([]fleet.Series, len(dictionary))
	for i, d := range dictionary {
		batch[i] = fleet.Series{Site: d.Site, Device: d.Device, Metric: d.Metric, Unit: d.Unit, Kind: kinds[d.Kind]}
	}
	add(b.Arrival, batch, func(yield func(fleet.Reading) bool) {
		for r := range b.Readings() {
			if !yield(fleet.Reading{Series: r.Series, Time: r.Time, Value: value(r)}) {
				return
			}
		}
	})
}

func value(r telemetryv1.Reading) view.Value {
	switch r.Kind {
	case telemetryv1.Kind_KIND_FLAG:
		return view.Flag(r.Flag)
	case telemetryv1.Kind_KIND_TEXT:
		return view.Text(strings.Clone(clip(r.Text)))
	}
	return view.Number(r.Value)
}

// maxText bounds a text that is shown, in bytes.
const maxText = 500

// clip shortens a text to what is shown, at the end of a character.
func clip(s string) string { return figure.Clip(s, maxText) }

// odd logs a message that does not decode. The service whose input it is makes it a
// dead letter; here it is ignored.
func (s *Service) odd(m message, err error) {
	s.log.Debug("message was ignored", "subject", m.subject, "seq", m.sequence, "err", err)
}

// groupLane stands for the lane of groups, whose number is not in its subject.
const groupLane = -1

// onDerived applies summaries and anomalies.
func (s *Service) onDerived(m message) {
	commit, err := streams.DecodeDerived(m.data)
	if err != nil {
		s.odd(m, err)
		return
	}
	if _, ok := streams.ParseDerivedEdge(m.subject); ok {
		s.onAnomalies(commit.Anomalies)
		return
	}
	lane := groupLane
	if m.subject == streams.DerivedGroups {
		s.onReadings(commit.Readings, s.fleet.AddOfGroups)
	} else {
		if lane, err = streams.ParseDerived(m.subject); err != nil {
			s.odd(m, err)
			return
		}
		s.onReadings(commit.Readings, s.fleet.AddDerived)
		s.ledger.commit(lane, m.sequence, commit)
		s.survey.commit(lane, commit.GetInput().GetSequence(), m.stored)
	}
	for _, st := range commit.Rules {
		s.rules.failed(lane, st)
	}
	for _, e := range commit.Ledger {
		if e.Conflicts > 0 {
			s.fleet.Clash(e.Site, e.Device, e.Minute, e.Conflicts)
		}
	}
	for _, w := range commit.Summaries {
		shown := device.Summary{
			Metric: w.GetSeries().GetMetric(), Unit: w.Unit, Window: w.Window, At: at(w.Time()), Start: at(w.Start),
			Width: time.Duration(w.Width), Count: w.Count, Sum: w.Sum(), Min: w.Min, Max: w.Max, Mean: w.Mean, First: w.First, Last: w.Last,
			Deviation: w.Deviation, TimeMean: w.TimeMean, Rate: w.Rate, P50: w.P50, P90: w.P90, P95: w.P95, P99: w.P99, Revision: w.Revision,
		}
		for _, v := range []*float64{
			&shown.Sum, &shown.Min, &shown.Max, &shown.Mean, &shown.First, &shown.Last, &shown.TimeMean, &shown.Rate,
			&shown.P50, &shown.P90, &shown.P95, &shown.P99,
		} {
			*v = figure.Zero(*v)
		}
		s.book.PutSummary(w.GetSeries().GetSite(), w.GetSeries().GetDevice(), shown)
	}
	s.onAnomalies(commit.Anomalies)
}

// onAnomalies shows anomalies beside the values of their series.
func (s *Service) onAnomalies(anomalies []*derivedv1.Anomaly) {
	for _, a := range anomalies {
		e := view.Episode{
			Rule: a.Rule, Metric: a.GetSeries().GetMetric(), Unit: a.Unit, Severity: severities[a.Severity], Start: at(a.Start),
			Sentence: clip(a.GetEvidence().GetSentence()),
		}
		e.Low, e.High, e.Baseline = bounds(a.Evidence)
		e.WithinMS = a.Evidence.GetWithin() / int64(time.Millisecond)
		if a.Phase == derivedv1.Phase_PHASE_CLOSE {
			e.End = at(a.Time)
		}
		s.book.PutEpisode(a.GetSeries().GetSite(), a.GetSeries().GetDevice(), e)
	}
}

// bounds returns the bounds and the baseline that an anomaly was judged by.
func bounds(e *derivedv1.Evidence) (low, high, baseline *float64) {
	if e == nil {
		return nil, nil, nil
	}
	zero := func(v *float64) *float64 {
		if v == nil {
			return nil
		}
		return new(figure.Zero(*v))
	}
	return zero(e.Low), zero(e.High), zero(e.Expected())
}

// onAlerting applies transitions of alerts and the outcomes of notifications.
func (s *Service) onAlerting(m message) {
	if channel, err := streams.ParseDelivery(m.subject); err == nil {
		d, err := streams.DecodeDelivery(m.data)
		if err != nil {
			s.odd(m, err)
			return
		}
		s.deliveries.add(channel, d)
		if k, ok := noticeKey(d.Key); ok {
			s.told.Done(k, noticeOutcomes[d.Outcome], at(d.Time), d.Attempts, clip(d.Error))
		}
		if d.Outcome == alertingv1.Outcome_OUTCOME_SKIPPED { // nothing was to be sent
			return
		}
		s.survey.delivery(channel, d.Outcome == alertingv1.Outcome_OUTCOME_SENT, at(d.Time), clip(d.Title), clip(d.Error))
		return
	}
	commit, err := streams.DecodeAlerting(m.data)
	if err != nil {
		s.odd(m, err)
		return
	}
	for _, a := range commit.Alerts {
		s.putAlert(a)
	}
	for i, sent := range commit.Messages {
		episodes := make([]string, len(sent.Alerts))
		for j, a := range sent.Alerts {
			episodes[j] = streams.EpisodeID(a)
		}
		s.told.Decided(fleet.NoticeKey{Sequence: m.sequence, Index: i}, view.Notice{
			Channel: sent.Channel, Title: clip(sent.Title), Decided: m.stored,
		}, episodes)
	}
}

var noticeOutcomes = map[alertingv1.Outcome]view.NoticeOutcome{
	alertingv1.Outcome_OUTCOME_SENT:    view.NoticeSent,
	alertingv1.Outcome_OUTCOME_FAILED:  view.NoticeFailed,
	alertingv1.Outcome_OUTCOME_SKIPPED: view.NoticeSkipped,
}

// noticeKey reads the beginning of the idempotency key of a message: the sequence of its
// commit and its index in it.
func noticeKey(key string) (k fleet.NoticeKey, ok bool) {
	n, err := fmt.Sscanf(key, "%d-%d", &k.Sequence, &k.Index)
	return k, err == nil && n == 2
}

// onAlert applies an entry of the projection of alerts.
func (s *Service) onAlert(key string, value []byte, _ time.Time) {
	if value == nil {
		if removed, firing, ok := s.book.RemoveAlert(key); ok {
			s.fleet.SetFiring(removed.Site, removed.Device, firing)
		}
		return
	}
	a := new(alertingv1.Alert)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(value, a); err != nil {
		s.log.Debug("entry was ignored", "subject", key, "err", err)
		return
	}
	s.putAlert(a)
}

func (s *Service) putAlert(a *alertingv1.Alert) {
	series := a.GetSeries()
	zone, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		zone = time.UTC // the notifier knew the zone, this machine does not
	}
	alert := view.Alert{
		ID: a.Id, Episode: streams.EpisodeID(a), Rule: a.Rule, Description: clip(a.Description),
		Site: series.GetSite(), Device: series.GetDevice(), Metric: series.GetMetric(), Unit: a.Unit,
		State: alertStates[a.State], Severity: severities[a.Severity],
		Started: in(zone, a.Started), Ended: in(zone, a.Ended), Updated: in(zone, a.Updated), Learned: in(zone, a.Learned),
		Sentence: clip(a.GetEvidence().GetSentence()), Labels: labelsOf(a.Labels), Runbook: a.Runbook,
		Opened: at(a.Opened), Acknowledged: noteOf(zone, a.Acknowledged), Resolved: noteOf(zone, a.Resolved),
		Assignee: a.Assignee, Version: a.Version, End: alertEnds[a.End], EndSentence: clip(a.GetEnding().GetSentence()),
		Own: a.Rule == rule.HealthName, Flapping: in(zone, a.Flapping),
	}
	for _, n := range a.Comments {
		alert.Comments = append(alert.Comments, *noteOf(zone, n))
	}
	s.showAlert(alert)
	s.records.Put(alert)
	if alert.State == view.AlertPending {
		return
	}
	e := view.Episode{Rule: a.Rule, Metric: alert.Metric, Unit: alert.Unit, Severity: alert.Severity, Start: alert.Started, End: alert.Ended, Sentence: alert.Sentence}
	e.Low, e.High, e.Baseline = bounds(a.Evidence)
	e.WithinMS = a.Evidence.GetWithin() / int64(time.Millisecond)
	s.book.PutEpisode(alert.Site, alert.Device, e)
}

// showAlert shows an alert as of a transition.
func (s *Service) showAlert(a view.Alert) {
	if firing, news := s.book.PutAlert(a); news {
		s.fleet.SetFiring(a.Site, a.Device, firing)
	}
}

// noteOf returns a note with its time in a time zone; nil for none.
func noteOf(zone *time.Location, n *alertingv1.Note) *view.Note {
	if n == nil {
		return nil
	}
	return &view.Note{Author: clip(n.Author), At: in(zone, n.Time), Text: clip(n.Text)}
}

// in returns a time in a time zone.
func in(zone *time.Location, nanos int64) time.Time {
	t := at(nanos)
	if t.IsZero() {
		return t
	}
	return t.In(zone)
}

// onDevice applies an entry of the device registry.
func (s *Service) onDevice(key string, value []byte, when time.Time) {
	if value == nil {
		if site, device, ok := strings.Cut(key, "."); ok {
			s.fleet.Forget(site, device, when)
		}
		return
	}
	var d registry.Device
	if err := json.Unmarshal(value, &d); err != nil || !streams.ValidToken(d.Site) || !streams.ValidToken(d.Device) {
		s.log.Debug("entry was ignored", "subject", key, "err", err)
		return
	}
	s.know(d)
}

// know shows an entry of the device registry.
func (s *Service) know(d registry.Device) {
	metrics := make([]fleet.Series, 0, len(d.Metrics))
	for _, m := range d.Metrics {
		for _, unit := range append(m.Units, m.Unit) {
			metrics = append(metrics, fleet.Series{Site: d.Site, Device: d.Device, Metric: m.Name, Unit: unit, Kind: view.Kind(m.Kind)})
		}
	}
	s.fleet.Know(d.Site, d.Device, d.FirstSeen, metrics)
}
