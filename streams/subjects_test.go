package streams_test

import (
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/streams"
)

func TestSubjectsRoundTrip(t *testing.T) {
	token := rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`)
	rapid.Check(t, func(t *rapid.T) {
		lane := rapid.IntRange(0, 4095).Draw(t, "lane")
		source := rapid.SampledFrom([]streams.Source{streams.SourceMQTT, streams.SourceMQTT0, streams.SourceHTTP}).Draw(t, "source")
		if gotLane, gotSource, err := streams.ParseTelemetry(streams.TelemetrySubject(lane, source)); err != nil || gotLane != lane || gotSource != source {
			t.Errorf("telemetry: %d, %s, %v", gotLane, gotSource, err)
		}
		if got, err := streams.ParseDerived(streams.DerivedSubject(lane)); err != nil || got != lane {
			t.Errorf("derived: %d, %v", got, err)
		}
		if got, err := streams.ParseAlerting(streams.AlertingSubject(lane)); err != nil || got != lane {
			t.Errorf("alerting: %d, %v", got, err)
		}
		service, reason := token.Draw(t, "service"), token.Draw(t, "reason")
		if got, err := streams.ParseDelivery(streams.DeliverySubject(service)); err != nil || got != service {
			t.Errorf("delivery: %q, %v", got, err)
		}
		if gotService, gotReason, err := streams.ParseDeadLetter(streams.DeadLetterSubject(service, reason)); err != nil || gotService != service || gotReason != reason {
			t.Errorf("dead letter: %q, %q, %v", gotService, gotReason, err)
		}
	})
}

// FuzzParse checks that whatever a parser takes is exactly what its builder
// makes, so that no two subjects mean the same.
func FuzzParse(f *testing.F) {
	for _, subject := range []string{
		"telemetry.0.mqtt", "telemetry.07.http", "derived.12", "derived.+1", "alerting.0", "deliveries.phone",
		"deliveries.a.b", "deadletters.bridge.topic", "deadletters.bridge.>", "telemetry.-1.mqtt0", "telemetry.1.edge.attic=summaries", "telemetry.1.edge.=summaries", "",
	} {
		f.Add(subject)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		if lane, source, err := streams.ParseTelemetry(subject); err == nil && streams.TelemetrySubject(lane, source) != subject {
			t.Errorf("telemetry: %q", subject)
		}
		if lane, err := streams.ParseDerived(subject); err == nil && streams.DerivedSubject(lane) != subject {
			t.Errorf("derived: %q", subject)
		}
		if lane, err := streams.ParseAlerting(subject); err == nil && streams.AlertingSubject(lane) != subject {
			t.Errorf("alerting: %q", subject)
		}
		if channel, err := streams.ParseDelivery(subject); err == nil && streams.DeliverySubject(channel) != subject {
			t.Errorf("delivery: %q", subject)
		}
		if service, reason, err := streams.ParseDeadLetter(subject); err == nil && streams.DeadLetterSubject(service, reason) != subject {
			t.Errorf("dead letter: %q", subject)
		}
	})
}

// TestLane pins the hash: it decides where a device's state lies for as long as
// the streams live, and nats-server's own partition() agrees with it.
func TestLane(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		site, device := rapid.String().Draw(t, "site"), rapid.String().Draw(t, "device")
		lanes := rapid.IntRange(1, 64).Draw(t, "lanes")
		h := fnv.New32a()
		h.Write([]byte(site + "/" + device))
		if got, want := streams.Lane(site, device, lanes), int(h.Sum32()%uint32(lanes)); got != want {
			t.Errorf("lane %d, want %d", got, want)
		}
	})
}

// natsSubject maps a topic to a subject as nats-server's documentation says.
func natsSubject(topic string) string {
	var out []byte
	for i := range len(topic) {
		switch c := topic[i]; {
		case c == '.':
			out = append(out, "//"...)
		case c != '/':
			out = append(out, c)
		case i == 0 || out[len(out)-1] == '.':
			out = append(out, "/."...)
		case i == len(topic)-1 || topic[i+1] == '/':
			out = append(out, "./"...)
		default:
			out = append(out, '.')
		}
	}
	if len(out) > 0 && out[len(out)-1] == '.' {
		out = append(out, '/')
	}
	return string(out)
}

func TestTopicFromMQTT(t *testing.T) {
	for _, topic := range []string{
		"sensors/hall/door-01/temperature", "sensors/hall/1.5/x", "/x", "a//b", "a/", "a.b", "a./b", "a/.b", "/", "//", "...", "a//.b/",
	} {
		for _, prefix := range []string{"", "$MQTT.msgs."} {
			if got := streams.TopicFromMQTT(prefix + natsSubject(topic)); got != topic {
				t.Errorf("%q: %q", topic, got)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		topic := rapid.StringMatching(`[ab./]{1,12}`).Draw(t, "topic")
		if got := streams.TopicFromMQTT(natsSubject(topic)); got != topic {
			t.Errorf("%q as %q: %q", topic, natsSubject(topic), got)
		}
		if got := streams.SubjectFromTopic(topic); got != natsSubject(topic) {
			t.Errorf("%q: %q, want %q as nats-server", topic, got, natsSubject(topic))
		}
	})
}

func TestDeadLetterRoundTrip(t *testing.T) {
	want := streams.DeadLetter{
		Service: "bridge", Reason: streams.ReasonPayload, Detail: "no number: \"21,5\" °C",
		Origin: "sensors/hall/door-01/temperature", Site: "hall", Device: "door-01",
		Arrived: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC), Payload: []byte{0, 1, 255},
	}
	m := want.Msg()
	got, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeadLetterHeadersStayOnOneLine(t *testing.T) {
	d := streams.DeadLetter{
		Service: "bridge", Reason: streams.ReasonTopic, Arrived: time.Unix(1, 0),
		Origin: "a\r\nHeadwater-Site: forged\x00" + strings.Repeat("ü", 2000) + "\xff",
	}
	m := d.Msg()
	got := m.Header.Get("Headwater-Origin")
	if strings.ContainsAny(got, "\r\n\x00") || len(got) > 1024 || m.Header.Get("Headwater-Site") != "" {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	parsed, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
	if err != nil || !parsed.OriginCut {
		t.Errorf("nothing says that the origin was cut: %+v, %v", parsed, err)
	}
}

func TestRedriveRequestIsBounded(t *testing.T) {
	for n, ok := range map[int]bool{0: false, 1: true, streams.MaxRedrive: true, streams.MaxRedrive + 1: false} {
		subject, data, err := streams.RedriveRequest{Sequences: make([]uint64, n)}.Msg("bridge")
		if err != nil || subject != "redrive.bridge" {
			t.Fatal(subject, err)
		}
		if r, err := streams.DecodeRedriveRequest(data); (err == nil) != ok || ok && len(r.Sequences) != n {
			t.Errorf("%d letters: %v", n, err)
		}
	}
}
