package dashboard

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/streams"
	"headwater/web/ui"
	"headwater/web/view"
)

// What counts as a problem.
const (
	// standstill is how long a lane may go without a clock from the bridge,
	// which writes one about every second.
	standstill = 20 * time.Second
	// backlog is how many messages may wait for a consumer.
	backlog = 2_000
	// fullShare is how full a stream may be; the janitor cleans above 80 %.
	fullShare = 0.9
	// uncommitted is how long the processor may take to close the windows of a
	// lane that has readings; the usual window is a minute.
	uncommitted = 5 * time.Minute
	// undelivered is how long the sender of a channel may retry one notification.
	undelivered = 30 * time.Second
)

// problems returns what is wrong. The caller holds the lock.
func (s *survey) problems(now time.Time, connected bool) []view.Problem {
	var out []view.Problem
	add := func(part, text string, since time.Time) {
		out = append(out, view.Problem{Part: part, Text: text, Since: since})
	}
	switch {
	case !connected:
		add("NATS", "NATS does not answer. Devices cannot deliver; these pages show what was known before.", s.failing)
	case s.missing != "":
		add("Streams", "The streams cannot be inspected: "+s.missing+".", s.failing)
	}
	if s.influxNow.Problem != "" {
		add("InfluxDB", "InfluxDB does not answer ("+s.influxNow.Problem+"). Readings wait in TELEMETRY and are written when it is back; charts show the last 15 minutes only.", s.influxBad)
	}
	for _, st := range s.streams {
		if st.Full() >= fullShare && st.Name != streams.StreamDeadLetters {
			add(st.Name, "The stream "+st.Name+" is "+percent(st.Full())+" full. When it is full nothing more is acknowledged.", time.Time{})
		}
	}
	if s.losses != nil {
		out = append(out, s.losses.problems(now)...)
	}
	for _, st := range s.streams {
		if st.Gone > 0 {
			add("Streams", "The stream "+st.Name+" is missing "+figure.Plural(st.Gone, "message", "messages")+" in its middle: its files were damaged. What they held may be missing everywhere.", time.Time{})
		}
	}
	for _, c := range s.consumers {
		if c.Pending >= backlog {
			add(c.Name, "The consumer "+c.Name+" has "+figure.Plural(c.Pending, "message", "messages")+" of "+c.Stream+" to go.", time.Time{})
		}
	}
	for consumer, h := range s.held {
		channel, sender := strings.CutPrefix(consumer, streams.SenderConsumer(""))
		if sender && now.Sub(h.since) > undelivered {
			add(channel, "A notification on channel "+channel+" could not be delivered yet. It is tried again, and later ones wait for it.", h.since)
		}
	}
	for _, c := range s.channels {
		if !c.LastSent && c.Failed > 0 {
			add(c.Name, "The last notification on channel "+c.Name+" was not delivered: "+c.LastError+".", c.Last)
		}
	}
	if connected {
		if since, still := s.still(now); still {
			add("Bridge", "The bridge has not filled the lanes. Devices are not read; nothing that was acknowledged is lost.", since)
		}
		for _, l := range s.lanes {
			if l.late(now, s.started) {
				add("Processor", "The processor has committed nothing for lane "+ui.FormatCount(uint64(l.Lane.Lane))+" although readings came: its windows do not close and no alert is raised.", l.ProcessedAt)
			}
		}
	}
	slices.SortFunc(out, func(a, b view.Problem) int {
		return cmp.Or(strings.Compare(a.Part, b.Part), strings.Compare(a.Text, b.Text))
	})
	return out
}

func percent(share float64) string { return ui.FormatNumber(float64(int(share*1000))/10) + " %" }

// still reports whether no lane gets a clock, and since when. The caller holds the
// lock.
func (s *survey) still(now time.Time) (since time.Time, is bool) {
	var latest time.Time
	for _, l := range s.lanes {
		if l.CaughtUp.After(latest) {
			latest = l.CaughtUp
		}
	}
	if !latest.After(s.started) { // none was seen since the start
		return latest, len(s.lanes) > 0 && now.Sub(s.started) > standstill
	}
	return latest, now.Sub(latest) > standstill
}

// late reports whether the lane waits for a commit of the processor for too long.
// Readings from before this service started count from the start, because all services
// may start together.
func (l *lane) late(now, started time.Time) bool {
	if l.owing.IsZero() || now.Sub(l.Arrived) > time.Minute {
		return false
	}
	since := started
	for _, t := range []time.Time{l.owing, l.ProcessedAt} {
		if t.After(since) {
			since = t
		}
	}
	return now.Sub(since) > uncommitted
}

func (s *survey) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}
